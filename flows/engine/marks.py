"""How a tracked run is found again: the one tag that is the projector's own business, and which of several runs at a place is current."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from mlflow import MlflowClient
from mlflow.entities import Run, RunTag

MARK, SUPERSEDED = "palms", "superseded"


@dataclass(frozen=True)
class Mark:
    """What the projector finds a run again by. Its text sorts runs as a table is to show them: MLflow orders them by one key.

    logged: everything of the digest's results has been logged. compared, step: the comparison that its differences are of, and
    the step of their points; another comparison's are the next step.
    """

    sweep: str
    order: str  # of digits
    place: str
    digest: str = ""
    logged: bool = False
    compared: str = ""
    step: int = 0

    @classmethod
    def of(cls, run: Run) -> Mark:
        return cls(**json.loads(run.data.tags[MARK]))

    @property
    def text(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @property
    def tag(self) -> RunTag:
        return RunTag(MARK, self.text)


Marked = tuple[Run, Mark]


def runs_of(client: MlflowClient, experiment: str, sweep: str) -> list[Marked]:
    """All of a sweep, the superseded ones too."""
    return search(client, [experiment], sweep)


def current(runs: Iterable[Marked]) -> list[Marked]:
    """Those that no other has superseded."""
    return [(run, mark) for run, mark in runs if SUPERSEDED not in run.data.tags]


def search(client: MlflowClient, experiments: list[str], sweep: str, further: str = "") -> list[Marked]:
    begins = json.dumps({"sweep": sweep}, separators=(",", ":")).removesuffix("}")
    found: list[Run] = []
    token = None
    while token is None or token:  # a page is a thousand runs
        page = client.search_runs(experiments, f"tags.`{MARK}` LIKE '{begins},%'{further}", page_token=token)
        found += page
        token = page.token or ""
    marked = [(run, Mark.of(run)) for run in found]
    return [(run, mark) for run, mark in marked if mark.sweep == sweep]  # in LIKE an underscore is any character


def current_run(client: MlflowClient, runs: list[Marked], place: str, digest: str, make: Callable[[], Run]) -> Marked:
    """The run of these results at a place, made if there is none; every other run at that place is superseded by it."""
    here = [(run, mark) for run, mark in runs if mark.place == place]
    known = next(((run, mark) for run, mark in here if mark.digest == digest), None)
    if known is None:
        run = make()
        known = run, Mark.of(run)
        runs.append(known)
    run_id = known[0].info.run_id
    for other, _ in here:  # every time: results may have gone back to earlier ones, or a projection may have been cut off here
        if other.info.run_id != run_id and other.data.tags.get(SUPERSEDED) != run_id:
            client.set_tag(other.info.run_id, SUPERSEDED, run_id)
    if SUPERSEDED in known[0].data.tags:
        client.delete_tag(run_id, SUPERSEDED)
    return known
