"""Manifests → MLflow: the one projector. What it shows can always be made again from the store.

One parent run a sweep, one child a (size, arm, dataset size, seed), nested one level, the axes copied onto every child so that the
dashboard's filters keep them. A child is identified by the digest of its stage keys: projecting the same results again changes
nothing (points carry the time of their stage's commit, and MLflow keeps equal points once); other results open another run
and mark the old one `superseded`.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag

from flows.engine import names
from flows.engine.home import Home
from flows.engine.lock import locked
from flows.engine.store import Manifest
from flows.engine.tracked import CALIBRATION_NOTE, Tracked
from tasks.contract import Axes, Node, digest_of

SWEEP, PLACE, DIGEST, LOGGED = "palms.sweep", "palms.place", "palms.digest", "palms.logged"

INSIDE = "/mlflow/artifacts/"
PLACES = (
    *(("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location")),
    *(("model_versions", "source"), ("model_versions", "storage_location")),
)
LONGEST = 6000  # characters of a param's value

_thread = threading.Lock()  # sizes end at the same time

# MLflow announces its database's first creation in several lines; the run's own log is the place for that
for noisy in ("mlflow", "alembic"):
    logging.getLogger(noisy).setLevel(logging.WARNING)


def project_size(tracked: Tracked, model: str) -> None:
    """Log every child run of one size, as far as its nodes have been committed."""
    shared = [node for node in tracked.nodes if node.axes.model == model and node.axes.arm is None and node.axes.suite is None]
    with _alone(tracked):
        client = MlflowClient(tracked.uri)
        parent = _parent(client, tracked)
        for place, nodes in tracked.children(model):
            _project_child(client, tracked, parent, place, [*shared, *nodes])


def project_sweep(tracked: Tracked) -> None:
    """Log the sweep's own run: the comparison's metrics, tables and report, and what was found in each dataset."""
    with _alone(tracked):
        client = MlflowClient(tracked.uri)
        parent = _parent(client, tracked)
        *before, last = tracked.nodes
        with _ended_anyway(client, parent):
            for node in (*(node for node in before if node.axes.model is None), last):
                if (manifest := tracked.manifest(node)) is not None:
                    _log_manifest(client, parent, manifest, None if node is last else node.axes.name)
        complete = all(tracked.manifest(node) for node in tracked.nodes)
        status = "FINISHED" if complete else "KILLED" if tracked.stopped() else "FAILED"
        if parent.info.status != status:  # ending a run again would move its end time
            client.set_terminated(parent.info.run_id, status)


def run_ids(tracked: Tracked) -> tuple[str, dict[str, str]]:
    """The tracker's experiment, and the run of each place that is current; the sweep's own stands under `sweep`."""
    client = MlflowClient(tracked.uri)
    experiment = _experiment(client, tracked)
    current = [run for run in _find(client, experiment, {SWEEP: tracked.sweep}) if "superseded" not in run.data.tags]
    return experiment, {run.data.tags[PLACE]: run.info.run_id for run in current}


def kill(uri: str, sweep: str) -> int:
    """Mark the runs of a sweep that still count as running as killed; how many there were. For one whose process is gone."""
    client = MlflowClient(uri)
    experiments = [str(found.experiment_id) for found in client.search_experiments()]
    dead = client.search_runs(experiments, f"tags.`{SWEEP}` = '{sweep}' and attributes.status = 'RUNNING'") if experiments else []
    for run in dead:
        client.set_terminated(run.info.run_id, "KILLED")
    return len(dead)


@contextmanager
def _alone(tracked: Tracked) -> Iterator[None]:
    """One projection at a time, over threads and processes: two that both find no run would both create it."""
    tracked.artifacts.mkdir(exist_ok=True)  # in a home that is there: one that was moved away is not begun anew
    with _thread, locked(tracked.artifacts / ".lock"):
        yield


@contextmanager
def _ended_anyway(client: MlflowClient, run: Run) -> Iterator[None]:
    """What cannot be logged leaves its run failed, not running for ever; the next projection takes it up again."""
    try:
        yield
    except Exception:
        with suppress(Exception):  # a tracker that is gone: the first fault is what counts
            client.set_terminated(run.info.run_id, "FAILED")
        raise


def _short(value: Any) -> str:
    """A param's value in MLflow's length; of a longer one its beginning and a digest, since a param is never changed."""
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 70]} … {digest_of(text)}"


def _experiment(client: MlflowClient, tracked: Tracked) -> str:
    found = client.get_experiment_by_name(tracked.name)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(tracked.name, artifact_location=(tracked.artifacts / names.file(tracked.name)).as_uri()))


def settle(home: Home) -> None:
    """Let the home's own database find its artifacts where they are now: MLflow keeps their places absolute, and a home may be moved.

    For whoever opens the database. Whatever lies in the `mlflow/artifacts/` of some home lies in this one's.
    """
    database = home.mlflow / "mlflow.db"
    if not database.is_file():
        return
    now = (home.mlflow / "artifacts").as_uri() + "/"
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        for table, column in PLACES:
            if not connection.execute("select 1 from pragma_table_info(?) where name = ?", (table, column)).fetchone():
                continue
            moved = f"instr({column}, '{INSIDE}') > 0 and substr({column}, 1, length(:now)) <> :now"
            rest = f"substr({column}, instr({column}, '{INSIDE}') + length('{INSIDE}'))"
            connection.execute(f"update {table} set {column} = :now || {rest} where {moved}", {"now": now})


def _find(client: MlflowClient, experiment: str, tags: Mapping[str, str]) -> list[Run]:
    wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    return list(client.search_runs([experiment], wanted))


def _parent(client: MlflowClient, tracked: Tracked) -> Run:
    experiment = _experiment(client, tracked)
    tags = {SWEEP: tracked.sweep, PLACE: "sweep"}
    found = _find(client, experiment, tags)
    run = found[0] if found else client.create_run(experiment, run_name=tracked.sweep, tags=tags | _note(tracked))
    if run.info.status == "KILLED" and not tracked.stopped():  # it goes on
        client.update_run(run.info.run_id, status="RUNNING")
        run = client.get_run(run.info.run_id)
    if "palms.config" not in run.data.tags:
        with _ended_anyway(client, run):
            client.log_dict(run.info.run_id, dict(tracked.config), "experiment.json")
            client.set_tag(run.info.run_id, "palms.config", "experiment.json")
    return run


def place_name(place: Axes) -> str:
    return "/".join(place.words())


def _note(tracked: Tracked) -> dict[str, str]:
    """What the dashboard shows as a run's description: calibration results are labelled wherever they appear."""
    return {"calibration": "true", "mlflow.note.content": CALIBRATION_NOTE} if tracked.calibration else {}


def _project_child(client: MlflowClient, tracked: Tracked, parent: Run, place: Axes, nodes: list[Node]) -> None:
    made = {node: manifest for node in nodes if (manifest := tracked.manifest(node))}
    if not made:
        return
    where, digest = place_name(place), digest_of(sorted(manifest.key for manifest in made.values()))
    status = "FINISHED" if len(made) == len(nodes) else "KILLED" if tracked.stopped() else "FAILED"
    tags = {SWEEP: tracked.sweep, PLACE: where}
    earlier = _find(client, parent.info.experiment_id, tags)
    run = next((run for run in earlier if run.data.tags[DIGEST] == digest), None)
    if run is None:
        nesting = {"mlflow.parentRunId": parent.info.run_id, DIGEST: digest}
        run = client.create_run(
            parent.info.experiment_id, run_name=" · ".join(place.words()), tags={**tags, **nesting, **_note(tracked)}
        )
    for other in earlier:  # every time: results may have gone back to earlier ones, or a projection may have been cut off here
        if other.info.run_id != run.info.run_id and other.data.tags.get("superseded") != run.info.run_id:
            client.set_tag(other.info.run_id, "superseded", run.info.run_id)
    if "superseded" in run.data.tags:
        client.delete_tag(run.info.run_id, "superseded")
    if run.info.status == status:
        return
    with _ended_anyway(client, run):
        params = _params(tracked, place, made)
        client.log_batch(run.info.run_id, params=[Param(name, _short(value)) for name, value in params.items()])
        for node, manifest in made.items():
            _log_manifest(client, run, manifest, node.axes.suite)
    client.set_terminated(run.info.run_id, status)


def _params(tracked: Tracked, place: Axes, made: Mapping[Node, Manifest]) -> dict[str, Any]:
    axes = {
        "ladder": place.ladder,
        "size": place.size,
        "arm": place.arm,
        "train_samples": place.train_samples,
        "seed": place.seed,
    }
    tuning: Mapping[str, Any] = next(
        (manifest.document["identity"]["settings"] for node, manifest in made.items() if node.stage.name == "finetune"), {}
    )
    return {**axes, "params": tracked.params.get(place.model or ""), **{k: v for k, v in tuning.items() if k not in axes}}


def _log_manifest(client: MlflowClient, run: Run, manifest: Manifest, suite: str | None) -> None:
    """Everything readable of one output; once it has been logged to its end, the run's tag says so.

    Another output in the place of one that was logged (a sweep compared anew) becomes the next step of the same metrics.
    """
    done, prefix = f"{LOGGED}.{manifest.stage}.{suite or 'all'}", f"{suite}." if suite else ""
    logged = run.data.tags.get(done, "").split()
    if logged[-1:] == [manifest.key]:
        return
    step = len(logged)
    when = int(datetime.fromisoformat(manifest.facts["finished"]).timestamp() * 1000)
    what = f"{manifest.stage}.{suite}" if suite else manifest.stage
    points = [Metric(f"cost.{what}.seconds", manifest.facts["seconds"], when, step)]
    points += [Metric(names.metric(f"{prefix}{row.metric}", row.group), row.value, when, step) for row in manifest.metrics]
    for name, curve in manifest.series.items():
        points += [Metric(f"{manifest.stage}.{name}", value, when, int(step)) for step, value in curve]
    for start in range(0, len(points), 1000):  # MLflow's limit for one batch
        client.log_batch(run.info.run_id, metrics=points[start : start + 1000])
    for table in manifest.tables():
        folder = "/".join(filter(None, [manifest.stage, suite, str(table.parent.relative_to(manifest.folder)).strip(".")]))
        client.log_artifact(run.info.run_id, str(table), folder)
    client.log_batch(run.info.run_id, tags=[RunTag(done, " ".join([*logged, manifest.key]))])
