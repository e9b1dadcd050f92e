"""Running a stage's body in the test's own process: a job over plain folders, and what it committed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.contract import Axes, Job, Numerics


@dataclass
class Ran:
    """A job and what became of it."""

    job: Job
    commits: int = 0
    said: list[str] = field(default_factory=list)

    @property
    def work(self) -> Path:
        return self.job.work


def make_job(work: Path, settings: Any, inputs: Mapping[str, Path], places: Mapping[str, Axes] | None = None) -> Ran:
    work.mkdir(parents=True, exist_ok=True)
    said: list[str] = []

    def commit(volatile: Sequence[str] = ()) -> None:
        ran.commits += 1

    job = Job("test", Axes(), settings, dict(inputs), work, Numerics(), commit, dict(places or {}), say=said.append)
    ran = Ran(job, said=said)
    return ran
