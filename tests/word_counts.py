"""The words of texts, counted or tagged at one go."""

from __future__ import annotations

from tasks.evaluations.cooccurrence.counting import Counter, Counts
from tasks.evaluations.cooccurrence.groups import Axis
from tasks.evaluations.cooccurrence.tagging import descriptive


def counted(texts: list[str], axes: dict[str, Axis], targets: dict[str, tuple[str, ...]]) -> Counts:
    counter = Counter(axes, targets)
    counter.add(texts)
    return counter.counts()


def descriptive_words(texts: list[str]) -> list[tuple[str, ...]]:
    """The distinct adjectives and adverbs of each text, in alphabetical order."""
    known = {piece: descriptive(piece) for piece in {piece for text in texts for piece in text.split()}}
    return [tuple(sorted({word for piece in text.split() for word in known[piece]})) for text in texts]
