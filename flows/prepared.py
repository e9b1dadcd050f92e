"""A run of a sweep in this process: from what was asked for to a session that flows and commands can use, and what it would do.

An earlier sweep is found again by its id, and prepared from what it left.
"""

from __future__ import annotations

import re
import shlex
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from configs.problems import BadInput
from configs.schema import Experiment
from configs.shipped import find_experiment
from flows.dag import Dag, build
from flows.engine import machine
from flows.engine.board import Board
from flows.engine.home import Home, is_address
from flows.engine.notes import Unreadable, sweep_note
from flows.engine.room import Ground, require_room
from flows.engine.runners import Runner
from flows.engine.runners.dask import Dask
from flows.engine.runners.local import Local
from flows.engine.runners.ray import Ray
from flows.engine.session import Blocked, Options, Session
from flows.engine.stores import open_store
from flows.engine.stores.manifest import Manifest
from flows.engine.tracked import Tracked
from flows.experiment import calibration_scored, read_experiment
from flows.inputs import BESIDE, Inputs, gather, sweep_id
from flows.reading import looked_at, to_be_looked_at
from flows.request import Request, request
from flows.start import Start, from_here_on
from tasks.contract import File, Node, Resources
from tasks.ratings.kept import RATINGS

CLUSTERS: Mapping[str, Callable[[str, Sequence[Path]], Runner]] = {"ray": Ray, "dask": Dask}


@dataclass(frozen=True)
class Run:
    home: Home
    request: Request
    source: Path  # the experiment's file
    experiment: Experiment
    inputs: Inputs
    reads: Mapping[str, str]  # how models in local folders read a prompt, of those that anything is to be run with
    dag: Dag
    session: Session
    begun: Mapping[str, threading.Event]  # each size's flow has
    go: threading.Event  # all have

    @property
    def folder(self) -> Path:
        return self.home.sweeps / self.dag.sweep

    @property
    def board(self) -> Path:
        """The state of every stage, as whichever process runs the sweep writes it."""
        return self.folder / "state.json"

    @property
    def headline(self) -> str:
        return f"sweep [bold]{self.dag.sweep}[/bold]: {len(self.dag.nodes)} stages over {len(self.dag.sizes)} sizes"

    @cached_property
    def began(self) -> float:
        """When it was first noted, in seconds since 1970; later than every other sweep of this home, whatever the clock says."""
        return max(time.time(), *(began(folder) + 0.001 for folder in known_sweeps(self.home)), 0.0)

    def require_room(self) -> Ground:
        """The folders that it writes to, which can be written to. Raises BadInput."""
        home = self.home
        return require_room((home.root, home.sweeps, self.folder, home.prefect, home.mlflow, self.session.store.root))

    def wrong(self, ground: Ground) -> str:
        """What is wrong with the folders that it writes to, as far as it has been seen; empty where nothing is."""
        trouble = self.session.board.trouble
        return ground.wrong() or (f"{trouble.filename or self.board}: {trouble.strerror}; mend it" if trouble else "")

    @property
    def calibration(self) -> bool:
        """Whether any number comes from the calibration ladder or its scorer."""
        return self.inputs.calibration or calibration_scored(self.experiment)

    def tracked(self) -> Tracked:
        """What the tracker is to show, as of now."""
        return Tracked(
            sweep=self.dag.sweep,
            name=self.experiment.tracking.experiment or self.experiment.name,
            uri=self.home.tracking_uri(self.experiment.tracking.uri),
            artifacts=self.home.artifacts,
            calibration=self.calibration,
            config=self.experiment.model_dump(mode="json"),
            params=self.inputs.params,
            nodes=self.dag.nodes,
            outcome=self.session.outcome,
            stopped=lambda: self.session.stopped,
        )


def prepare_run(home: Home, asked: Request) -> Run:
    """Read and check everything, start nothing.

    Raises:
        BadInput: whatever is wrong with the configuration or what it refers to.
    """
    source = find_experiment(asked.config).absolute()
    experiment = read_experiment(source, asked.sets)
    inputs = gather(experiment, source.parent)
    changed = tuple(one for one in asked.sets if re.split("[.=]", one, maxsplit=1)[0] not in BESIDE)
    ratings = home.ratings(sweep_id(experiment, inputs)) / RATINGS
    dag = build(experiment, inputs, changed, File.of(ratings) if ratings.is_file() else None)
    folder = home.sweeps / dag.sweep
    place = home.store(experiment.store.path)
    store = open_store(place)
    runner = _runner(experiment, (folder,) if is_address(place) else (store.root, folder))

    def session() -> Session:
        return Session(
            nodes=dag.nodes,
            store=store,
            runner=runner,
            board=Board(folder / "state.json", [node.label for node in dag.nodes]),
            options=Options(strict_code=asked.strict_code, verify=asked.verify, log=folder / "log.txt"),
            forced=frozenset(node.label for node in from_here_on(dag, asked.start)) if asked.start else frozenset(),
        )

    reads: dict[str, str] = {}
    if to_be_looked_at(experiment, inputs):
        unmade = {row.model for row in _planned(dag.nodes, session()) if row.state != "cached"}
        prepared = {model: nodes[0] for model, nodes in dag.sizes.items() if model in unmade}  # of a size it comes first
        reads = looked_at(home, experiment, inputs, prepared)
    begun = {model: threading.Event() for model in dag.sizes}
    return Run(home, asked, source, experiment, inputs, reads, dag, session(), begun, threading.Event())


def _runner(experiment: Experiment, folders: Sequence[Path]) -> Runner:
    if experiment.engine != "local" and experiment.cluster is not None:
        return CLUSTERS[experiment.engine](experiment.cluster, folders)
    limits = experiment.limits
    threads = machine.cores() if limits.threads == "auto" else limits.threads
    return Local(Resources(threads, machine.memory_limit_gib(experiment), machine.gpus()))


def reopen(home: Home, sweep: str | None, *, sets: Sequence[str] = (), verify: bool = False, start: Start | None = None) -> Run:
    """An earlier sweep, prepared again from what it left; `sets` may change what makes it no other sweep, such as its limits.

    Raises:
        BadInput: there is no such sweep, or its configuration or data has changed, or would by `sets`, so that it is another one.
    """
    name = find_sweep(home, sweep)
    left = sweep_note(home.sweeps / name)
    source = home.place(left.config)
    if not source.is_file():
        again = shlex.join(["palms", "run", source.name, *(word for one in left.overrides for word in ("--set", one))])
        raise BadInput(
            f"sweep {name} was made from {source}, which is not there; put it back, or from where it is now: `{again}`"
        )
    kept = {one.partition("=")[0]: one for one in (*left.overrides, *sets)}  # a key that is set anew is set once
    asked = request(str(source), tuple(kept.values()), verify=verify, strict_code=left.strict_code, start=start)
    run = prepare_run(home, asked)
    if run.dag.sweep == name:
        return run
    again = shlex.join(["palms", "run", str(run.source), *(word for one in asked.sets for word in ("--set", one))])
    if sets and prepare_run(home, asked.model_copy(update={"overrides": left.overrides})).dag.sweep == name:
        raise BadInput(f"--set {', '.join(sets)}: makes sweep {name} another one, {run.dag.sweep}; `{again}` starts that one")
    raise BadInput(
        f"sweep {name}: its configuration or data has changed since, which makes it {run.dag.sweep}; `{again}` starts that one"
    )


def find_sweep(home: Home, sweep: str | None) -> str:
    """A sweep's id from its id, the beginning of it, or None for the latest.

    Raises:
        BadInput: there is none, or several begin so.
    """
    folders = known_sweeps(home)
    if sweep is not None and any(folder.name == sweep for folder in folders):
        return sweep
    known = sorted(folders, key=began, reverse=True)
    matching = [folder.name for folder in known if sweep is None or folder.name.startswith(sweep)]
    if not matching:
        names = ", ".join(folder.name for folder in known[:5])
        raise BadInput(
            f"{sweep or 'sweep'}: no such sweep under {home.root}; "
            + (f"latest: {names}" if names else "`palms run CONFIG` makes one")
        )
    if sweep is not None and len(matching) > 1:
        raise BadInput(f"{sweep}: several sweeps begin so: {', '.join(matching[:5])}; give one of them")
    return matching[0]


def known_sweeps(home: Home) -> list[Path]:
    """The folders of this home's sweeps; one whose note was lost is among them, so that it can be said."""
    return sorted(path for path in home.sweeps.glob("*") if path.is_dir() and any(path.iterdir()))


def began(folder: Path) -> float:
    """When a sweep's last run began, as it noted; of an old or damaged note, when it was written."""
    try:
        noted = sweep_note(folder).noted
    except Unreadable:
        noted = None
    return folder.stat().st_mtime if noted is None else noted


@dataclass(frozen=True)
class Planned:
    """What a run would do with one node: it is cached, would run, or waits for one that would."""

    label: str
    model: str | None
    state: Literal["cached", "run", "waits"]
    why: tuple[str, ...]  # reasons to run, or what it waits for
    key: str | None  # unknown below a node that would run: its output is not there to be digested


def planned(run: Run) -> list[Planned]:
    """What is cached is settled in the run's session."""
    return _planned(run.dag.nodes, run.session)


def ready(run: Run) -> None:
    """Have the store and the runner made ready for the stages that are to be made.

    Raises:
        BadInput: as `Store.ready` and `Runner.ready`.
    """
    run.session.store.ready()
    rows = zip(run.dag.nodes, planned(run), strict=True)
    run.session.runner.ready(node for node, row in rows if row.state != "cached")


def _planned(nodes: Sequence[Node], session: Session) -> list[Planned]:
    rows: list[Planned] = []
    unmade: set[Node] = set()
    for node in nodes:
        above = [up for up in node.upstream.values() if up in unmade]
        if above:
            rows.append(Planned(node.label, node.axes.model, "waits", tuple(f"for {up.label}" for up in above), None))
            unmade.add(node)
            continue
        if isinstance(made := session.outcome(node), Manifest):  # it has been asked before
            rows.append(Planned(node.label, node.axes.model, "cached", (), made.key))
            continue
        inputs = session.inputs(node)
        assert not isinstance(inputs, Blocked)  # everything above is settled
        order = session.order(node, inputs)
        found, why = session.look_up(order)
        if found is not None:
            session.settle(node, found)
            rows.append(Planned(node.label, node.axes.model, "cached", (), order.key))
        else:
            rows.append(Planned(node.label, node.axes.model, "run", tuple(why), order.key))
            unmade.add(node)
    return rows
