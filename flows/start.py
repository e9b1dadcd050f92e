"""Where a rerun begins: a stage, at every size and arm or at one, and everything that reads what it makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import WithJsonSchema

from configs.problems import BadInput, accepted
from flows.dag import STAGES, Dag
from tasks.contract import Node


@dataclass(frozen=True)
class Start:
    """A stage, at every size and arm or at one."""

    stage: Annotated[
        str, WithJsonSchema({"type": "string", "enum": list(dict.fromkeys(stage.name for stage in STAGES))})
    ]  # for the form
    size: str | None = None
    arm: str | None = None

    def holds(self, node: Node) -> bool:
        return (
            node.stage.name == self.stage
            and self.size in (None, node.axes.size, node.axes.model)
            and self.arm in (None, node.axes.arm)
        )


def from_here_on(dag: Dag, start: Start) -> list[Node]:
    """The nodes where a rerun begins, and everything that reads them.

    Raises:
        BadInput: the sweep has no such stage, size or arm.
    """
    places = (
        ("--from", start.stage, {node.stage.name for node in dag.nodes}),
        ("--size", start.size, {word for node in dag.nodes for word in (node.axes.size, node.axes.model) if word}),
        ("--arm", start.arm, {node.axes.arm for node in dag.nodes if node.axes.arm}),
    )
    for option, given, known in places:
        if given is not None and given not in known:
            raise BadInput(f"{option} {given}: sweep {dag.sweep} has none; {accepted(given, sorted(known))}")
    chosen: list[Node] = []
    for node in dag.nodes:  # in topological order
        if start.holds(node) or any(up in chosen for up in node.upstream.values()):
            chosen.append(node)
    if not chosen:
        raise BadInput(f"--from {start.stage}: no such stage there; it belongs to no size or arm, or not to this one")
    return chosen
