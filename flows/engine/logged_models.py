"""What runs tuned, as MLflow's logged models: among the outputs on a run's page, and all of an experiment side by side with their numbers.

One a name and content in an experiment; every run that tuned it has it as an output. Its artifacts are a link into the store: no weight is copied.
Which contents there are and how they are called, `flows.engine.registry` knows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric, Run

from flows.engine import names
from flows.engine.headline_metrics import TRAINING
from flows.engine.home import Home
from flows.engine.tracking import NOTE
from model_registry.registered import Registered, Version

DIGEST = "palms.digest"
VERSIONS = "mlflow.modelVersions"  # what the model's page links in the registry


class Shown(NamedTuple):
    """A registered version, and the number that it has in MLflow's registry."""

    model: Registered
    version: Version
    number: int


def log(home: Home, client: MlflowClient, experiment: str, tuned: Mapping[str, Shown]) -> None:
    """Let MLflow show what each run tuned; what it shows already stays as it is."""
    there = {(model.name, model.tags.get(DIGEST)): model for model in _logged(client, experiment)}
    for run_id, one in tuned.items():
        place = names.model(one.model.name), one.version.digest
        if place not in there:
            there[place] = _begun(client, experiment, run_id, one)
        run = client.get_run(run_id)
        _settle(home, client, there[place], run, one)
        _measure(client, there[place], run)


def _logged(client: MlflowClient, experiment: str) -> list[LoggedModel]:
    found: list[LoggedModel] = []
    token = None
    while token is None or token:  # a page is a hundred models
        page = client.search_logged_models([experiment], page_token=token)
        found += page
        token = page.token or ""
    return found


def _begun(client: MlflowClient, experiment: str, run: str, one: Shown) -> LoggedModel:
    facts = one.version.facts
    params = {name: str(value) for name, value in facts.settings.items()} | {"base": facts.base}
    return client.create_logged_model(
        experiment, names.model(one.model.name), run, {DIGEST: one.version.digest}, params, facts.method
    )


def _settle(home: Home, client: MlflowClient, model: LoggedModel, run: Run, one: Shown) -> None:
    """Its weights, its versions, its run: each by itself, for a projection may have been cut off between them."""
    place = model.artifact_location.removeprefix(home.artifacts.as_uri() + "/")
    home.link(home.artifacts / unquote(place), home.place(one.version.tuned) / "model")
    facts = one.version.facts
    tags = {
        VERSIONS: json.dumps([{"name": one.model.name, "version": one.number}]),
        NOTE: one.model.card(one.version),
        "capability": facts.capability,
        **({"calibration": "true"} if facts.calibration else {}),
    }
    if changed := {name: value for name, value in tags.items() if model.tags.get(name) != value}:
        client.set_logged_model_tags(model.model_id, changed)
    outputs = run.outputs.model_outputs if run.outputs else ()
    if model.model_id not in {output.model_id for output in outputs}:
        client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, 0)])
    if model.status != LoggedModelStatus.READY:
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def _measure(client: MlflowClient, model: LoggedModel, run: Run) -> None:
    """The run's newest numbers; of its curves nothing, which are of the tuning and not of what came of it."""
    run_id = run.info.run_id
    had = {(metric.key, metric.timestamp, metric.step) for metric in model.metrics or () if metric.run_id == run_id}
    logged = [
        Metric(metric.key, metric.value, metric.timestamp, metric.step, model_id=model.model_id)
        for metric in run.data._metric_objs  # `metrics` has their values without time and step
        if not metric.key.startswith(TRAINING) and (metric.key, metric.timestamp, metric.step) not in had
    ]
    client.log_batch(run_id, metrics=logged)
