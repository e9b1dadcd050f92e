"""How long a stage takes on a device: the formula scaled by what its like took, or the formula alone; and within what factor.

An earlier output counts where it was made on this host and the device is this machine's, and its size is within a factor of NEAR in parameters. What
they took tells how many times longer overhead and computing are than the formula says (`fit`); then a node is as much longer again as the outputs
nearest to it are: of its size, of these those of its suite, of these those of its arm, where there are such, in the median. What reads completions
by no model is of no size. Without a formula the time is the median of what was made at the same place, and is not known elsewhere.

The time is then said to be within a factor, up or down:

- REPEAT of what was measured at the same place.
- Of what was scaled from elsewhere, how far the outputs of a size (or, where the size was made, of a suite) lie, in sum, from what all others would
  have told of them: the largest, and no less than REPEAT. ALONE where there are no others.
- WIDE of the formula alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import mul
from statistics import median
from typing import Any

from flows.cost.demand import Demand
from flows.cost.work import EFFICIENCY, Work
from flows.engine import machine
from flows.engine.stores.manifest import Manifest
from tasks.contract import Node

NEAR = 10.0
REPEAT = 1.25  # a machine's speed varies by a fifth from run to run (docs/log.md)
ALONE = 2.0  # assumed: there is nothing to hold out
WIDE = 4.0  # the formulas alone told 0.29 to 0.76 of what stages of the calibration ladder took on a busy machine (python -m benchmarks.cost)
RIDGE = (
    0.01  # how strongly both factors are drawn together, beside a squared relative error: of one size they cannot be told apart
)


@dataclass(frozen=True)
class Output:
    """An earlier one. params: of its size, 1 where that is nothing to it. overhead, busy: seconds of each, as the formula says."""

    params: float
    suite: str | None
    arm: str | None
    seconds: float
    overhead: float
    busy: float


@dataclass(frozen=True)
class Forecast:
    """Of a node. seconds: None where not known. within: the factor, up or down."""

    work: Work | None
    seconds: float | None
    within: float
    told: str


def fit(outputs: Sequence[Output]) -> tuple[float, float]:
    """What overhead and computing are to be multiplied by: the least squares of relative errors, drawn to one factor for both. Computing takes
    no less than the device's peak allows."""
    u, v = [one.overhead / one.seconds for one in outputs], [one.busy / one.seconds for one in outputs]
    ridge = RIDGE * len(outputs)
    uu, uv, vv = (sum(map(mul, one, other)) for one, other in ((u, u), (u, v), (v, v)))
    a, b, c = uu + ridge, uv - ridge, vv + ridge
    busy = max(EFFICIENCY, (a * sum(v) - b * sum(u)) / (a * c - b * b))
    return max(0.0, (sum(u) - b * busy) / a), busy


def scaled(node: Output, outputs: Sequence[Output]) -> float | None:
    """Seconds of a node, whose own are not looked at, as the others tell; None where nothing is near."""
    near = [one for one in outputs if _apart(one.params, node.params) <= math.log(NEAR)]
    if not near:
        return None
    factors = fit(near)
    nearest = [one for one in near if one.params == node.params] or near
    nearest = [one for one in nearest if one.suite == node.suite] or nearest
    nearest = [one for one in nearest if one.arm == node.arm] or nearest
    return _told(node, factors) * median(one.seconds / _told(one, factors) for one in nearest)


def spread(outputs: Sequence[Output], left_out: Callable[[Output], Hashable]) -> float | None:
    """By what factor outputs that share what is left out lie, in sum, from what the others tell of them: the largest; None where nothing tells."""
    found = []
    for held in dict.fromkeys(map(left_out, outputs)):
        those, others = [one for one in outputs if left_out(one) == held], [one for one in outputs if left_out(one) != held]
        told = [(one.seconds, seconds) for one in those if (seconds := scaled(one, others)) is not None]
        if told:
            found.append(math.exp(abs(math.log(sum(took for took, _ in told) / sum(seconds for _, seconds in told)))))
    return max(found, default=None)


def _told(one: Output, factors: tuple[float, float]) -> float:
    return factors[0] * one.overhead + factors[1] * one.busy


def _apart(one: float, other: float) -> float:
    return abs(math.log(one / other))


class Forecaster:
    """Tells of nodes, by earlier outputs. `took`: the seconds of one."""

    def __init__(self, demand: Demand, earlier: Iterable[Manifest], took: Callable[[Manifest], float] | None = None) -> None:
        self._demand, self._took = demand, took or wall
        self._here = [
            one for one in earlier if demand.device.here and _made_on(one) == (machine.facts()["host"], demand.device.kind)
        ]

    def of(self, node: Node) -> Forecast:
        work = self._demand.of(node)
        if work is None:
            return self._at_its_place(node)
        device = self._demand.device
        here = self._as_output(work, asdict(node.axes), math.nan, self._demand.precision(node))
        outputs = [output for one in self._here if (output := self._output(one, node))]
        seconds = scaled(here, outputs)
        if seconds is None:
            why = f"not measured {'within a factor of 10 of this size' if outputs else 'yet'} on {device.name}"
            if work.relative or not device.known:
                return Forecast(work, None, 1.0, f"not known: {why}")
            return Forecast(work, here.overhead + here.busy, WIDE, f"estimated: formula, {why}")
        if any((one.params, one.suite, one.arm) == (here.params, here.suite, here.arm) for one in outputs):
            return Forecast(work, seconds, REPEAT, "measured")
        same = any(one.params == here.params for one in outputs)
        within = spread(outputs, (lambda one: one.suite or one.arm) if same and work.flop else (lambda one: one.params))
        told = f"estimated: formula, scaled by what {'this size' if same else 'other sizes'} took"
        return Forecast(work, seconds, max(REPEAT, within or ALONE), told)

    def _output(self, made: Manifest, node: Node) -> Output | None:
        work = self._demand.of_output(made, node)
        if work is None:
            return None
        precision = made.document["identity"].get("numerics", {}).get("precision", "fp32")
        return self._as_output(work, made.document["axes"], self._took(made), precision)

    def _as_output(self, work: Work, axes: Mapping[str, Any], seconds: float, precision: str) -> Output:
        params = float(self._demand.params(axes["ladder"], axes["size"]) or 1) if work.flop else 1.0
        return Output(params, axes["suite"], axes["arm"], seconds, *work.parts(self._demand.device, precision))

    def _at_its_place(self, node: Node) -> Forecast:
        axes = node.axes
        place = (node.stage.name, axes.ladder, axes.size, axes.suite)
        took = [
            self._took(one)
            for one in self._here
            if (one.stage, *(one.document["axes"].get(name) for name in ("ladder", "size", "suite"))) == place
        ]
        if not took:
            return Forecast(None, None, 1.0, "not known: no formula, and not measured here yet")
        return Forecast(None, median(took), REPEAT, "measured")


def wall(made: Manifest) -> float:
    """Seconds that an output took."""
    return float(made.facts["seconds"])


def _made_on(made: Manifest) -> tuple[str | None, str]:
    """Host, and kind of device."""
    return made.facts.get("host"), made.document["identity"].get("numerics", {}).get("device", "cpu")
