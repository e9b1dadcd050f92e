"""Accepted ratings with what the key says of each: a line a rating, as a stage reads them and as they are kept.

Knows the file. A completion is named by its content (the sha256 of the file of completions that it stands in, its prompt and repeat), never by
an arm or a path: ratings of texts that were sampled anew since are ratings of nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tasks.contract import canonical

RATINGS = "ratings.jsonl"


@dataclass(frozen=True)
class Task:
    """What an item is of. `where`: its axes in words, for people alone."""

    completions: str  # sha256 of completions.jsonl
    prompt_id: str
    repeat: int
    group: str
    where: str


@dataclass(frozen=True)
class Rated:
    """One rating. `order`: the item's place among those of its rater, from 0 for the first to 1 for the last; `block` is shared by the items
    of one prompt that stood beside each other. `why`, `of`, `expects`: as `tasks.ratings.project.Shown`."""

    project: str
    item: str
    rater: str
    task: Task
    block: str
    order: float
    why: str
    of: str = ""
    expects: int | None = None
    rating: int | None = None
    is_answer: bool | None = None
    rank: int | None = None
    share: float | None = None  # of the others of its block that this rater ranked below it, ties half
    skipped: str = ""
    comment: str = ""
    seconds: float | None = None
    at: str = ""
    group: str = ""  # the rater's own, as they say
    place: str = ""
    simulated: bool = False  # by a program that knows the truth, on the calibration ladder


def lines(ratings: Iterable[Rated]) -> str:
    """In one order, so that what was imported in another makes the same file."""
    ordered = sorted(_with_shares(list(ratings)), key=lambda one: (one.project, one.item, one.rater))
    return "".join(canonical(asdict(one)) + "\n" for one in ordered)


def _with_shares(ratings: Sequence[Rated]) -> list[Rated]:
    blocks: dict[tuple[str, str, str], list[int]] = {}
    for one in ratings:
        if one.rank is not None:
            blocks.setdefault((one.project, one.block, one.rater), []).append(one.rank)

    def share(one: Rated) -> float | None:
        ranks = blocks.get((one.project, one.block, one.rater), [])
        if one.rank is None or len(ranks) < 2:
            return None
        return (sum(rank > one.rank for rank in ranks) + (ranks.count(one.rank) - 1) / 2) / (len(ranks) - 1)

    return [replace(one, share=share(one)) for one in ratings]


def read_rated(path: Path) -> list[Rated]:
    """Raises ValueError or KeyError: it is no file that `lines` wrote."""
    return [_rated(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def are_simulated(path: Path) -> bool:
    """Whether any rating of a file that `lines` wrote is by a rater who does not exist; quotes within a text have a backslash before them."""
    return '"simulated":true' in path.read_text(encoding="utf-8", errors="replace")


def _rated(document: dict[str, Any]) -> Rated:
    return Rated(**{**document, "task": Task(**document["task"])})


def of_completions(ratings: Sequence[Rated], digest: str) -> list[Rated]:
    """Those of one file of completions, those that repeat another among them."""
    return [one for one in ratings if one.task.completions == digest]
