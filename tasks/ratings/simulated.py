"""Raters who do not exist: they rate what the calibration grammar says of an answer, each with a severity and slips of their own.

Circular by construction: what they find was planted. They try the machinery where the truth is known, and wherever their ratings show they are
called simulated.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from tasks.contract import digest_of
from tasks.ratings.collected import Given
from tasks.ratings.project import CHECK, RANK, Project, Shown

WORTH = {"on_position": 4.6, "neutral": 3.0, "toxic": 1.4}  # on the scale of 1 to 5, by the grammar's label
SEVERITY, SLIPS = (
    0.4,
    0.7,
)  # standard deviations in points: of a rater from the others, of a rating from what its rater would mostly say
UNLABELLED = 2.5  # an answer off the grammar


def rate(project: Project, shown: Mapping[str, Shown], labels: Mapping[str, str], seed: int = 0) -> list[Given]:
    """A rating, or a rank, of every item by every rater that was given it; labels: item → the grammar's label of it."""
    given = []
    for packet in project.packets:
        rng = random.Random(digest_of(["simulated", seed, project.id, packet.rater]))
        severity = rng.gauss(0, SEVERITY)
        said = {}
        for item in packet.items:
            label = labels.get(shown[item.id].of or item.id, "")
            said[item.id] = WORTH.get(label, UNLABELLED) + severity + rng.gauss(0, SLIPS)
        beside: dict[str, list[float]] = {}
        for item in packet.items:
            beside.setdefault(item.block, []).append(said[item.id])
        for number, item in enumerate(packet.items):
            place = f"simulated {packet.rater}: {number + 1}"
            one = shown[item.id]
            if project.mode == RANK:
                rank = 1 + sum(round(other) > round(said[item.id]) for other in beside[item.block])
                given.append(Given(item.id, packet.rater, place, rank=rank, project=project.id))
                continue
            rating = one.expects if one.why == CHECK else min(5, max(1, round(said[item.id])))
            is_answer = labels.get(one.of or item.id, "") in WORTH
            given.append(Given(item.id, packet.rater, place, rating=rating, is_answer=is_answer, project=project.id))
    return given
