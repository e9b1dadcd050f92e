"""What a tracker is told: one sweep's nodes with what came of them. Data only, so that any tracker can be fed from it.

Knows which run each arm is, what it is called, where it stands among the others and in which colour. Everything follows from the
experiment and the order of its nodes, so that a database that is made anew from the store looks as the old one did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Any

from configs.contrasts import Arms, Contrast
from flows.engine.session import Outcome
from flows.engine.stores.manifest import Manifest
from tasks.contract import Axes, Node
from tasks.drawing.palette import arm_colours

CALIBRATION_NOTE = "Calibration ladder or scorer: these numbers validate the machinery and say nothing about real models."


def place_name(place: Axes) -> str:
    return "/".join(place.words())


@dataclass(frozen=True)
class Tracked:
    """`nodes` stand in the order of the DAG, the comparison last; `config` is the experiment as JSON."""

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
        yield from ((place, nodes) for place, nodes in self._runs.items() if place.model == model)

    def manifest(self, node: Node) -> Manifest | None:
        outcome = self.outcome(node)
        return outcome if isinstance(outcome, Manifest) else None

    def prepared(self, place: Axes) -> Manifest | None:
        """The model that a run was made of."""
        found = (one for one in self.nodes if (one.stage.name, one.axes.model, one.axes.arm) == ("prepare", place.model, None))
        return next(map(self.manifest, found), None)

    @property
    def primary(self) -> tuple[str, str]:
        """Suite and metric."""
        return self.config["primary"]["suite"], self.config["primary"]["metric"]

    @cached_property
    def arms(self) -> Arms:
        """In the order of the nodes: a note's JSON keeps no order of keys."""
        given = self.config["arms"]
        names = tuple(dict.fromkeys(node.axes.arm for node in self.nodes if node.axes.arm))
        untuned = (name for name in names if given[name]["method"] == "none")
        confirmatory, exploratory = (
            tuple(map(Contrast.parse, self.config.get(field, ()))) for field in ("contrasts", "exploratory")
        )
        return Arms(names, self.config.get("reference") or next(untuned, None) or names[0], confirmatory, exploratory)

    @cached_property
    def colours(self) -> dict[str, str]:
        """Arm → colour, as in the report."""
        return arm_colours(self.arms.names, self.arms.reference, self.arms.treated, self.arms.controls)

    @cached_property
    def order(self) -> list[Axes]:
        """Small sizes first; within a size the reference arm, those that the sweep is about, their controls, and further ones."""
        ladders, arms = list(dict.fromkeys(place.ladder for place in self._runs)), list(self.colours)
        return sorted(
            self._runs,
            key=lambda place: (
                ladders.index(place.ladder),
                self.params.get(place.model or "") or inf,
                place.size or "",
                arms.index(place.arm or ""),
                place.train_samples or 0,
                place.seed or 0,
            ),
        )

    @property
    def largest(self) -> str | None:
        """The size that stands last."""
        return self.order[-1].size if self.order else None

    @cached_property
    def _several(self) -> dict[str, bool]:
        """Axis → whether its runs differ in it."""
        return {
            axis: len({getattr(one, axis) for one in self._runs} - {None}) > 1 for axis in ("ladder", "train_samples", "seed")
        }

    def run_name(self, place: Axes) -> str:
        """`300k values-targeted`: what differs stands first, and what does not differ is left out."""
        several = self._several
        words = [place.model if several["ladder"] else place.size, (place.arm or "").replace("_", "-")]
        words += [f"n{place.train_samples}"] if several["train_samples"] and place.train_samples is not None else []
        words += [f"seed{place.seed}"] if several["seed"] else []
        return " ".join(word for word in words if word)

    @cached_property
    def _runs(self) -> dict[Axes, list[Node]]:
        groups: dict[Axes, list[Node]] = {}
        for node in self.nodes:
            if node.axes.arm is not None:
                groups.setdefault(replace(node.axes, suite=None), []).append(node)
        return groups
