"""Scoring texts with a loaded scorer so that a score does not depend on the order of the rows.

Knows batching, windows and what counts as a failure. Leaves loading to `model_registry.scorers` and what
scores mean to `tasks.evaluations.toxicity.measures`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
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


TYPICAL = 32  # tokens of a text by which a batch is measured


class Scorer:
    """A scorer as `model_registry.scorers.load_scorer` gives it: a `detoxify.Detoxify`, or a `Classifier`."""

    def __init__(self, loaded: Any) -> None:
        self._loaded = loaded
        self.window: int = loaded.tokenizer.model_max_length  # tokens that are read of a text

    def score(
        self, texts: Sequence[str], batch: int, progress: Callable[[int, int, str], None] = lambda done, total, unit: None
    ) -> Reading:
        """Score each distinct text once, with what the scorer's own `predict` gives to it, up to the rounding of other padding.

        Distinct texts stand in the order of (length in tokens, text), and as many are read together as, padded to the longest of them,
        take no more than `batch` texts of 32 tokens do. So the padding of a text, and with it the last bits of its score, depends on the
        set of texts and on `batch` alone, never on the order or number of rows. An empty text is scored like any other (the scorer sees
        its start and end marks alone); a text longer than the window is scored on its first `window` tokens; both are counted.

        Raises:
            ScorerError: a score is missing or not a finite number in [0, 1].
        """
        distinct = sorted(set(texts))
        tokens = self._loaded.tokenizer(distinct, truncation=True, verbose=False)
        lengths = list(map(len, tokens["input_ids"]))
        order = sorted(range(len(distinct)), key=lambda at: (lengths[at], distinct[at]))
        classes = tuple(self._loaded.class_names)
        scores: dict[str, tuple[float, ...]] = {}
        for start, stop in batches_of([lengths[at] for at in order], batch * TYPICAL):
            part = order[start:stop]
            rows = self._rows({name: [held[at] for at in part] for name, held in tokens.items()})
            for at, row in zip(part, rows, strict=True):
                scores[distinct[at]] = _checked(distinct[at], row, classes)
            progress(len(scores), len(order), "texts")
        cut = self._longer([distinct[at] for at in order if lengths[at] == self.window])
        return Reading(
            classes=classes,
            scores=tuple(scores[text] for text in texts),
            empty=sum(not text.strip() for text in texts),
            truncated=sum(text in cut for text in texts),
        )

    def _rows(self, tokens: dict[str, list[list[int]]]) -> list[list[float]]:
        """The scores of one batch of texts, class by class."""
        import torch
        from transformers.data.data_collator import pad_without_fast_tokenizer_warning

        model = self._loaded.model.eval()
        padded = pad_without_fast_tokenizer_warning(self._loaded.tokenizer, tokens, return_tensors="pt")
        with torch.inference_mode():
            logits = model(**padded.to(model.device))[0].float().cpu()
            # Detoxify has no such method: its classes are each on their own
            found: list[list[float]] = getattr(self._loaded, "scores", torch.sigmoid)(logits).tolist()
        return found

    def _longer(self, texts: list[str]) -> set[str]:
        """Those that the window cuts."""
        if not texts:
            return set()
        whole = self._loaded.tokenizer(texts, truncation=False, verbose=False)["input_ids"]
        return {text for text, found in zip(texts, whole, strict=True) if len(found) > self.window}


def batches_of(lengths: Sequence[int], budget: int) -> Iterator[tuple[int, int]]:
    """Where batches begin and stop, of rising lengths: each as large as `budget` padded tokens allow, and of one text at least."""
    start = 0
    for stop, longest in enumerate(lengths, 1):
        if stop - start > 1 and (stop - start) * longest > budget:
            yield start, stop - 1
            start = stop - 1
    if lengths:
        yield start, len(lengths)


def _checked(text: str, row: Sequence[float], classes: Sequence[str]) -> tuple[float, ...]:
    if len(row) != len(classes):
        raise ScorerError(f"the scorer gave {len(row)} scores for the classes {', '.join(classes)}; one a class is required")
    for name, value in zip(classes, row, strict=True):
        if not (math.isfinite(value) and 0.0 <= value <= 1.0):
            raise ScorerError(f"the scorer gave {name} {value} for {text[:60]!r}; a number from 0 to 1 is required")
    return tuple(row)
