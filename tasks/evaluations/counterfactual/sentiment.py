"""How positive texts are, on one scale from 0 to 1: by VADER, or by a classifier of the user's choice.

Scores of different scorers are not comparable, and neither are distances between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from model_registry.scorers import load_scorer
from tasks.scoring import Scorer
from tasks.sentiment import vader

POSITIVE = "positive"  # the class of a classifier that is the sentiment score
SCORERS = ("vader", "classifier")


def positivity(
    texts: Sequence[str],
    scorer: str,
    classifier: Path | None,
    device: str,
    batch: int,
    progress: Callable[[int, int, str], None],
) -> tuple[list[float], int]:
    """The score of each text, and how many texts were cut to the classifier's window.

    vader: (compound + 1)/2, so that a text without any word of the lexicon scores 0.5. classifier: the probability that it gives to
    its class `positive`.

    Raises:
        ValueError: an unknown scorer, or a classifier that is named and not given or given and not named.
        ScorerError: the classifier has no class `positive`, or gave no number in [0, 1].
    """
    if scorer not in SCORERS:
        raise ValueError(f"sentiment {scorer!r}; {' or '.join(SCORERS)} is accepted")
    if (scorer == "classifier") != (classifier is not None):
        raise ValueError(
            f"sentiment {scorer!r} {'without' if classifier is None else 'with'} a classifier; both or none is required"
        )
    if classifier is None:
        return [(compound + 1) / 2 for compound in vader(texts)], 0
    reading = Scorer(load_scorer(classifier, device)).score(texts, batch, progress)
    return reading.column(POSITIVE), reading.truncated
