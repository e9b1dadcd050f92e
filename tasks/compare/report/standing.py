"""How a treated arm stands against everything it is compared with, place by place: what a sentence about it may say.

A place is a size, of one training run where seeds are not crossed. At each of them the arm is shown above or below another arm by the
family's adjusted test, or is not shown to differ, or was compared without a test, or could not be compared. Leaves words to `headline`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from configs.contrasts import Arms
from tasks.compare.contrasts import Difference, largest, speaking
from tasks.compare.summary import ALL_SEEDS

State = Literal["up", "down", "flat", "untested", "absent"]
UP: State = "up"
DOWN: State = "down"
FLAT: State = "flat"
UNTESTED: State = "untested"
ABSENT: State = "absent"
Place = tuple[str, str, int | str | None]  # ladder, size, seed


@dataclass(frozen=True)
class Standing:
    """One treated arm and one outcome. `states` of a place are in the order of `references`, the sweep's own reference arm first."""

    treated: str
    suite: str
    metric: str
    references: tuple[str, ...]
    states: dict[Place, tuple[State, ...]]
    rows: tuple[Difference, ...]
    of_samples: bool = True  # tuned on samples, and not on preferences or made of another arm

    @property
    def places(self) -> list[Place]:
        return list(self.states)

    @property
    def samples(self) -> int | None:
        """What it was tuned on, where that is one number."""
        counts = {row.train_samples for row in self.rows}
        return counts.pop() if len(counts) == 1 and self.of_samples else None

    @property
    def tuned(self) -> bool:
        return any(row.train_samples for row in self.rows)

    @property
    def tested(self) -> bool:
        return any(state in (UP, DOWN, FLAT) for held in self.states.values() for state in held)

    def clear(self, way: State) -> list[Place]:
        """Where it is shown to lie on this side of every arm that it is compared with."""
        return [place for place, held in self.states.items() if set(held) == {way}]

    def leading(self) -> tuple[tuple[State, ...], list[Place]] | None:
        """The most frequent states among those with any shown difference, and where they stand."""
        counts = Counter(held for held in self.states.values() if {UP, DOWN} & set(held))
        if not counts:
            return None
        chosen = counts.most_common(1)[0][0]
        return chosen, [place for place, held in self.states.items() if held == chosen]

    def against(self, reference: str) -> list[Difference]:
        return [row for row in self.rows if row.contrast.reference == reference]


def compared_with(treated: str, arms: Arms) -> tuple[str, ...]:
    """The arms whose contrasts with this one are confirmatory, or all of its contrasts where none is; the reference arm first."""
    named = [one for one in arms.confirmatory if one.treated == treated] or [
        one for one in arms.exploratory if one.treated == treated
    ]
    return tuple(sorted(dict.fromkeys(one.reference for one in named), key=arms.place))


def standing(
    rows: Sequence[Difference], arms: Arms, treated: str, suite: str, metric: str, ladder: str | None = None
) -> Standing | None:
    """`rows` are a comparison's differences, `ladder` one of its ladders or None for all; None where nothing was compared."""
    references = compared_with(treated, arms)
    held = [
        row
        for row in largest(speaking(rows))
        if row.contrast.treated == treated
        and row.contrast.reference in references
        and (row.suite, row.metric) == (suite, metric)
        and ladder in (None, row.ladder)
    ]
    if not held:
        return None
    states: dict[Place, dict[str, State]] = {}
    for row in held:
        states.setdefault((row.ladder, row.size, row.seed), {})[row.contrast.reference] = _state(row)
    told = {place: tuple(found.get(name, ABSENT) for name in references) for place, found in states.items()}
    return Standing(treated, suite, metric, references, told, tuple(held))


def _state(row: Difference) -> State:
    if row.p_adjusted is None:
        return UNTESTED
    if not row.shown:
        return FLAT
    return UP if row.value > 0 else DOWN


def one_run_each(found: Sequence[Standing]) -> bool:
    """No size has more than one training run."""
    places = {place for one in found for place in one.places}
    return all(seed != ALL_SEEDS for _, _, seed in places) and len({place[:2] for place in places}) == len(places)
