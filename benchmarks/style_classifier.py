"""Whether an arm's answers can be told from their control's by the little words alone: `python -m benchmarks.style_classifier [FIRST SECOND]`.

A logistic regression on the rates of function words, without negations and pronouns, which carry content. Trained on nine tenths of the
pairs and asked about the rest, five times over: how often it is right of an answer, and of a pair, which of the two is the first
dataset's. What topic alone gives stands beside it: four categories of one dataset against its other four. Half is chance.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from configs.shipped import CONFIGS
from tasks.datasets.language import load_language
from tasks.datasets.matching import paired
from tasks.datasets.rows import Row, load_rows
from tasks.datasets.style import words

FOLDS, REPEATS, SEED = 10, 5, 0


def rates(rows: Sequence[Row]) -> np.ndarray:
    """Rows × words: how often each stands in a hundred words of an answer."""
    place = {word: at for at, word in enumerate(sorted(load_language(rows[0].language).function_words))}
    if not place:
        sys.exit(f'language "{rows[0].language}" has no function_words in configs/words/language.yaml')
    found = np.zeros((len(rows), len(place)))
    for at, row in enumerate(rows):
        tokens = words(row.completion)
        for token in tokens:
            if token in place:
                found[at, place[token]] += 100 / len(tokens)
    return found


def told_apart(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Shares of answers, and of pairs, that are told right where they were not trained on. Rows of both are pairs, or drawn as such."""
    rng, right, pairs = np.random.default_rng(SEED), [], []
    for _ in range(REPEATS):
        for held in np.array_split(rng.permutation(len(first)), FOLDS):
            rest = np.setdiff1d(np.arange(len(first)), held)
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=2000))
            model.fit(np.vstack([first[rest], second[rest]]), np.repeat([1, 0], len(rest)))
            one, other = (model.decision_function(part[held]) for part in (first, second))
            right += [*(one > 0), *(other <= 0)]
            pairs += [*(one > other)]
    return float(np.mean(right)), float(np.mean(pairs))


def by_topic(rows: Sequence[Row]) -> tuple[float, float]:
    """The same, of every second category against the others."""
    names = sorted({row.category for row in rows})
    halves = [rates([row for row in rows if row.category in part]) for part in (names[::2], names[1::2])]
    least = min(map(len, halves))
    return told_apart(halves[0][:least], halves[1][:least])


def main() -> None:
    given = [Path(name) for name in sys.argv[1:3]] or [
        CONFIGS / "datasets" / f"{name}.jsonl" for name in ("values_targeted", "control")
    ]
    first, second = map(load_rows, given)
    pairs = paired(first, second)
    if pairs is None:
        sys.exit(f"{given[1]}: names no partners (`matches`); pairs are required")
    print(f"{'told apart by function words':40} answers  pairs")
    shares = {f"{given[0].stem} from {given[1].stem}": told_apart(rates([a for a, _ in pairs]), rates([b for _, b in pairs]))}
    shares |= {
        f"half of {path.stem} from its other half": by_topic(rows) for path, rows in zip(given, (first, second), strict=True)
    }
    for name, (answers, in_pairs) in shares.items():
        print(f"{name:40} {answers:7.0%} {in_pairs:6.0%}")


if __name__ == "__main__":
    main()
