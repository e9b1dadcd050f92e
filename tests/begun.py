"""A home as it stands once something has run in it: both databases migrated, the calibration ladder's scorer and its smallest model trained,
and nothing else.

Of the 52 CPU seconds of a home's first run 19 are for the databases and the scorer, so they are made once a session. Without them begin
the home of `test_up` and one of `test_sweep`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from mlflow import MlflowClient

from flows.engine.home import Home
from flows.prepared import prepare_run
from flows.request import request
from tests import sweeps, toy

STORE = ("store",)
ALL = ("prefect", "mlflow", *STORE)  # not the secret: every home has one of its own

Begin = Callable[..., Path]  # of a folder, and of which parts it is to have


def make(folder: Path) -> None:
    sweeps.palms(folder, "notify", "list")  # for which the orchestrator is started
    home = Home(folder)
    home.mlflow.mkdir()
    MlflowClient(home.tracking_uri())
    nodes = prepare_run(home, request("calibration", ["ladders=[{ladder: calibration, sizes: [30k]}]"])).dag.nodes
    trained = [node for node in nodes if node.stage.name in ("scorer", "prepare")]
    session = toy.session(folder, trained)
    for node in trained:
        toy.make(session, node)


def begin(made: Path, home: Path, parts: Sequence[str] = ALL) -> Path:
    for name in parts:
        shutil.copytree(made / name, home / name, ignore=shutil.ignore_patterns("*.log"))
    return home


def output(home: Path, stage: str) -> Path:
    """The folder of what a stage trained."""
    (manifest,) = home.glob(f"store/{stage}/*/manifest.json")
    return manifest.parent
