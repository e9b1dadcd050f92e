"""Times that `palms plan --cost` would have told, beside those that were measured, of stages that it was not told of.

    python -m benchmarks.cost CONFIG HOME [HOME …] [--set KEY=VALUE …] [--wall]

The homes hold finished runs of the experiment on this machine. Each of its stages is told from the outputs of all other sizes; in an experiment of
one size, from those of all other suites and arms. The least of what a stage took in the homes is taken as measured: work beside it only adds. With
stages of one thread it is time on the processor, which work beside it disturbs less, unless --wall is given. Prints a line for each stage and size,
sums for each stage, the share of either within 30 %, and how far the homes lie apart; and of each home how long it was from the first start to the
last end, beside the schedule that is simulated of what its stages took, one and two at once.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from statistics import median

from flows.cost.demand import Demand
from flows.cost.devices import HERE, named
from flows.cost.forecast import Forecaster, wall
from flows.cost.schedule import Task, makespans
from flows.engine import machine
from flows.engine.home import Home
from flows.engine.stores.folder import Store
from flows.engine.stores.manifest import Manifest
from flows.prepared import Run, planned, prepare_run
from flows.request import request
from tasks.contract import Node

GOOD = 1.3


def processor(made: Manifest) -> float:
    """Seconds of an output's process on processors."""
    return float(made.facts["processor_seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("homes", nargs="+", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--wall", action="store_true")
    asked = parser.parse_args()
    took = wall if asked.wall else processor
    run = prepare_run(Home(asked.homes[0]), request(asked.config, asked.sets))
    planned(run)  # prepared models are known
    stages = dict.fromkeys(node.stage.name for node in run.dag.nodes)
    kept: dict[str, list[Manifest]] = {}
    for home in asked.homes:
        made = {one.label: one for stage in stages for one in Store(home / "store").manifests(stage)}
        print(f"{home}: {_scheduled(run, made)}")
        for label, one in made.items():
            kept.setdefault(label, []).append(one)
    least = {label: min(held, key=took) for label, held in kept.items()}
    _print(held_out(run, least, took))
    if len(asked.homes) > 1:
        apart = [max(map(took, held)) / min(map(took, held)) for held in kept.values() if len(held) > 1]
        print(
            f"the same stage in {len(asked.homes)} homes: slowest ÷ fastest {median(apart):.2f} in the median, {max(apart):.2f} at most"
        )


def _scheduled(run: Run, made: Mapping[str, Manifest]) -> str:
    """How long a run was, and how long its schedule is."""
    nodes = [node for node in run.dag.nodes if node.label in made]
    tasks = [
        Task(
            node.label,
            wall(made[node.label]),
            frozenset(up.label for up in node.upstream.values() if up.label in made),
            group=(node.stage.body, node.axes.model or node.axes.name),
            together=node.together and (node.stage, node.together),
        )
        for node in nodes
    ]
    ends = {node.label: datetime.fromisoformat(made[node.label].facts["finished"]).timestamp() for node in nodes}
    took = max(ends.values()) - min(end - wall(made[label]) for label, end in ends.items())
    simulated = makespans(tasks, (1, 2))
    return f"{took:.0f} s from first start to last end; simulated {simulated[1]:.0f} s one at a time, {simulated[2]:.0f} s two"


def held_out(
    run: Run, least: dict[str, Manifest], took: Callable[[Manifest], float]
) -> list[tuple[Node, float, float | None, float | None]]:
    """Each node with what it took, what is told of it from the others, and what the formula alone says; None: not known."""
    device = named(HERE, machine.numerics(run.experiment).threads)
    demand = Demand(run, device, list(least.values()))
    several = len(run.dag.sizes) > 1
    found = []
    for node in run.dag.nodes:
        if node.label in least:
            others = [one for one in least.values() if one.stage == node.stage.name and not _like(one, node, several)]
            told = Forecaster(demand, others, took).of(node)
            alone = Forecaster(demand, [], took).of(node)
            found.append((node, took(least[node.label]), told.seconds, alone.seconds))
    return found


def _like(made: Manifest, node: Node, several: bool) -> bool:
    """Whether an output is held out of what is told of a node: it is of its size; of one size, of its suite, or of its arm where it has none."""
    axes = made.document["axes"]
    if several:
        return (axes["ladder"], axes["size"]) == (node.axes.ladder, node.axes.size)
    return bool(axes["suite"] == node.axes.suite and (node.axes.suite or axes["arm"] == node.axes.arm))


def _print(found: Sequence[tuple[Node, float, float | None, float | None]]) -> None:
    known = [(node, took, told, alone) for node, took, told, alone in found if told is not None]
    print(f"{'stage':32}{'n':>4}{'measured':>10}{'told':>10}{'ratio':>8}   formula alone")
    sums = {}
    for by in (lambda node: (node.stage.name, node.axes.model or ""), lambda node: (node.stage.name, "all")):
        for place in dict.fromkeys(by(node) for node, *_ in known):
            held = [(took, told, alone) for node, took, told, alone in known if by(node) == place]
            measured, predicted = sum(took for took, _, _ in held), sum(told for _, told, _ in held)
            formula = [alone for *_, alone in held if alone is not None]
            raw = f"{sum(formula) / measured:8.2f}" if len(formula) == len(held) else ""
            print(f"{' '.join(place):32}{len(held):>4}{measured:>10.2f}{predicted:>10.2f}{predicted / measured:>8.2f}{raw}")
            sums[place] = predicted / measured
    _share("stages", [told / took for _, took, told, _ in known])
    _share("sums over a stage and size", [ratio for (_, at), ratio in sums.items() if at != "all"])
    _share("sums over a stage", [ratio for (_, at), ratio in sums.items() if at == "all"])
    print(f"all: measured {sum(took for _, took, *_ in known):.1f} s, told {sum(told for *_, told, _ in known):.1f} s")
    missing = dict.fromkeys(node.stage.name for node, _, told, _ in found if told is None)
    print(f"not told of: {', '.join(missing)}" if missing else "")


def _share(what: str, ratios: Iterable[float]) -> None:
    ratios = list(ratios)
    good = sum(abs(math.log(ratio)) <= math.log(GOOD) for ratio in ratios)
    print(f"{what}: {good} of {len(ratios)} within 30 %" + (f" ({good / len(ratios):.0%})" if ratios else ""))


if __name__ == "__main__":
    main()
