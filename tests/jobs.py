"""Running a stage's body in the test's own process: a job over plain folders, and what the body told it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.contract import Axes, Job, Numerics


@dataclass
class Ran:
    """A job and what became of it."""

    job: Job
    committed: list[tuple[str, ...]] = field(default_factory=list)
    steps: list[tuple[int, int, str]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def work(self) -> Path:
        return self.job.work

    @property
    def commits(self) -> int:
        return len(self.committed)


NUMERICS = Numerics(attention="sdpa")  # as a sweep on a CPU has them, but for the threads


def make_job(
    work: Path,
    settings: Any,
    inputs: Mapping[str, Path],
    places: Mapping[str, Axes] | None = None,
    numerics: Numerics | None = None,
) -> Ran:
    work.mkdir(parents=True, exist_ok=True)
    committed: list[tuple[str, ...]] = []
    steps: list[tuple[int, int, str]] = []
    said: list[str] = []
    job = Job(
        label="test",
        axes=Axes(),
        settings=settings,
        inputs=dict(inputs),
        work=work,
        numerics=numerics or NUMERICS,
        commit=lambda volatile=(), requires=(), among=1: committed.append(tuple(volatile)),
        places=dict(places or {}),
        progress=lambda done, total, unit: steps.append((done, total, unit)),
        say=said.append,
    )
    return Ran(job, committed, steps, said)
