"""What a node of a cluster is asked, and what it does for a stage: the half of a runner that is executed elsewhere.

A node does what this machine would: it starts a process from a fork server of its own, and that takes the key's lock. So it must have this program,
with the same code and libraries, and see the store and the sweep's folder under the same paths.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from configs.problems import BadInput
from flows.engine import machine, processes
from flows.engine.processes import Assignment, Crash, Event
from model_registry.home import home_folder
from tasks.contract import Node, Resources

LIBRARIES = ("palms-sweep", "torch", "transformers", "peft")
PASSED = (
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_DISABLE_TELEMETRY",
    "DO_NOT_TRACK",
    "DISABLE_SAFETENSORS_CONVERSION",
    "TOKENIZERS_PARALLELISM",
)


@dataclass(frozen=True)
class Has:
    """What a node says of itself."""

    host: str
    versions: Mapping[str, str]
    lacks: str | None  # the first folder in which it does not see what this machine put there


@contextmanager
def signs(folders: Sequence[Path]) -> Iterator[list[Path]]:
    """A file in each folder for the time of the block: who sees it sees the same folder."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as kept:
        yield [Path(kept.enter_context(tempfile.NamedTemporaryFile(dir=folder, prefix=".sign.")).name) for folder in folders]


def has(signs: Sequence[Path]) -> Has:
    """Asked of every node, and of this machine."""
    versions = {"python": platform.python_version(), **{name: version(name).partition("+")[0] for name in LIBRARIES}}
    return Has(platform.node(), versions, next((str(sign.parent) for sign in signs if not sign.is_file()), None))


def environment() -> dict[str, str]:
    """What stages read of this process's environment. Secrets are not passed on: nodes have their own."""
    return {"PALMS_HOME": str(home_folder())} | {name: os.environ[name] for name in PASSED if name in os.environ}


def stage(assignment: Assignment, given: Mapping[str, str], tell: Event, stopped: Callable[[], bool]) -> Crash | None:
    """Executed on a node. The environment is the worker's as its fork server starts, which imports what reads the hub's variables, and each
    process's own: one worker may serve sweeps of several homes, one after the other."""
    os.environ.update(given)
    processes.forget_the_entry_module()
    tell("begun", "", platform.node())
    gpus = {
        name: os.environ[name] for name in (machine.VISIBLE,) if name in os.environ
    }  # this task's; the fork server has the first one's
    return processes.run(assignment, tell, stopped=stopped, environment={**given, **gpus})


def require_same(cluster: str, found: Iterable[Has], own: Has) -> None:
    """Raises BadInput for the first node that has other versions, or does not see a folder."""
    for node in found:
        if other := next((name for name in own.versions if node.versions.get(name) != own.versions[name]), None):
            theirs, ours = node.versions.get(other, "none"), own.versions[other]
            raise BadInput(f"{cluster}: node {node.host} has {other} {theirs}; {ours}, as here, is required on every node")
        if node.lacks:
            raise BadInput(
                f"{cluster}: node {node.host} does not see {node.lacks}; a folder that every node has there is required"
            )


def require_room(cluster: str, nodes: Iterable[Node], places: Sequence[Resources]) -> None:
    """Raises BadInput for the first stage that needs more than any node has: it would wait for ever."""
    for node in nodes:
        need = node.resources
        if not any(
            need.threads <= place.threads and need.memory_gib <= place.memory_gib and need.gpus <= place.gpus for place in places
        ):
            most = "; ".join(sorted({words(place) for place in places}))
            raise BadInput(f"{cluster}: {node.label} needs {words(need)}, and no node has that ({most})")


def words(some: Resources) -> str:
    gpus = f", {some.gpus} GPU{'s' if some.gpus > 1 else ''}" if some.gpus else ""
    return f"{some.threads} thread{'s' if some.threads > 1 else ''}, {some.memory_gib:.3g} GiB{gpus}"
