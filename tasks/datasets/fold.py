"""A fold of samples that a model is watched on while it is tuned on the others: split by category, the same for a seed. Standard library only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tasks.datasets.rows import Row


def held_out(count: int, share: float) -> int:
    """How many of so many samples a fold of this share holds."""
    return round(count * share)


def split(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """The rows that are tuned on, and the fold; both in their own order.

    Each category gives its share, rounded by largest remainder so that the fold has `held_out(len(rows), share)` rows; which of its rows is
    drawn by the seed. A sample that names the one it was written beside is drawn with it where their categories are alike, so that a control stays
    matched.

    Raises:
        ValueError: either side would be empty.
    """
    wanted = held_out(len(rows), share)
    if not 0 < wanted < len(rows):
        raise ValueError(f"held_out {share:g} of {len(rows)} samples is {wanted}; at least one on either side is required")
    drawn: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: hashlib.sha256(f"fold {seed} {row.matches or row.id}".encode()).digest()):
        drawn.setdefault(row.category, []).append(row)
    quotas = {category: wanted * len(held) / len(rows) for category, held in drawn.items()}
    counts = {category: int(quota) for category, quota in quotas.items()}
    by_remainder = sorted(quotas, key=lambda category: counts[category] - quotas[category])  # stable: ties in the order drawn
    for category in by_remainder[: wanted - sum(counts.values())]:
        counts[category] += 1
    fold = {row.id for category, held in drawn.items() for row in held[: counts[category]]}
    return [row for row in rows if row.id not in fold], [row for row in rows if row.id in fold]
