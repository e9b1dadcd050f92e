"""What a run would take, told from what earlier runs took: seconds of work, bytes and memory by stage, and what would be fetched.

An estimate is the median over the earlier outputs of the same stage, size and suite in the store, whatever else they were made with;
where there are none it is not known, and that is said. Runs, fetches and loads nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

from flows.commands.words import volume
from flows.engine.stores.folder import Store
from flows.engine.stores.manifest import Manifest
from model_registry.folders import weight_files
from tasks.contract import Node
from tasks.evaluations.capability.stage import GRAMMAR_TASK
from tasks.evaluations.capability.stage import STAGE as CAPABILITY
from tasks.prepare.stage import MODEL, SCORER

Place = tuple[str, str | None, str | None, str | None]  # stage, ladder, size, suite
BYTES_A_PARAMETER = (2, 4)  # of published weights: half precision, or single


@dataclass(frozen=True)
class Cost:
    """Of some nodes: seconds of work (several may run at once), bytes that they leave, and the largest memory that one of them held, as
    far as `known` of `nodes` go."""

    nodes: int
    known: int
    seconds: float
    bytes: float
    outputs: int  # earlier ones that it is told from
    memory_gib: float


class Taken(NamedTuple):
    """By one output: seconds, bytes, and the most memory that its process held."""

    seconds: float
    bytes: int
    memory_gib: float


def costs(nodes: Sequence[Node], store: Store) -> dict[str, Cost]:
    """Stage → what these nodes of it would take."""
    by_stage: dict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        by_stage[node.stage.name].append(node)
    return {stage: _cost(held, _taken(store.manifests(stage))) for stage, held in by_stage.items()}


def together(costs: Iterable[Cost]) -> Cost:
    costs = list(costs)
    return Cost(
        sum(one.nodes for one in costs),
        sum(one.known for one in costs),
        sum(one.seconds for one in costs),
        sum(one.bytes for one in costs),
        sum(one.outputs for one in costs),
        max((one.memory_gib for one in costs), default=0.0),
    )


def _taken(manifests: Iterable[Manifest]) -> dict[Place, list[Taken]]:
    """What each earlier output took, by its place."""
    found: dict[Place, list[Taken]] = defaultdict(list)
    for manifest in manifests:
        axes = manifest.document["axes"]
        size = sum(file["size"] for file in manifest.document["files"].values())
        place = (manifest.stage, axes.get("ladder"), axes.get("size"), axes.get("suite"))
        found[place].append(Taken(float(manifest.facts["seconds"]), size, float(manifest.facts.get("peak_memory_gib") or 0)))
    return found


def _cost(nodes: Sequence[Node], taken: dict[Place, list[Taken]]) -> Cost:
    places = [(node.stage.name, node.axes.ladder, node.axes.size, node.axes.suite) for node in nodes]
    known = [taken[place] for place in places if place in taken]
    return Cost(
        nodes=len(nodes),
        known=len(known),
        seconds=sum(median(one.seconds for one in outputs) for outputs in known),
        bytes=sum(median(one.bytes for one in outputs) for outputs in known),
        outputs=sum(len(taken[place]) for place in dict.fromkeys(places) if place in taken),
        memory_gib=max((one.memory_gib for outputs in known for one in outputs), default=0.0),
    )


def fetched(nodes: Sequence[Node], params: dict[str, int | None], cache: Path) -> Iterator[str]:
    """What these nodes would fetch, a line each, without what the hub's cache holds; `params`: parameters by the name of a size."""
    for node in nodes:
        settings, name = node.settings, node.axes.model or node.axes.name or ""
        if node.stage == SCORER and settings.kind == "detoxify" and not settings.checkpoint:
            yield f"Detoxify's published model {settings.name}, unless torch's cache holds it"
        elif node.stage in (MODEL, SCORER) and settings.revision and not in_cache(cache, settings.id, settings.revision):
            count = params.get(name)
            low, high = (volume(each * (count or 0)) for each in BYTES_A_PARAMETER)
            yield f"{settings.id} for {name}, {f'{low} to {high}' if count else 'of a size that is not known'}"
    tasks = {task for node in nodes if node.stage == CAPABILITY for task in node.settings.tasks} - {GRAMMAR_TASK}
    if tasks:
        yield f"items of the tasks {', '.join(sorted(tasks))}, unless the hub's cache holds them"


def in_cache(cache: Path, repository: str, revision: str) -> bool:
    """Whether the hub's cache holds weights of a revision: a branch or tag that it has seen, or a commit."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    seen = folder / "refs" / revision
    snapshot = folder / "snapshots" / (seen.read_text().strip() if seen.is_file() else revision)
    return snapshot.is_dir() and bool(weight_files(path.name for path in snapshot.iterdir()))
