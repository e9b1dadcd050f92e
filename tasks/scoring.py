"""Scoring texts with a loaded scorer so that a score does not depend on the order of the rows.

Knows batching, windows and what counts as a failure. Leaves loading to `model_registry.scorers` and what
scores mean to `tasks.evaluations.toxicity.measures`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


class ScorerError(RuntimeError):
    """The scorer gave no usable score: an error, never a score of 0."""


@dataclass(frozen=True)
class Reading:
    """Scores in [0, 1] of each text, class by class, in the order of the texts; how many were empty or cut to the window."""

    classes: tuple[str, ...]
    scores: tuple[tuple[float, ...], ...]  # (text, class)
    empty: int
    truncated: int

    def column(self, name: str) -> list[float]:
        """Raises ScorerError if the scorer has no such class."""
        if name not in self.classes:
            raise ScorerError(f"the scorer has the classes {', '.join(self.classes)}; one named {name} is required")
        at = self.classes.index(name)
        return [row[at] for row in self.scores]


class Scorer:
    """A scorer as `model_registry.scorers.load_scorer` gives it: a `detoxify.Detoxify`, or a classifier with its attributes."""

    def __init__(self, loaded: Any) -> None:
        self._loaded = loaded
        self.window: int = loaded.tokenizer.model_max_length  # tokens that are read of a text

    def score(
        self, texts: Sequence[str], batch: int, progress: Callable[[int, int, str], None] = lambda done, total, unit: None
    ) -> Reading:
        """Score each distinct text once.

        Distinct texts are batched by (length in tokens, text), so that the padding of a text, and with it the
        last bits of its score, depends on the set of texts and on `batch` alone, never on the order or number
        of rows. An empty text is scored like any other (the scorer sees its start and end marks alone); a
        text longer than the window is scored on its first `window` tokens; both are counted.

        Raises:
            ScorerError: a score is missing or not a finite number in [0, 1].
        """
        distinct = sorted(set(texts))
        encoded = self._loaded.tokenizer(distinct, truncation=False, verbose=False)["input_ids"]
        lengths = dict(zip(distinct, map(len, encoded), strict=True))
        order = sorted(distinct, key=lambda text: (lengths[text], text))
        classes = tuple(self._loaded.class_names)
        scores: dict[str, tuple[float, ...]] = {}
        for start in range(0, len(order), batch):
            part = order[start : start + batch]
            scores.update(zip(part, self._predict(part, classes), strict=True))
            progress(len(scores), len(order), "texts")
        return Reading(
            classes=classes,
            scores=tuple(scores[text] for text in texts),
            empty=sum(not text.strip() for text in texts),
            truncated=sum(lengths[text] > self.window for text in texts),
        )

    def _predict(self, part: list[str], classes: Sequence[str]) -> list[tuple[float, ...]]:
        predicted = self._loaded.predict(part)
        # A list of one text comes back as bare numbers.
        columns = [predicted[name] if isinstance(predicted[name], list) else [predicted[name]] for name in classes]
        rows = list(zip(*columns, strict=True))
        if len(rows) != len(part):
            raise ScorerError(f"the scorer gave {len(rows)} scores for {len(part)} texts; one a text is required")
        for text, row in zip(part, rows, strict=True):
            for name, value in zip(classes, row, strict=True):
                if not (math.isfinite(value) and 0.0 <= value <= 1.0):
                    raise ScorerError(f"the scorer gave {name} {value} for {text[:60]!r}; a number from 0 to 1 is required")
        return rows
