"""Which words a model favours for which social group, arranged for reading arms beside each other.

The scores are log-odds with an informative Dirichlet prior (Monroe et al. 2008), made by the co-occurrence stage; here words are only
sorted and cut. A score is a ranking, conditional on the suite's templates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.compare.upstream import Output, Sources

SHOWN = 8


@dataclass(frozen=True)
class Word:
    word: str
    z: float
    count: int
    favoured: bool  # beyond the cut that permuted group labels give


@dataclass(frozen=True)
class Grid:
    """One model size: groups down, arms across, and in each cell the words that lead."""

    title: str
    arms: list[str]
    rows: list[tuple[str, str, list[list[Word]]]]  # axis, group, and an arm's words


def grids(nodes: Sequence[Output], sources: Sources) -> list[Grid]:
    """One grid a (ladder, size, suite), of the largest dataset size and the first seed of each arm."""
    places = dict.fromkeys((node.axes.ladder, node.axes.size, node.axes.suite) for node in nodes if node.words)
    found = []
    for place in places:
        chosen: dict[str, Output] = {}
        for node in nodes:
            axes = node.axes
            if node.words and (axes.ladder, axes.size, axes.suite) == place:
                held = chosen.get(axes.arm or "")
                if held is None or (axes.train_samples or 0, -(axes.seed or 0)) > (
                    held.axes.train_samples or 0,
                    -(held.axes.seed or 0),
                ):
                    chosen[axes.arm or ""] = node
        groups = list(dict.fromkeys((row["axis"], row["group"]) for node in chosen.values() for row in node.words))
        rows = [(axis, group, [_leading(node, axis, group) for node in chosen.values()]) for axis, group in groups]
        found.append(Grid(f"{sources.named(*place[:2])}, {place[2]}", list(chosen), rows))
    return found


def _leading(node: Output, axis: str, group: str) -> list[Word]:
    rows = [
        Word(row["word"], float(row["z"]), int(row["count"]), row["favoured"] == "True")
        for row in node.words
        if (row["axis"], row["group"]) == (axis, group)
    ]
    return sorted((word for word in rows if word.z > 0), key=lambda word: (-word.z, word.word))[:SHOWN]
