"""What a run would do, without doing it: each node is cached, would run, or waits for one that would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flows.engine.session import Blocked
from flows.prepared import Run
from tasks.contract import Node


@dataclass(frozen=True)
class Row:
    label: str
    state: Literal["cached", "run", "waits"]
    why: tuple[str, ...]  # reasons to run, or what it waits for
    key: str | None  # unknown below a node that would run: its output is not there to be digested


def plan_rows(run: Run) -> list[Row]:
    session = run.session
    rows: list[Row] = []
    unmade: set[Node] = set()
    for node in run.dag.nodes:
        above = [up for up in node.upstream.values() if up in unmade]
        if above:
            rows.append(Row(node.label, "waits", tuple(f"for {up.label}" for up in above), None))
            unmade.add(node)
            continue
        inputs = session.inputs(node)
        assert not isinstance(inputs, Blocked)  # everything above is settled
        order = session.order(node, inputs)
        found, why = session.look_up(order)
        if found is not None:
            session.settle(node, found)
            rows.append(Row(node.label, "cached", (), order.key))
        else:
            rows.append(Row(node.label, "run", tuple(why), order.key))
            unmade.add(node)
    return rows
