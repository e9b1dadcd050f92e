"""One run of a sweep within this process: its nodes, what came of them so far, and how a node's key is found.

Knows keys, the store and the groups that share a process. Knows nothing of Prefect: `flows.engine.prefect_tasks` gives every node its task run,
`palms plan` walks the same session without running anything.
"""

from __future__ import annotations

import logging
import shlex
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from configs.fields import Count, Section
from flows.engine import explain, preregistration
from flows.engine.board import Board
from flows.engine.code import code_digest
from flows.engine.notes import read_note
from flows.engine.processes import INTERRUPTED, Assignment, Crash, classify
from flows.engine.runners import Runner
from flows.engine.stores.folder import Store
from flows.engine.stores.manifest import Damaged, Manifest, Order
from tasks.contract import (
    AUTO,
    NUMERICS,
    NUMERICS_FILE,
    Axes,
    File,
    Node,
    Numerics,
    Resources,
    Stage,
    canonical,
    digest_of,
    identity,
    read_json,
    replace_file,
)

log = logging.getLogger("palms")


class StageFailed(Exception):
    """A stage that did not produce its output; the message is one line."""

    def __init__(self, label: str, crash: Crash, attempts_help: bool) -> None:
        super().__init__(f"{label}: {crash.message}")
        self.label, self.crash, self.attempts_help = label, crash, attempts_help


@dataclass(frozen=True)
class Blocked:
    """A node that could not run because what it reads is missing."""

    label: str
    because: str  # the failed node's label


Outcome = Manifest | StageFailed | Blocked


@dataclass(frozen=True)
class Options:
    strict_code: bool = False  # what other code made is made again, under a key of its own
    verify: bool = False  # every hit is checked by its full content
    log: Path = Path("palms.log")


class Smaller(Section):
    """Which field of a stage's settings ran out of memory, and what it is set to instead."""

    field: str
    value: Count


class Session:
    """Thread-safe where it says so: task runs of many threads share it."""

    def __init__(
        self,
        nodes: list[Node],
        store: Store,
        runner: Runner,
        board: Board,
        options: Options,
        forced: frozenset[str] = frozenset(),
    ) -> None:
        self.nodes, self.store, self.runner, self.board, self.options = nodes, store, runner, board, options
        self.forced = forced  # labels of what is made even if its output is there
        self._outcomes: dict[Node, Outcome] = {}
        self._lock = threading.RLock()
        self._then: dict[
            Node, list[Callable[[], None]]
        ] = {}  # what waits for an outcome; nothing looks through all nodes for one
        self._apart: dict[tuple[Stage, Axes], set[Node]] = {}  # of those made together, which are not there yet
        for node in nodes:
            if node.together is not None:
                self._apart.setdefault((node.stage, node.together), set()).add(node)
        self._gathered = {together: threading.Event() for together in self._apart}
        self._earlier: dict[str, dict[str, list[Manifest]]] = {}
        self._reading = threading.Lock()
        self._groups: dict[tuple[str, str | None], Group] = {}
        # here, in one thread: parsing in several at once raised `SystemError: AST constructor recursion depth mismatch` (Python 3.11)
        self._code = {node.stage: code_digest(node.stage) for node in nodes}
        self.stopped = False
        self.task_runs: list[UUID] = []  # the orchestrator's ids of what this session submitted
        self.drawn: dict[
            str, tuple[str | None, Mapping[str, Any] | None]
        ] = {}  # label: arm, and the preregistration that it was sampled under
        self.untracked = False  # whether a projection to the tracker failed
        self.caveats: dict[str, str] = {}  # label: what a reader of its results should know

    # ---- outcomes (thread-safe) ------------------------------------------------------------------------------------

    def settle(self, node: Node, outcome: Outcome) -> None:
        with self._lock:
            self._outcomes[node] = outcome
            waiting = self._then.pop(node, [])
        self._arrive(node)
        for act in waiting:
            act()

    def outcome(self, node: Node) -> Outcome | None:
        with self._lock:
            return self._outcomes.get(node)

    def then(self, node: Node, act: Callable[[], None]) -> None:
        """Do `act` as soon as a node has an outcome: at once where it has, else in the thread that settles it."""
        with self._lock:
            if node not in self._outcomes:
                self._then.setdefault(node, []).append(act)
                return
        act()

    def wait_for(self, nodes: list[Node]) -> list[Outcome]:
        settled = threading.Semaphore(0)
        for node in nodes:
            self.then(node, settled.release)
        for _ in nodes:
            settled.acquire()
        with self._lock:
            return [self._outcomes[node] for node in nodes]

    def failures(self) -> list[StageFailed]:
        return [outcome for outcome in self._outcomes.values() if isinstance(outcome, StageFailed)]

    def stop(self) -> None:
        """End what runs and let nothing more start: every node that has no outcome yet fails as interrupted."""
        self.stopped = True
        self._settle_rest(self.nodes, INTERRUPTED)
        self.runner.stop()

    def abandon(self, nodes: Iterable[Node], why: str) -> None:
        """Settle what nobody will run any more, so that nothing waits for it."""
        self._settle_rest(nodes, Crash("deterministic", why))

    def _settle_rest(self, nodes: Iterable[Node], crash: Crash) -> None:
        for node in nodes:
            with self._lock:
                if node in self._outcomes:
                    continue
                self.board.update(node.label, state="failed", why=crash.message)
                self.settle(node, StageFailed(node.label, crash, attempts_help=False))

    def group(self, node: Node) -> Group:
        """The nodes of one stage and one size share processes, and with them a base model in memory."""
        with self._lock:
            return self._groups.setdefault((node.stage.body, node.axes.model or node.axes.name), Group(self))

    def gather(self, node: Node) -> None:
        """Wait until every node that this one is made together with is at this point too, or has an outcome."""
        if node.together is not None:
            self._arrive(node)
            self._gathered[node.stage, node.together].wait()

    def _arrive(self, node: Node) -> None:
        if node.together is not None:
            with self._lock:
                apart = self._apart[node.stage, node.together]
                apart.discard(node)
                if not apart:
                    self._gathered[node.stage, node.together].set()

    # ---- keys ------------------------------------------------------------------------------------------------------

    def inputs(self, node: Node) -> dict[str, Manifest | File] | Blocked:
        """What a node reads, once its upstream is settled; Blocked if something it cannot do without is missing."""
        found: dict[str, Manifest | File] = {}
        for role, source in node.inputs.items():
            if isinstance(source, File):
                found[role] = source
                continue
            outcome = self.outcome(source)
            if isinstance(outcome, Manifest):
                found[role] = outcome
            elif not node.tolerant:
                return Blocked(node.label, outcome.because if isinstance(outcome, Blocked) else source.label)
        return found

    def order(self, node: Node, inputs: Mapping[str, Manifest | File]) -> Order:
        """Settle a node's key. A shape that ran out of memory before is replaced by the smaller one that was noted then."""
        node, inputs = settled(node, inputs)
        settings = node.settings
        if node.tolerant:
            lost = [o for o in (self.outcome(up) for up in node.upstream.values()) if isinstance(o, StageFailed | Blocked)]
            settings = replace(
                settings,
                missing=tuple(sorted(map(_loss, lost))),
                caveats=tuple(sorted({*settings.caveats, *self.caveats.values()})),
            )
            if node.preregistration is not None:
                drawn = list(self.drawn.values())
                caveats = tuple(sorted({*settings.caveats, *preregistration.told(node.preregistration, drawn)}))
                settings = replace(settings, caveats=caveats, late=preregistration.unregistered(node.preregistration, drawn))
        while True:
            order = self._order(replace_settings(node, settings), inputs)
            if self.options.strict_code and self._by_other_code(order):
                order = self._order(replace_settings(node, settings), inputs, keyed=True)
            note = self.store.smaller(order.stage, order.key)
            if node.stage.shrink is None or not note.exists():
                return order
            smaller = read_note(note, Smaller, f"`rm {shlex.quote(str(note))}`: the next run finds the shape that fits anew")
            settings = replace(settings, **{node.stage.shrink: smaller.value})

    def _by_other_code(self, order: Order) -> bool:
        """Whether what stands under a key was made by other code than this: then this code's output has a key of its own."""
        found = self.store.find(order.stage, order.key)
        return isinstance(found, Manifest) and found.document["code"] != order.code

    def _order(self, node: Node, inputs: Mapping[str, Manifest | File], *, keyed: bool = False) -> Order:
        """`keyed`: on the stage's code too."""
        code = self._code[node.stage]
        document = identity(node, {role: given.digest for role, given in inputs.items()}, code if keyed else None)
        paths = {
            role: given.reference if isinstance(given, Manifest) else str(given.path.absolute()) for role, given in inputs.items()
        }
        return Order(
            stage=node.stage.name,
            key=digest_of(document),
            label=node.label,
            axes=node.axes,
            settings=node.settings,
            numerics=node.numerics or Numerics(threads=node.resources.threads),
            identity=document,
            inputs=paths,
            places={role: up.axes for role, up in node.upstream.items() if role in inputs},
            code=code,
            forced=node.label in self.forced,
            preregistration=node.preregistration,
        )

    def _note_preregistration(self, order: Order, stood: Mapping[str, Any] | None) -> None:
        """What stood when an output was made, where its node has a preregistration."""
        if order.preregistration is not None:
            self.drawn[order.label] = (order.axes.arm, stood)

    def look_up(self, order: Order) -> tuple[Manifest | None, list[str]]:
        """The output of a key, or None and the reasons why it has to be made."""
        if order.forced:
            return None, ["forced"]
        found = self.store.find(order.stage, order.key, verify=self.options.verify)
        if isinstance(found, Manifest):
            if found.document["code"] != order.code:
                version = order.identity["version"]
                self.caveats[order.label] = (
                    f"{order.stage}: its code changed since these results, under the same STAGE_VERSION {version}"
                )
            self._note_preregistration(order, found.document.get("preregistration"))
            return found, []
        self._note_preregistration(order, order.preregistration)
        return None, explain.reasons(order, found if isinstance(found, Damaged) else None, self._earlier_of(order))

    def _earlier_of(self, order: Order) -> list[Manifest]:
        """What the store held of an order's stage and place when it was first asked for that stage: for explanations, of which there is one a
        node."""
        with self._reading:  # or all that are to be made in one moment would read it
            if order.stage not in self._earlier:
                found = self._earlier[order.stage] = {}
                for manifest in self.store.manifests(order.stage):
                    found.setdefault(manifest.label, []).append(manifest)
            return self._earlier[order.stage].get(order.label, [])


def most(needs: Iterable[Resources]) -> Resources:
    """What a process needs that works on several keys, one after the other."""
    needs = list(needs)
    return Resources(
        threads=max(need.threads for need in needs),
        memory_gib=max(need.memory_gib for need in needs),
        gpus=max(need.gpus for need in needs),
        timeout_s=needs[0].timeout_s,
    )


def settled(node: Node, inputs: Mapping[str, Manifest | File]) -> tuple[Node, Mapping[str, Manifest | File]]:
    """A node with what an input found for what it left open, and the inputs without that one: a key holds what was found, as if it had been
    asked for."""
    source = inputs.get(NUMERICS)
    if not isinstance(source, Manifest):
        return node, inputs
    found = read_json(source.folder / NUMERICS_FILE)

    def closed(held: Any) -> Any:
        left = [one.name for one in fields(held) if getattr(held, one.name) == AUTO]
        return replace(held, **{name: found[name] for name in left})

    node = replace(node, settings=closed(node.settings), numerics=node.numerics and closed(node.numerics))
    return node, {role: given for role, given in inputs.items() if role != NUMERICS}


def interrupted(label: str) -> StageFailed:
    return StageFailed(label, INTERRUPTED, attempts_help=False)


def replace_settings(node: Node, settings: object) -> Node:
    return node if settings is node.settings else replace(node, settings=settings)


def _loss(lost: StageFailed | Blocked) -> str:
    return str(lost) if isinstance(lost, StageFailed) else f"{lost.label}: waits for {lost.because}"


class Group:
    """Nodes that share processes: whatever of them is wanted at the moment a process starts is done by that process."""

    GATHER_S = 0.15  # how long a process waits for siblings that become ready in the same moment

    MEANWHILE_S = 5.0
    SEEN_S, LOOK_S = 60.0, 0.2  # NFS shows what others made a minute later at most (acdirmax)

    def __init__(self, session: Session) -> None:
        self._session = session
        self._wanted: dict[str, tuple[Node, Order]] = {}
        self._results: dict[str, Manifest | Crash] = {}
        self._changed = threading.Condition()

    def attend(self, node: Node, order: Order, meanwhile: Callable[[], None] = lambda: None) -> Manifest:
        """Block until a key's output is there, and do `meanwhile` now and then.

        Raises:
            StageFailed: its process failed while this key was being worked on.
        """
        with self._changed:
            self._results.pop(order.key, None)
            first = not self._wanted
            self._wanted[order.key] = (node, order)
            if first:
                threading.Thread(target=self._drive, name=f"palms-{order.stage}", daemon=True).start()
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: order.key in self._results, self.MEANWHILE_S):
                    result = self._results[order.key]
                    break
            meanwhile()
        if isinstance(result, Manifest):
            return result
        if self._session.stopped:
            raise interrupted(order.label)
        raise StageFailed(order.label, result, attempts_help=result.kind in {"transient", "killed"})

    def _drive(self) -> None:
        threading.Event().wait(self.GATHER_S)
        with self._changed:
            batch = dict(self._wanted)
            self._wanted.clear()
        asked = tuple(batch)
        try:
            while batch:
                self._run(batch)
        except Exception as error:  # a fault of ours must reach the waiting task runs, or they would wait for ever
            log.exception("the driver of a stage's process failed")
            for key in asked:  # also the one that was being settled
                if key not in self._results:
                    self._finish(key, Crash(classify(error), f"{type(error).__name__}: {error}"))

    def _run(self, batch: dict[str, tuple[Node, Order]]) -> None:
        """One process over a batch. Whatever it finished leaves the batch; if it failed, so does the key it was working on."""
        session, (node, _) = self._session, next(iter(batch.values()))
        labels = {key: order.label for key, (_, order) in batch.items()}

        def begin(key: str | None) -> None:
            """Of keys that share a process the first one left is being worked on; those after it wait, and their seconds have not begun."""
            if key is not None:
                session.board.update(labels[key], state="running")

        def on_event(what: str, key: str, value: Any) -> None:
            if what == "committed":
                found = self._seen(node.stage.name, key)
                if isinstance(found, Manifest):
                    batch.pop(key, None)
                    begin(next(iter(batch), None))
                    self._finish(key, found)
            elif what == "progress":
                done, total, unit = value
                session.board.update(labels[key], done=done, total=total, unit=unit)
            else:
                log.info("%s: %s", labels[key], value)

        assignment = Assignment(
            node.stage.body,
            tuple(order for _, order in batch.values()),
            session.store.address,
            session.options.log,
            most(node.resources for node, _ in batch.values()),
            session.options.verify,
        )
        crash = session.runner.run(assignment, lambda: begin(next(iter(batch), None)), on_event, lambda: session.stopped)
        if crash is None and batch:
            crash = Crash("deterministic", "its process ended without committing this key")
        if crash is not None:
            self._blame(next(iter(batch), None), crash, batch)

    def _seen(self, stage: str, key: str) -> Manifest | Damaged | None:
        """What another process has committed just now; on another machine, it may take a shared folder's cache some time to show it."""
        deadline = time.monotonic() + self.SEEN_S
        while not isinstance(found := self._session.store.find(stage, key), Manifest) and not self._session.stopped:
            if time.monotonic() >= deadline:
                log.warning("%s/%s: was committed, and is not seen here: %s", stage, key, found.why if found else "not there")
                break
            time.sleep(self.LOOK_S)
        return found

    def _blame(self, key: str | None, crash: Crash, batch: dict[str, tuple[Node, Order]]) -> None:
        """Bodies work in the order given, so the first key left is the one that failed; the others go into a fresh process."""
        if key is None:
            return  # it fell over after its last commit: nothing was lost
        node, order = batch.pop(key)
        field = node.stage.shrink
        value = getattr(order.settings, field) if field else 1
        if crash.kind == "memory" and field and value > 1:
            replace_file(self._session.store.smaller(order.stage, order.key), canonical({"field": field, "value": value // 2}))
            log.warning("%s: out of memory; %s %d → %d, under a key of its own", order.label, field, value, value // 2)
        self._finish(key, crash)

    def _finish(self, key: str, result: Manifest | Crash) -> None:
        with self._changed:
            self._results[key] = result
            self._changed.notify_all()
