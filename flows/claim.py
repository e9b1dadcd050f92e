"""A sweep belongs to one process while it runs: kept to it by a lock, and noted in the sweep's folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from uuid import UUID

from configs.problems import BadInput
from flows.engine.dead import Dead, dead_runs
from flows.engine.lock import locked
from flows.engine.notes import SweepNote, sweep_note, write_sweep_note
from flows.engine.ownership import Owner
from flows.engine.room import NoRoom
from flows.prepared import Run


class Busy(BadInput):
    """Another process runs this sweep."""


@contextmanager
def taken(
    run: Run, *, wait: bool = False, flow_run: UUID | None = None, turn: AbstractContextManager[None] | None = None
) -> Iterator[list[Dead]]:
    """Make a sweep this process's own for the time of the block; yields the runs of this home whose process died.

    `wait`: for another process that has it. `turn`: what is waited for then, before anything is noted: until it begins, the sweep
    shows what its last run left.

    Raises:
        Busy: another process has it, and is not to be waited for.
    """
    with _sole(run, wait=wait), turn or nullcontext():
        dead = dead_runs(run.home)  # before this run notes itself in the place of one that died
        note(run, flow_run=flow_run)
        yield dead
        note(run, is_over=True)


@contextmanager
def _sole(run: Run, *, wait: bool) -> Iterator[None]:
    run.folder.mkdir(parents=True, exist_ok=True)
    with locked(run.folder / ".lock", wait=wait) as had:
        if not had:
            name = run.dag.sweep
            raise Busy(f"sweep {name} is being run by another process; `palms status {name} --watch` follows it")
        yield


def left_if_new(run: Run) -> None:
    """Leave a note of a sweep that is to be handed to another process, if there is none yet.

    Raises:
        Busy: another process has this sweep.
    """
    with _sole(run, wait=False):
        if not (run.folder / "sweep.json").exists():
            note(run, is_over=True)  # as far as this process goes


def note(run: Run, *, flow_run: UUID | None = None, is_over: bool = False) -> None:
    """Leave what is needed to find this sweep again by its id, and to tell whether it came to its end.

    Raises:
        NoRoom: it cannot be written.
    """
    run.session.board.write()
    left = SweepNote(
        config=run.home.noted(run.source),
        overrides=run.request.sets,
        strict_code=run.request.strict_code,
        tracking=run.experiment.tracking.uri,
        tracked_as=run.experiment.tracking.experiment or run.experiment.name,
        calibration=run.calibration,
        experiment=run.experiment.model_dump(mode="json"),
        params=run.inputs.params,
        places={node.label: asdict(node.axes) for node in run.dag.nodes},
        owner=Owner.me(),
        flow_run=None if flow_run is None else str(flow_run),
        ended=is_over,
        untracked=run.session.untracked,
        store=run.home.noted_store(run.session.store.address),
        noted=run.began,
    )
    try:
        write_sweep_note(run.folder, left)
    except OSError as error:
        raise NoRoom(f"{error.filename or run.folder}: {error.strerror}; `palms doctor` looks at the disk") from None


def ended(run: Run) -> bool:
    """Whether its last run came to its end and was tracked: one that was killed may have made everything and tracked nothing.

    Not so of an old note, which holds the places of another home: a run writes it anew.
    """
    left = sweep_note(run.folder)
    return left.ended and not left.untracked and left.noted is not None
