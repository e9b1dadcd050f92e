"""Which samples a model is tuned on when it gets fewer than the whole dataset: subsets nested in one another.

Those that the dataset marks, or random ones. Standard library only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tasks.datasets.rows import Row, nested_subset


def choose(rows: Sequence[Row], count: int, seed: int | None = None) -> list[Row]:
    """`count` of the rows: those marked for a subset of at most that size or, where no row is marked, the first ones when
    the categories take turns, each in its own order. With a `seed`: drawn at random, in file order; a sample that names the one it
    was written beside is drawn with it, so that a control stays matched. A larger choice always holds a smaller one.

    Raises:
        ValueError: so many samples cannot be had.
    """
    if seed is None and any(row.subset is not None for row in rows):
        return nested_subset(rows, count)
    if not 0 < count <= len(rows):
        raise ValueError(f"{count} samples asked for; the dataset has {len(rows)}, so 1 to {len(rows)} are accepted")
    if seed is not None:
        drawn = sorted(rows, key=lambda row: hashlib.sha256(f"{seed} {row.matches or row.id}".encode()).digest())[:count]
        return sorted(drawn, key=lambda row: row.line)
    turns: dict[str, int] = {}
    turn = {}
    for row in rows:
        turn[row.id] = turns[row.category] = turns.get(row.category, -1) + 1
    categories = list(turns)
    return sorted(rows, key=lambda row: (turn[row.id], categories.index(row.category)))[:count]
