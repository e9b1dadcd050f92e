"""Whether the stages of a run fit into memory, and what each would take, on the machine that would run them.

How memory and time are told is for `flows.cost`: measured where the store has their like, by stated formulas elsewhere, or not known. Runs, fetches
and loads nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from flows.cost.bill import Line, alike, lines
from flows.cost.devices import HERE, named, own
from flows.engine import machine
from flows.prepared import Run
from tasks.contract import Node


@dataclass(frozen=True)
class Need:
    """What nodes of one stage, size and method need: memory of each in GiB, seconds of all together, each with how that is known. None: it is
    not known."""

    stage: str
    at: str
    how: str
    nodes: int
    memory_gib: float
    memory_from: str
    seconds: float | None
    seconds_from: str

    @property
    def label(self) -> str:
        return " ".join(part for part in (self.stage, self.at, self.how) if part)


def needs(run: Run, nodes: Sequence[Node]) -> list[Need]:
    """Of nodes that are not made, in their order; alike ones together."""
    numerics = machine.numerics(run.experiment)
    device = own(numerics.device, numerics.threads)
    found = lines(run, nodes, device)
    if device.kind != HERE:  # what admission holds back is this machine's memory
        held = [line.memory for line in lines(run, nodes, named(HERE, numerics.threads))]
        found = [replace(line, memory=memory) for line, memory in zip(found, held, strict=True)]
    return [_need(group) for group in alike(found)]


def unfitting(found: Sequence[Need], limit_gib: float) -> Iterator[str]:
    """What does not fit into so much memory, a line each."""
    for one in found:
        if one.memory_gib > limit_gib:
            yield (
                f"{one.label}: takes {one.memory_gib:.1f} GiB of memory ({one.memory_from}), and {limit_gib:.1f} GiB are there for stages "
                "(limits.memory_gib); a smaller size, an adapter in place of full, or more memory is required"
            )


def _need(told: Sequence[Line]) -> Need:
    stage, at, how = told[0].kind
    most = max((line.memory for line in told), key=lambda one: one.gib)
    known = [line.forecast.seconds for line in told if line.forecast.seconds is not None]
    words = " · ".join(dict.fromkeys(line.forecast.told for line in told))
    return Need(stage, at, how, len(told), most.gib, most.told, sum(known) if len(known) == len(told) else None, words)
