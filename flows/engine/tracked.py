"""What a tracker is told: one sweep's nodes with what came of them. Data only, so that any tracker can be fed from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flows.engine.session import Outcome
from flows.engine.store import Manifest
from tasks.contract import Axes, Node

CALIBRATION_NOTE = "Calibration ladder or scorer: these numbers validate the machinery and say nothing about real models."


@dataclass(frozen=True)
class Tracked:
    sweep: str
    name: str  # of the tracker's experiment
    uri: str
    artifacts: Path
    calibration: bool
    config: Mapping[str, Any]
    params: Mapping[str, int | None]
    nodes: list[Node]
    outcome: Callable[[Node], Outcome | None]
    stopped: Callable[[], bool] = lambda: False  # whether somebody ended the run before its time

    def children(self, model: str) -> Iterator[tuple[Axes, list[Node]]]:
        """The nodes of each (arm, samples, seed) of one size: what becomes one child run."""
        groups: dict[Axes, list[Node]] = {}
        for node in self.nodes:
            if node.axes.model == model and node.axes.arm is not None:
                groups.setdefault(replace(node.axes, suite=None), []).append(node)
        yield from groups.items()

    def manifest(self, node: Node) -> Manifest | None:
        outcome = self.outcome(node)
        return outcome if isinstance(outcome, Manifest) else None
