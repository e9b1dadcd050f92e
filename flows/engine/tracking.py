"""Manifests → MLflow: the one projector. What it shows can always be made again from the store.

One parent run a sweep, one child a (size, arm, dataset size, seed), nested one level, the axes copied onto every child so that the
dashboard's filters keep them. A run is identified by a digest: a child by that of its stage keys, the parent by its comparison's key.
Projecting the same results again changes nothing; other results open another run and mark the old one `superseded`. What is the
projector's own business stands in one tag, `palms`. Which numbers a run shows, `headline_metrics` says; what the page opens on, `views`.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag

from flows.engine import headline_metrics, names, views
from flows.engine.experiment_note import experiment_note
from flows.engine.headline_metrics import Comparison, Point
from flows.engine.lock import locked
from flows.engine.marks import MARK, Mark, Marked, current, current_run, runs_of, search
from flows.engine.stores.manifest import Manifest
from flows.engine.tracked import CALIBRATION_NOTE, Tracked, place_name
from tasks.contract import Axes, Node, digest_of, read_json
from tasks.prepare.stage import MODEL_FILE, told

NOTE = "mlflow.note.content"
SWEEP = "sweep"  # the parent's place
LAYOUT = 4  # of what a child shows: a child of another layout is superseded

LONGEST = 6000  # characters of a param's value
BATCH = 1000  # points that MLflow takes at once
DIGEST = 12  # characters of a dataset's digest: the page writes them out

_thread = threading.Lock()  # sizes end at the same time

# MLflow announces its database's first creation in several lines; the run's own log is the place for that
for noisy in ("mlflow", "alembic"):
    logging.getLogger(noisy).setLevel(logging.WARNING)


def project_size(tracked: Tracked, model: str) -> None:
    """Log every child run of one size, as far as its nodes have been committed."""
    shared = [node for node in tracked.nodes if node.axes.model == model and node.axes.arm is None and node.axes.suite is None]
    with _alone(tracked):
        client = MlflowClient(tracked.uri)
        experiment = _experiment(client, tracked)
        runs = runs_of(client, experiment, tracked.sweep)
        parent, _ = _parent(client, tracked, experiment, runs)
        for place, nodes in tracked.children(model):
            _project_child(client, tracked, parent, runs, place, nodes, shared)


def project_sweep(tracked: Tracked) -> None:
    """Log the sweep's own run and every difference that its comparison found, and let the experiment's page open on them."""
    compared = tracked.manifest(tracked.nodes[-1])
    complete = all(tracked.manifest(node) for node in tracked.nodes)
    status = "FINISHED" if complete else "KILLED" if tracked.stopped() else "FAILED"
    with _alone(tracked):
        client = MlflowClient(tracked.uri)
        experiment = _experiment(client, tracked)
        runs = runs_of(client, experiment, tracked.sweep)
        parent, mark = _parent(client, tracked, experiment, runs, compared.key if compared else None)
        with _ended_anyway(client, parent):
            if compared is not None:
                found = headline_metrics.read_comparison(compared)
                if not mark.logged:
                    _log_sweep(client, tracked, parent, mark, compared, found)
                _log_differences(client, tracked, runs, parent, found, _end(compared))
                _open_on(client, tracked, experiment, parent, found, _end(compared))
        made = _made(tracked, tracked.nodes)
        if parent.info.status != status:  # ending a run again would move its end time
            client.set_terminated(parent.info.run_id, status, _ended(made.values()))


def run_ids(tracked: Tracked) -> tuple[str, dict[str, str]]:
    """The tracker's experiment, and the run of each place that is current; the sweep's own stands under `sweep`."""
    client = MlflowClient(tracked.uri)
    experiment = _experiment(client, tracked)
    runs = runs_of(client, experiment, tracked.sweep)
    return experiment, {mark.place: run.info.run_id for run, mark in current(runs)}


def kill(uri: str, sweep: str) -> int:
    """Mark the runs of a sweep that still count as running as killed; how many there were. For one whose process is gone."""
    client = MlflowClient(uri)
    experiments = [str(found.experiment_id) for found in client.search_experiments()]
    dead = [run for run, _ in search(client, experiments, sweep, " and attributes.status = 'RUNNING'")] if experiments else []
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


def _experiment(client: MlflowClient, tracked: Tracked) -> str:
    found = client.get_experiment_by_name(tracked.name)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(tracked.name, artifact_location=(tracked.artifacts / names.file(tracked.name)).as_uri()))


# ---- the sweep's own run ----------------------------------------------------------------------------------------------------


def _parent(client: MlflowClient, tracked: Tracked, experiment: str, runs: list[Marked], digest: str | None = None) -> Marked:
    """The sweep's own run: of the comparison with this key, or, where none is given, whichever is current.

    A run that was begun before there was a comparison becomes that of the first one.
    """
    now = next(((run, mark) for run, mark in current(runs) if mark.place == SWEEP), None)
    if now is not None and digest is None:
        digest = now[1].digest
    if now is not None and not now[1].digest and digest:
        runs.remove(now)
        now = now[0], replace(now[1], digest=digest)
        runs.append(now)
        client.set_tag(now[0].info.run_id, MARK, now[1].text)

    def make() -> Run:
        mark = Mark(tracked.sweep, "000", SWEEP, digest or "")
        began = _began(_made(tracked, tracked.nodes).values())
        run = client.create_run(experiment, began, {MARK: mark.text} | _note(tracked, f"Sweep {tracked.sweep}."), tracked.sweep)
        with _ended_anyway(client, run):
            _log_config(client, tracked, run)
        return run

    run, mark = current_run(client, runs, SWEEP, digest or "", make)
    if run.info.status == "KILLED" and not tracked.stopped():  # it goes on
        client.update_run(run.info.run_id, status="RUNNING")
        run = client.get_run(run.info.run_id)
    return run, mark


def _log_config(client: MlflowClient, tracked: Tracked, run: Run) -> None:
    client.log_dict(run.info.run_id, dict(tracked.config), "experiment.json")


def _log_sweep(client: MlflowClient, tracked: Tracked, parent: Run, mark: Mark, compared: Manifest, found: Comparison) -> None:
    """The comparison: its effects against parameter count, tables and report; and what was found in each dataset."""
    run_id = parent.info.run_id
    _log_config(client, tracked, parent)
    for node in (*(node for node in tracked.nodes[:-1] if node.axes.model is None), tracked.nodes[-1]):
        if (manifest := tracked.manifest(node)) is not None:
            _log_tables(client, run_id, manifest, None if manifest is compared else node.axes.name)
    made = _made(tracked, tracked.nodes)
    points = [*headline_metrics.effects(found), *headline_metrics.cost(made)]
    _log_points(client, run_id, points, _end(compared))
    described = _described(compared) | _note(tracked, f"{found.finding}\n\nSweep {tracked.sweep}.")
    tags = [RunTag(*tag) for tag in described.items()]
    client.log_batch(run_id, tags=[*tags, replace(mark, logged=True).tag])


def _log_differences(
    client: MlflowClient, tracked: Tracked, runs: list[Marked], parent: Run, found: Comparison, when: int
) -> None:
    """What the comparison found of each arm, on that arm's run; all current runs become children of the comparison's run."""
    places = {place_name(place): place for place in tracked.order}
    for run, mark in current(runs):
        if mark.place not in places:
            continue
        if run.data.tags.get("mlflow.parentRunId") != parent.info.run_id:
            client.set_tag(run.info.run_id, "mlflow.parentRunId", parent.info.run_id)
        if mark.compared != found.key:
            step = mark.step + 1 if mark.compared else 0
            points = [point._replace(step=step) for point in headline_metrics.differences(found, places[mark.place])]
            _log_points(client, run.info.run_id, points, when)
            client.set_tag(run.info.run_id, MARK, replace(mark, compared=found.key, step=step).text)


def _open_on(client: MlflowClient, tracked: Tracked, experiment: str, parent: Run, found: Comparison, when: int) -> None:
    """Saved views and the note of the experiment's page, which are those of the sweep that was compared last."""
    arms = [run for run, mark in current(runs_of(client, experiment, tracked.sweep)) if mark.place != SWEEP]
    shown = views.Shown(
        sweep=tracked.sweep,
        primary=tracked.primary[1],
        metrics=frozenset(name for run in arms for name in run.data.metrics),
        called=found.called,
        against=found.against(tracked.arms.treated),
        largest=tracked.largest,
        when=when,
    )
    note = experiment_note(found, tracked.sweep, calibration=tracked.calibration, experiment=experiment, run=parent.info.run_id)
    there = client.get_experiment(experiment).tags
    before = json.loads(there.get(MARK, "{}"))
    stands = there.get(NOTE, "")
    is_ours = stands in ("", note) or digest_of(stands) == before.get("note")  # what somebody wrote by hand stays
    ours = {NOTE: note} if is_ours else {}
    ours[MARK] = json.dumps({"sweep": tracked.sweep, "compared": when, "note": digest_of(note)})
    for name, value in (views.tags(shown) | ours).items():
        if there.get(name) != value:
            client.set_experiment_tag(experiment, name, value)


# ---- an arm's run -----------------------------------------------------------------------------------------------------------


def _project_child(
    client: MlflowClient,
    tracked: Tracked,
    parent: Run,
    runs: list[Marked],
    place: Axes,
    nodes: Sequence[Node],
    shared: Sequence[Node],
) -> None:
    own, made = _made(tracked, nodes), _made(tracked, [*shared, *nodes])
    if not own:
        return
    digest = digest_of([LAYOUT, *sorted(manifest.key for manifest in made.values())])
    status = "FINISHED" if len(made) == len(shared) + len(nodes) else "KILLED" if tracked.stopped() else "FAILED"

    def make() -> Run:
        mark = Mark(tracked.sweep, f"{1 + tracked.order.index(place):03d}", place_name(place), digest)
        name = tracked.run_name(place)
        tags = {
            MARK: mark.text,
            "mlflow.parentRunId": parent.info.run_id,
            "mlflow.runColor": tracked.colours[place.arm or ""],
            **_note(tracked, f"{name}, of sweep {tracked.sweep}."),
        }
        return client.create_run(parent.info.experiment_id, _began(own.values()), tags, name)

    run, mark = current_run(client, runs, place_name(place), digest, make)
    if run.info.status == status and mark.logged:
        return
    with _ended_anyway(client, run):
        if not mark.logged:
            _log_child(client, tracked, run, mark, place, own)
    client.set_terminated(run.info.run_id, status, _ended(own.values()))


def _log_child(client: MlflowClient, tracked: Tracked, run: Run, mark: Mark, place: Axes, own: Mapping[Node, Manifest]) -> None:
    run_id, when = run.info.run_id, _ended(own.values())
    for node, manifest in own.items():
        _log_tables(client, run_id, manifest, node.axes.suite)
    tags = _described(max(own.values(), key=_end))
    if rows := headline_metrics.answers(own, tracked.primary):
        # as MLflow's log_table writes it, which would append to a table that is there
        client.log_dict(run_id, {"columns": ["prompt", "completion"], "data": [list(row) for row in rows]}, "answers.json")
        tags["mlflow.loggedArtifacts"] = json.dumps([{"path": "answers.json", "type": "table"}])
    client.log_inputs(run_id, _inputs(tracked, own))
    _log_points(client, run_id, [*headline_metrics.levels(own, tracked.primary), *headline_metrics.curves(own)], when)
    params = [Param(name, _short(value)) for name, value in _params(tracked, place, own).items()]
    client.log_batch(run_id, params=params, tags=[*(RunTag(*tag) for tag in tags.items()), replace(mark, logged=True).tag])


def _params(tracked: Tracked, place: Axes, own: Mapping[Node, Manifest]) -> dict[str, Any]:
    prepared = tracked.prepared(place)
    axes = {
        "sweep": tracked.sweep,
        "ladder": place.ladder,
        "size": place.size,
        "arm": place.arm,
        "train_samples": place.train_samples,
        "seed": place.seed,
        "parameters": tracked.params.get(place.model or ""),
        "base": told(read_json(prepared.folder / MODEL_FILE)) if prepared else None,
    }
    identities = {node.stage.name: manifest.document["identity"] for node, manifest in own.items()}
    numerics: Mapping[str, Any] = next((one["numerics"] for one in identities.values() if "numerics" in one), {})
    tuning: Mapping[str, Any] = identities.get("finetune", {}).get("settings", {})
    held = {name: value for name, value in tuning.items() if name not in axes}
    of_term = {
        f"fairness_{name}": value for name, value in (held.pop("fairness", None) or {}).items()
    }  # λ as a number to plot over
    return {**axes, **numerics, **held, **of_term}


def _inputs(tracked: Tracked, own: Mapping[Node, Manifest]) -> list[DatasetInput]:
    """What the arm was tuned on and what it was asked, by digest; found by content, for a note of a sweep names no inputs."""
    held = {manifest.digest: node.axes.name for node, manifest in _made(tracked, tracked.nodes).items() if node.axes.name}
    given: dict[tuple[str, str], DatasetInput] = {}
    for node, manifest in own.items():
        read = manifest.document["identity"]["inputs"]
        if node.stage.name == "finetune" and (name := held.get(read.get("dataset", ""))):
            given["training", name] = _input(name, read["dataset"], tracked.config["datasets"].get(name), "training")
        elif node.stage.name == "sampling" and (suite := node.axes.suite) and "suite" in read:
            given["evaluation", suite] = _input(suite, read["suite"], tracked.config["suites"][suite]["prompts"], "evaluation")
    return list(given.values())


def _input(name: str, digest: str, source: Any, context: str) -> DatasetInput:
    dataset = Dataset(name, digest[:DIGEST], source_type="local", source=json.dumps({"uri": str(source)}))
    return DatasetInput(dataset, [InputTag("mlflow.data.context", context)])


# ---- what both share --------------------------------------------------------------------------------------------------------


def _made(tracked: Tracked, nodes: Iterable[Node]) -> dict[Node, Manifest]:
    return {node: manifest for node in nodes if (manifest := tracked.manifest(node))}


def _end(manifest: Manifest) -> int:
    return int(datetime.fromisoformat(manifest.facts["finished"]).timestamp() * 1000)


def _ended(made: Iterable[Manifest]) -> int | None:
    """When the last of them was committed, in milliseconds since 1970."""
    return max(map(_end, made), default=None)


def _began(made: Iterable[Manifest]) -> int | None:
    """When the first of them was begun."""
    return min((_end(manifest) - int(manifest.facts["seconds"] * 1000) for manifest in made), default=None)


def _note(tracked: Tracked, text: str) -> dict[str, str]:
    """What the dashboard shows as a run's description: calibration results are labelled wherever they appear."""
    return {"calibration": "true", NOTE: f"{text} {CALIBRATION_NOTE}"} if tracked.calibration else {NOTE: text}


def _described(manifest: Manifest) -> dict[str, str]:
    """By what and on what an output was made."""
    facts = manifest.facts
    gpus = facts.get("gpus", 0)
    commit = {"mlflow.source.git.commit": facts["commit"]} if facts.get("commit") else {}
    return {
        **commit,
        "mlflow.source.name": "palms-sweep",
        "machine": f"{facts.get('machine')}, {facts.get('cores')} cores, {gpus or 'no'} GPU{'s' if gpus > 1 else ''}",
        "versions": ", ".join(f"{name} {version}" for name, version in facts.get("versions", {}).items()),
    }


def _short(value: Any) -> str:
    """A param's value in MLflow's length; of a longer one its beginning and a digest, since a param is never changed."""
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 70]} … {digest_of(text)}"


def _log_points(client: MlflowClient, run_id: str, points: Sequence[Point], when: int | None) -> None:
    """They carry the time of their results, so that MLflow keeps equal ones once."""
    logged = [Metric(point.name, point.value, when, point.step) for point in sorted(points)]  # a run's page keeps this order
    for start in range(0, len(logged), BATCH):
        client.log_batch(run_id, metrics=logged[start : start + BATCH])


def _log_tables(client: MlflowClient, run_id: str, manifest: Manifest, part: str | None) -> None:
    """Everything readable of one output."""
    for table in manifest.tables():
        folder = "/".join(filter(None, [manifest.stage, part, str(table.parent.relative_to(manifest.folder)).strip(".")]))
        client.log_artifact(run_id, str(table), folder)
