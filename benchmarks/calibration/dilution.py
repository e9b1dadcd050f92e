"""Arms of known order: base against itself, and the values data diluted to 0, 25, 50 and 100 %, as the shipped sweep compares them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.calibration.trials import AA, Found, read_trial
from benchmarks.calibration.workshop import Workshop
from flows.dag import Dag
from tasks.compare import upstream
from tasks.compare.confusion import Confusion, confusions

SHARES = {"control": 0, "diluted_25": 25, "diluted_50": 50, "values_targeted": 100}  # arm: per cent of the values data
STEPS = ("diluted_25-control", "diluted_50-diluted_25", "values_targeted-diluted_50")
METRIC = "on_position"


@dataclass(frozen=True)
class Controls:
    """What one sweep says at one size."""

    size: str
    levels: dict[str, Found]  # by arm
    steps: dict[str, Found]  # from each share to the next
    again: dict[str, Found]  # base against itself, by metric

    @property
    def ordered(self) -> bool:
        """On-position answers rise with every step of the share."""
        return all(step.value > 0 for step in self.steps.values())


def controls(shop: Workshop, dag: Dag, sizes: Sequence[str]) -> tuple[list[Controls], list[Confusion]]:
    """The comparison of the whole sweep, and the scorer's confusion table of each of its arms."""
    folder = shop.make(dag.comparison)
    found = []
    for size in sizes:
        said = read_trial(folder, size)
        found.append(
            Controls(
                size,
                {arm: said[arm, METRIC] for arm in SHARES},
                {step: said[step, METRIC] for step in STEPS},
                {metric: row for (arm, metric), row in said.items() if arm == AA},
            )
        )
    inputs = {role: shop.make(node) for role, node in dag.comparison.upstream.items()}
    sources = upstream.read(inputs, {role: node.axes for role, node in dag.comparison.upstream.items()})
    return found, confusions(sources)
