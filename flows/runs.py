"""A run of a sweep in this process: from the configuration to a session that flows, plans and tables can use."""

from __future__ import annotations

import contextlib
import fcntl
import shlex
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from configs.problems import BadInput
from configs.read import find_experiment, read_experiment
from configs.schema import Experiment
from flows.dag import Dag, build
from flows.home import Home
from flows.owner import Owner
from tasks import machine
from tasks.board import Board
from tasks.contract import canonical, read_json, replace_file
from tasks.prepare.materials import Materials, gather
from tasks.processes import Admission
from tasks.session import Options, Session
from tasks.store import Store
from tasks.tracked import Tracked


@dataclass(frozen=True)
class Run:
    home: Home
    source: Path  # the experiment's file
    overrides: tuple[str, ...]
    experiment: Experiment
    materials: Materials
    dag: Dag
    session: Session
    begun: Mapping[str, threading.Event]  # each size's flow has
    go: threading.Event  # all have

    @property
    def folder(self) -> Path:
        return self.home.sweeps / self.dag.sweep

    @property
    def calibration(self) -> bool:
        """Whether any number comes from the calibration ladder or its scorer."""
        toxicity = self.experiment.evaluations.toxicity
        return self.materials.calibration or (toxicity is not None and toxicity.scorer.kind == "calibration")

    def tracked(self) -> Tracked:
        """What the tracker is to show, as of now."""
        return Tracked(
            sweep=self.dag.sweep,
            name=self.experiment.tracking.experiment or self.experiment.name,
            uri=self.home.tracking_uri(self.experiment),
            artifacts=self.home.mlflow / "artifacts",
            calibration=self.calibration,
            config=self.experiment.model_dump(mode="json"),
            params={model.name: model.params for model in self.materials.models},
            nodes=self.dag.nodes,
            outcome=self.session.outcome,
            stopped=lambda: self.session.stopped,
        )


_open: dict[str, Run] = {}


def prepare_run(home: Home, config: str, overrides: Sequence[str], *, strict_code: bool = False, verify: bool = False) -> Run:
    """Read and check everything, start nothing.

    Raises:
        BadInput: whatever is wrong with the configuration or what it refers to.
    """
    source = find_experiment(config)
    experiment = read_experiment(source, overrides)
    materials = gather(experiment, source.absolute().parent)
    dag = build(experiment, materials)
    folder = home.sweeps / dag.sweep
    limits = experiment.limits
    admission = Admission(
        threads=machine.cores() if limits.threads == "auto" else limits.threads,
        memory_gib=machine.memory_gib() * 0.9 if limits.memory_gib == "auto" else limits.memory_gib,
        gpus=machine.gpus(),
    )
    session = Session(
        nodes=dag.nodes,
        store=Store(home.store(experiment)),
        admission=admission,
        board=Board(folder / "state.json", [node.label for node in dag.nodes]),
        options=Options(strict_code=strict_code, verify=verify, log=folder / "log.txt"),
    )
    begun = {model: threading.Event() for model in dag.sizes}
    run = Run(home, source.absolute(), tuple(overrides), experiment, materials, dag, session, begun, threading.Event())
    _open[dag.sweep] = run
    return run


@contextlib.contextmanager
def sole(run: Run) -> Iterator[None]:
    """Keep a sweep to this process; the kernel lets go of it when the process ends, however that happens.

    Raises:
        BadInput: another process runs it.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    with (run.folder / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            name = run.dag.sweep
            raise BadInput(f"sweep {name} is being run by another process; `palms status {name} --watch` follows it") from None
        yield


def remember(run: Run, *, ended: bool = False) -> None:
    """Leave what is needed to find this sweep again by its id, and to tell whether it came to its end."""
    run.folder.mkdir(parents=True, exist_ok=True)
    run.session.board.write()
    left = {
        "config": str(run.source),
        "overrides": list(run.overrides),
        "strict_code": run.session.options.strict_code,
        "tracking": run.home.tracking_uri(run.experiment),
        "tracked_as": run.experiment.tracking.experiment or run.experiment.name,
        "calibration": run.calibration,
        "experiment": run.experiment.model_dump(mode="json"),
        "params": {model.name: model.params for model in run.materials.models},
        "places": {node.label: asdict(node.axes) for node in run.dag.nodes},
        "owner": asdict(Owner.me()),
        "ended": ended,
        "store": str(run.session.store.root),
    }
    replace_file(run.folder / "sweep.json", canonical(left))


def open_run(sweep: str) -> Run:
    """The run of this process, or one made anew from what the sweep left (a flow that the server started by itself)."""
    return _open[sweep] if sweep in _open else reopen(Home.open(), sweep)


def reopen(home: Home, sweep: str | None, *, verify: bool = False) -> Run:
    """An earlier sweep, prepared again from what it left; None for the latest.

    Raises:
        BadInput: there is no such sweep, or its configuration or data has changed, so that it would be another one.
    """
    name = find_sweep(home, sweep)
    left = read_json(home.sweeps / name / "sweep.json")
    run = prepare_run(home, left["config"], left["overrides"], strict_code=left.get("strict_code", False), verify=verify)
    if run.dag.sweep != name:
        raise BadInput(
            f"sweep {name}: its configuration or data has changed since, which makes it {run.dag.sweep};"
            f" `{shlex.join(['palms', 'run', left['config'], *(w for o in left['overrides'] for w in ('--set', o))])}` starts that one"
        )
    return run


def find_sweep(home: Home, sweep: str | None) -> str:
    """A sweep's id from its id, the beginning of it, or None for the latest.

    Raises:
        BadInput: there is none, or several begin so.
    """
    known = [path.parent for path in home.sweeps.glob("*/sweep.json")]
    known.sort(key=lambda folder: latest(folder), reverse=True)
    matching = [folder.name for folder in known if sweep is None or folder.name == sweep or folder.name.startswith(sweep)]
    if sweep in matching:
        return sweep or matching[0]
    if not matching:
        names = ", ".join(folder.name for folder in known[:5])
        raise BadInput(
            f"{sweep or 'sweep'}: no such sweep under {home.root}; "
            + (f"latest: {names}" if names else "`palms run CONFIG` makes one")
        )
    if sweep is not None and len(matching) > 1:
        raise BadInput(f"{sweep}: several sweeps begin so: {', '.join(matching[:5])}; give one of them")
    return matching[0]


def latest(folder: Path) -> float:
    with contextlib.suppress(FileNotFoundError):
        return (folder / "state.json").stat().st_mtime
    return 0.0
