"""`palms mlflow`: the tracking database.

Tracking is a projection, so nothing is lost with it but what MLflow alone knew: runs that others had superseded, and notes or tags
that somebody wrote by hand.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import typer

from configs.problems import BadInput
from flows.commands.words import out
from flows.engine.home import Home
from flows.engine.notes import sweep_note, tracker_of
from flows.engine.servers import running
from flows.engine.tracked import Tracked
from flows.outputs import Outputs
from flows.prepared import began, known_sweeps

app = typer.Typer(no_args_is_help=True, help="The tracking database.")


@app.command("rebuild")
def rebuild_command() -> None:
    """Make the tracking database anew from the store and what sweeps noted; the old one is put aside. One in Postgres stays, and gets what it lacks.

    Example:  palms down && palms mlflow rebuild
    """
    home = Home.open()
    home.settle_environment()
    for line in rebuild(home):
        out.print(line, highlight=False, markup=False)


def rebuild(home: Home) -> Iterator[str]:
    """Put the home's own database aside and project every sweep again, oldest first; a line for each.

    Raises:
        BadInput: the tracking server is up, a sweep is running, or a sweep was noted by a version that left too little.
    """
    from flows.engine import registry, tracking  # MLflow with it: after the environment is settled

    if running(home, "mlflow"):
        raise BadInput("the MLflow server is up and would write on; `palms down` first")
    folders = sorted(known_sweeps(home), key=began)
    kept: dict[str, Tracked | None] = {}  # read before anything is put aside
    for folder in folders:
        left = sweep_note(folder)
        if not left.ended and left.owner.alive is not False:
            raise BadInput(f"sweep {folder.name} is running (pid {left.owner.pid}); wait for it, or end it")
        kept[folder.name] = noted(home, Outputs.of(home, folder.name))
    if home.own_tracker:
        yield from _put_aside(home)
    home.mlflow.mkdir(exist_ok=True)
    for name, tracked in kept.items():
        if tracked is None:
            yield f"{name}: tracked elsewhere, left alone"
            continue
        for model in dict.fromkeys(node.axes.model for node in tracked.nodes if node.axes.model):
            tracking.project_size(tracked, model)
        tracking.project_sweep(tracked)
        made = sum(tracked.manifest(node) is not None for node in tracked.nodes)
        yield f"{name}: {made} of {len(tracked.nodes)} outputs"
    registry.register(home, *filter(None, kept.values()))


def _put_aside(home: Home) -> Iterator[str]:
    aside = home.root / f"mlflow.before-{time.strftime('%Y%m%d-%H%M%S')}"
    if home.mlflow.is_dir() and (held := list(home.mlflow.iterdir())):
        aside.mkdir()
        for path in held:  # what it holds, not itself: its address may be a descriptor of it, which would move along
            path.rename(aside / path.name)
        yield f"the database as it was: {aside} (yours to delete)"


def noted(home: Home, left: Outputs) -> Tracked | None:
    """A sweep as it noted itself, with its outputs as the store holds them; None if its tracker is not this home's database."""
    if (uri := tracker_of(home, left.folder, left.note)) != home.tracking_uri():
        return None
    made = left.made
    return Tracked(
        sweep=left.sweep,
        name=left.note.tracked_as,
        uri=uri,
        artifacts=home.artifacts,
        calibration=left.note.calibration,
        config=left.note.experiment,
        params=left.note.params,
        nodes=list(made),
        outcome=made.get,
    )
