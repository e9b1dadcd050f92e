"""What a node of a cluster is asked, and what it does for a stage: the half of a runner that is executed elsewhere.

A node does what this machine would: it starts a process from a fork server of its own, and that takes the key's lock. So it must have this program,
with the same code and libraries, and see the store, the sweep's folder and what an experiment names under the same paths. A node is asked
before anything starts, and again with each assignment: one that joined later was asked nothing.
"""

from __future__ import annotations

import os
import platform
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

from configs.problems import BadInput
from flows.engine import machine, processes
from flows.engine.code import project_digest
from flows.engine.processes import Assignment, Crash, Event
from model_registry.home import home_folder
from tasks.contract import File, Node, Resources, settings_document

PROJECT = "palms-sweep"
LIBRARIES = ("torch", "transformers", "peft")
PASSED = (
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_DISABLE_TELEMETRY",
    "DO_NOT_TRACK",
    "DISABLE_SAFETENSORS_CONVERSION",
    "TOKENIZERS_PARALLELISM",
)


@dataclass(frozen=True)
class Terms:
    """What every node is to have as this machine has it, and what stages read of this process's environment."""

    versions: Mapping[str, str]
    signs: Sequence[Path]
    paths: Sequence[str]
    environment: Mapping[str, str]

    @classmethod
    def of_here(cls, folders: Sequence[Path], nodes: Iterable[Node], holder: object) -> Terms:
        """For these nodes, with a file in each folder, as long as `holder` and this program live: who sees it sees the same folder."""
        signs = [folder / f".sign.{uuid4().hex}" for folder in folders]
        weakref.finalize(holder, _take_away, signs)
        for sign in signs:
            sign.parent.mkdir(parents=True, exist_ok=True)
            sign.touch()
        return cls(versions(), signs, named(nodes), environment())


def _take_away(signs: Iterable[Path]) -> None:
    for sign in signs:
        sign.unlink(missing_ok=True)


def versions() -> dict[str, str]:
    """What has to be the same everywhere, by name; CPU and CUDA builds of one version count as the same."""
    libraries = {name: version(name).partition("+")[0] for name in LIBRARIES}
    project = f"{version(PROJECT)} of code {project_digest()[:12]}"
    return {"python": platform.python_version(), **libraries, PROJECT: project}


def environment() -> dict[str, str]:
    """Without secrets: nodes have their own. The hub's cache is always named where it is set: a worker may have had another sweep's before."""
    passed = {name: os.environ[name] for name in PASSED if name in os.environ}
    cache = {"HF_HUB_CACHE": str(Path(passed["HF_HOME"]) / "hub")} if "HF_HOME" in passed else {}
    return {"PALMS_HOME": str(home_folder()), **cache, **passed}


def named(nodes: Iterable[Node]) -> list[str]:
    """The files and folders that stages read and no stage makes: inputs, and what a setting names that is here, such as a model's folder."""
    found: set[str] = set()
    for node in nodes:
        found |= {str(given.path.absolute()) for given in node.inputs.values() if isinstance(given, File)}
        found |= {text for text in settings_document(node.settings).values() if isinstance(text, str) and _is_place(text)}
    return sorted(found)


def _is_place(text: str) -> bool:
    try:
        return Path(text).is_absolute() and Path(text).exists()
    except OSError:  # too long for a name
        return False


def lacks(terms: Terms) -> str:
    """Executed on a node: what keeps it from doing as this machine would, in a line; empty where nothing does."""
    host, own = f"node {platform.node()}", versions()
    for name, ours in terms.versions.items():
        if own.get(name) != ours:
            return f"{host} has {name} {own.get(name, 'none')}; {ours}, as here, is required on every node"
    for sign in terms.signs:
        if not sign.is_file():
            return f"{host} does not see {sign.parent}; a folder that every node has there is required"
    for path in terms.paths:
        if not Path(path).exists():
            return f"{host} does not see {path}; it is required there, on every node"
    return ""


def stage(assignment: Assignment, terms: Terms, gpus: str, tell: Event, stopped: Callable[[], bool]) -> Crash | None:
    """Executed on a node. `gpus`: CUDA's names of those that the stage holds; of one that holds none it is empty, and it sees none."""
    if wrong := lacks(terms):
        return Crash("deterministic", wrong)
    os.environ.update(terms.environment)  # which the fork server starts with, if it does not run yet
    processes.forget_the_entry_module()
    tell("begun", "", platform.node())
    return processes.run(assignment, tell, stopped=stopped, environment={**terms.environment, machine.VISIBLE: gpus})


def require_none(cluster: str, lacking: Iterable[str]) -> None:
    """Raises BadInput for the first node that lacks something."""
    if wrong := next(filter(None, lacking), None):
        raise BadInput(f"{cluster}: {wrong}")


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
