"""What tells one report from another: the line at its head, what it cost, and how it was made.

Reads when, on what and in which time the compared outputs were made. That is why the page is no part of the comparison's content.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from configs.called import suite_words
from tasks.compare.comparison import Comparison
from tasks.compare.report import wording
from tasks.compare.report.tables import Cell, Table, text
from tasks.compare.upstream import Output
from tasks.contract import read_json
from tasks.prepare.stage import SETTLED, SETTLING, settled_told, told
from tasks.sampling.stage import STAGE as SAMPLING


def identity(found: Comparison) -> list[str]:
    """Sweep, date, design, prompts and time, as far as each is known."""
    nodes, settings = found.sources.nodes, found.settings
    arms = {node.axes.arm for node in nodes if node.axes.arm}
    seeds = {node.axes.seed for node in nodes if node.axes.arm and node.axes.seed is not None}
    sizes = sum(map(len, found.sources.sizes.values()))
    design = [_plural(sizes, "size"), _plural(len(arms), "arm"), _plural(len(seeds), "seed")]
    samples = sorted({node.axes.train_samples for node in nodes if node.axes.train_samples})
    parts = [
        f"sweep {settings.sweep}" if settings.sweep else settings.sweep_name,
        _date(nodes),
        " × ".join(part for part in design if part),
        f"{wording.listed(list(map(str, samples)))} samples" if samples else "",
        _asked(found),
        _time(nodes),
    ]
    return [part for part in parts if part]


def cost_by_stage(nodes: Sequence[Output]) -> Table:
    """How many outputs of each stage were compared, and what they took where they were made."""
    held: dict[str, list[Output]] = defaultdict(list)
    for node in nodes:
        if "seconds" in node.made:
            held[node.stage].append(node)
    table = Table(["stage", "outputs", "seconds in all", "longest, s", "peak memory, GiB"])
    for stage, made in sorted(held.items(), key=lambda item: -_seconds(item[1])):
        peaks = [node.made["peak_memory_gib"] for node in made if node.made.get("peak_memory_gib") is not None]
        longest = max(node.made["seconds"] for node in made)
        cells = [Cell(str(len(made))), Cell(f"{_seconds(made):.1f}"), Cell(f"{longest:.1f}")]
        table.rows.append([text(stage), *cells, Cell(f"{max(peaks):.2f}" if peaks else "–")])
    return table


def made_with(found: Comparison) -> list[tuple[str, str]]:
    """Commit, machine and versions of the outputs, each with all values that occur; what a size began as, and what was found for its numerics."""
    held: dict[str, dict[str, None]] = defaultdict(dict)
    for name, value in _facts(found.sources.nodes):
        held[name][value] = None
    for (ladder, size), model in found.sources.models.items():
        held[f"base of {ladder}-{size}"][told(model)] = None
    for node in found.sources.of(SETTLING.name):
        held[f"numerics of {node.axes.ladder}-{node.axes.size}"][settled_told(read_json(node.folder / SETTLED))] = None
    return [(name, wording.listed(list(values))) for name, values in held.items()]


def commands(found: Comparison) -> list[tuple[str, str]]:
    """What to type for what."""
    sweep = found.settings.sweep
    if not sweep:
        return []
    return [
        (f"palms report {sweep}", "where this page is"),
        (f"palms metrics {sweep} --format csv", "every number of it"),
        (f"palms rerun {sweep}", "makes what is missing"),
    ]


def _facts(nodes: Sequence[Output]) -> Iterator[tuple[str, str]]:
    for node in nodes:
        made = node.made
        if commit := made.get("commit"):
            yield "commit", str(commit)[:12]
        if cores := made.get("cores"):
            yield "machine", _device(made.get("gpus") or 0, cores) + (f", {made['machine']}" if made.get("machine") else "")
        if python := made.get("python"):
            yield "python", str(python)
        for name, version in sorted(made.get("versions", {}).items()):
            yield name, str(version)


def _date(nodes: Sequence[Output]) -> str:
    """When the last of the compared outputs was finished."""
    finished = [str(node.made["finished"]) for node in nodes if node.made.get("finished")]
    if not finished:
        return ""
    when = datetime.fromisoformat(max(finished)).astimezone(UTC)
    return f"{when.day} {when:%b %Y %H:%M} UTC"


def _asked(found: Comparison) -> str:
    """Prompts and answers a prompt of the primary outcome."""
    suite, metric = found.outcome
    held = [node.prompts[metric] for node in found.sources.nodes if node.axes.suite == suite and node.prompts.get(metric)]
    if not held:
        return ""
    answers = sorted({prompt.n for table in held for prompt in table.values()})
    spread = str(answers[0]) if len(answers) == 1 else f"{answers[0]}–{answers[-1]}"
    if answers != [1] or any(node.stage == SAMPLING.name and node.axes.suite == suite for node in found.sources.nodes):
        return f"{_plural(max(map(len, held)), 'prompt')} × {spread} answers"
    return f"{max(map(len, held))} {suite_words(suite)}"


def _time(nodes: Sequence[Output]) -> str:
    made = [node for node in nodes if "seconds" in node.made]
    if not made:
        return ""
    devices = dict.fromkeys(_device(node.made.get("gpus") or 0, node.made["cores"]) for node in made if node.made.get("cores"))
    on = f" on {wording.listed(list(devices))}" if devices else ""
    return f"{_span(_seconds(made))} of computing{on}"


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _seconds(nodes: Sequence[Output]) -> float:
    return sum(float(node.made["seconds"]) for node in nodes)


def _device(gpus: int, cores: int) -> str:
    return _plural(gpus, "GPU") if gpus else _plural(cores, "CPU core")


def _plural(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s") if count else ""
