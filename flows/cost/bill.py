"""What the stages of a run take on a device, a line each: work, memory, disk and time; and the tasks of a schedule that they make.

Stages that run a model are told of on the device; all others, pretraining of calibration models too, on this machine's processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from flows.cost.demand import Demand
from flows.cost.devices import HERE, Device, named
from flows.cost.forecast import Forecast, Forecaster
from flows.cost.memory import Memory, memory
from flows.cost.schedule import Task
from flows.dag import OVERHEAD_GIB
from flows.engine import machine
from flows.engine.stores.manifest import Manifest
from flows.prepared import Run
from tasks.contract import Node
from tasks.finetune import methods
from tasks.finetune.stage import STAGE as FINETUNE
from tasks.prepare.stage import MODEL, SCORER

WEIGHT_BYTES = 4  # a parameter on disk, at most: models are kept in fp32, and fetched in it or in half of it


@dataclass(frozen=True)
class Line:
    """Of one node. on: the device that it holds, None for none. devices: how many of them; None where no number has room. disk: bytes that it
    leaves there, of weights at most."""

    node: Node
    params: int | None
    on: Device | None
    devices: int | None
    memory: Memory
    forecast: Forecast
    disk: float | None

    @property
    def kind(self) -> tuple[str, str, str]:
        """Stage, size and method: lines of equal ones are told together."""
        return self.node.stage.name, self.node.axes.model or "", str(getattr(self.node.settings, "method", ""))

    @property
    def seconds(self) -> float:
        """Until it is done, as far as that is known. Tuning that is shared out is so many times faster, at best: what devices send one another is not
        counted. A model that is spread by layers is not."""
        shared = self.devices or 1 if self.node.stage.name == FINETUNE.name else 1
        return (self.forecast.seconds or 0.0) / shared

    @property
    def held(self) -> float:
        """Seconds of all devices that it holds."""
        return self.seconds * (self.devices or 1) if self.on else 0.0


def lines(run: Run, nodes: Sequence[Node], device: Device) -> list[Line]:
    """Of nodes in their order, by what the run's store holds."""
    stages = dict.fromkeys(node.stage.name for node in run.dag.nodes)
    outputs = [one for stage in stages for one in run.session.store.manifests(stage)]
    by_stage: dict[str, list[Manifest]] = {}
    for one in outputs:
        by_stage.setdefault(one.stage, []).append(one)
    demands = {one.name: Demand(run, one, outputs) for one in (named(HERE, machine.numerics(run.experiment).threads), device)}
    tellers = {name: {stage: Forecaster(demand, held) for stage, held in by_stage.items()} for name, demand in demands.items()}
    found = []
    for node in nodes:
        on = device if device.kind == "cpu" or _runs_a_model(node) else None
        demand, earlier = demands[on.name if on else HERE], by_stage.get(node.stage.name, [])
        teller = tellers[demand.device.name].get(node.stage.name) or Forecaster(demand, ())
        need = memory(demand, node, earlier)
        params = demand.params(node.axes.ladder, node.axes.size)
        count = need.devices(device) if on else 1
        found.append(Line(node, params, on, count, need, teller.of(node), _disk(node, params, earlier)))
    return found


def alike(told: Sequence[Line]) -> list[list[Line]]:
    """Lines of one stage, size and method together."""
    groups: dict[tuple[str, str, str], list[Line]] = {}
    for line in told:
        groups.setdefault(line.kind, []).append(line)
    return list(groups.values())


def tasks(told: Sequence[Line]) -> list[Task]:
    """For a schedule; what is not among these is taken to be done, and what is not known to take no time."""
    among = {line.node for line in told}
    return [
        Task(
            line.node.label,
            line.seconds,
            frozenset(node.label for node in line.node.upstream.values() if node in among),
            (line.devices or 1) if line.on else 0,
            (line.node.stage.body, line.node.axes.model or line.node.axes.name),
            line.node.together and (line.node.stage, line.node.together),
        )
        for line in told
    ]


def _runs_a_model(node: Node) -> bool:
    return node.numerics is not None and node.stage not in (MODEL, SCORER) and node.resources.memory_gib > OVERHEAD_GIB


def _disk(node: Node, params: int | None, earlier: Sequence[Manifest]) -> float | None:
    """The median of what was left at its place; else of its weights, where it leaves whole ones."""
    place = (node.axes.ladder, node.axes.size, node.axes.suite)
    left = [
        sum(file["size"] for file in one.document["files"].values())
        for one in earlier
        if tuple(one.document["axes"].get(name) for name in ("ladder", "size", "suite")) == place
    ]
    if left:
        return median(left)
    whole = node.stage == MODEL or (node.stage.name == FINETUNE.name and methods.found()[node.settings.method].tunes_all)
    return float(WEIGHT_BYTES * params) if whole and params else None
