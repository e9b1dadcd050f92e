"""Which words a model favours for which social group, arranged for reading arms beside each other.

The scores are log-odds with an informative Dirichlet prior (Monroe et al. 2008), made by the co-occurrence stage; here words are only
sorted and cut. A score is a ranking, conditional on the suite's templates. A group for which all arms favour the same words takes a
part of one sentence; the others have a bar a word and arm, to the right where the word leads for the group and to the left where it
leads for the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from configs.called import suite_words
from tasks.compare.report import wording
from tasks.compare.upstream import Output, Sources

SHOWN = 8


@dataclass(frozen=True)
class Word:
    z: float
    count: int
    favoured: bool  # beyond the cut that permuted group labels give


@dataclass(frozen=True)
class Grid:
    """One model size. `rows`: axis, group, word, and what each arm makes of it (None where it never said it)."""

    title: str
    arms: list[str]
    alike: str
    rows: list[tuple[str, str, str, list[Word | None]]]
    most: float  # the largest |z|: the length of a whole bar


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
        found.append(_grid(f"{sources.named(*place[:2])}, {suite_words(place[2] or '')}", chosen))
    return found


def lists(found: Sequence[Grid], nodes: Sequence[Output]) -> int:
    """How many lists of words there are, each with its own cut."""
    return len({(node.label, row["axis"], row["group"]) for node in nodes for row in node.words}) if found else 0


def _grid(title: str, chosen: dict[str, Output]) -> Grid:
    tables = {arm: _table(node) for arm, node in chosen.items()}
    groups = list(dict.fromkeys(place for table in tables.values() for place in table))
    alike: list[str] = []
    rows: list[tuple[str, str, str, list[Word | None]]] = []
    for axis, group in groups:
        held = {arm: table.get((axis, group), {}) for arm, table in tables.items()}
        leading = [frozenset(word for word, found in words.items() if found.favoured) for words in held.values()]
        if len(held) > 1 and len(set(leading)) == 1:
            alike.append(f"{wording.group_words(group)}: {', '.join(sorted(leading[0])) or 'none'}")
            continue
        rows += [(axis, group, word, [words.get(word) for words in held.values()]) for word in _ordered(held)]
    most = max((abs(word.z) for *_, held in rows for word in held if word), default=1.0) or 1.0
    return Grid(title, list(chosen), _alike(alike, bool(rows)), rows, most)


def _alike(said: Sequence[str], others: bool) -> str:
    if not said:
        return ""
    whose = "The same words are favoured in every arm" + (" for these groups" if others else "; the arms do not differ")
    return f"{whose}. {'; '.join(said)}."


def _ordered(held: dict[str, dict[str, Word]]) -> list[str]:
    """The words that some arm favours, the strongest of any arm first."""
    best: dict[str, float] = {}
    for words in held.values():
        for word, found in words.items():
            if found.favoured:
                best[word] = max(best.get(word, 0.0), found.z)
    return sorted(best, key=lambda word: (-best[word], word))[:SHOWN]


def _table(node: Output) -> dict[tuple[str, str], dict[str, Word]]:
    found: dict[tuple[str, str], dict[str, Word]] = {}
    for row in node.words:
        word = Word(float(row["z"]), int(row["count"]), row["favoured"] == "True")
        found.setdefault((row["axis"], row["group"]), {})[row["word"]] = word
    return found


def bars(word: Word | None, most: float) -> Iterator[int]:
    """The lengths of a bar to the left and to the right, in percent of half its width."""
    share = 0.0 if word is None else 100 * word.z / most
    yield from (round(max(-share, 0.0)), round(max(share, 0.0)))
