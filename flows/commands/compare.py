"""`palms compare`: what changed between two sweeps, in configuration, data, code and each effect."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Annotated, Any

import typer
from rich.text import Text

from configs.called import suite_words
from configs.contrasts import Contrast
from configs.problems import BadInput
from flows.commands.words import fitted, harmless, out, plain, plural
from flows.engine.home import Home
from flows.engine.stores.manifest import Manifest
from flows.inputs import BESIDE
from flows.outputs import Outputs
from tasks.compare.between import Data, DataChange, Effect, Estimate, Side, changes, data_changes, effects
from tasks.compare.report import wording
from tasks.compare.upstream import Sources
from tasks.contract import read_jsonl, read_rows
from tasks.datasets.stage import SAMPLES
from tasks.datasets.stage import STAGE as DATASETS
from tasks.sampling.completions import read_completions
from tasks.sampling.stage import STAGE as SAMPLING
from tasks.statistics import DEGENERATE

NAMED = 6  # rows of a dataset that are named
LONGEST = 60  # characters of a value
RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def compare(
    sweep_a: Annotated[str, typer.Argument(help="a sweep's id or the beginning of it: the earlier one")],
    sweep_b: Annotated[str, typer.Argument(help="another: differences are B − A")],
) -> None:
    """Show what changed from one sweep to another: configuration, data, code, and each effect with its intervals.

    Example:  palms compare calibration-3f calibration-9c
    """
    home = Home.named()
    a, b = (Outputs.of(home, given) for given in (sweep_a, sweep_b))
    if a.sweep == b.sweep:
        raise BadInput(
            f"{sweep_a}, {sweep_b}: both are sweep {a.sweep}; two sweeps are required (`palms status` names the latest)"
        )
    for one in (a, b):
        if one.comparison is None:
            raise BadInput(f"sweep {one.sweep} has no comparison yet; `palms status {one.sweep}` tells how far it is")
    made = [_manifests(one) for one in (a, b)]
    _say(f"A  {a.sweep}\nB  {b.sweep}")
    if a.note.calibration or b.note.calibration:
        out.print("calibration: these numbers validate the machinery and say nothing about real models", style="yellow")
    documents = [{key: value for key, value in one.note.experiment.items() if key not in BESIDE} for one in (a, b)]
    _section("configuration", [f"{one.name}  {_value(one.before)} → {_value(one.after)}" for one in changes(*documents)])
    data = data_changes(*(_data(held) for held in made))
    _section("data", [line for one in data for line in _data_lines(one)])
    _section("code", list(_code_lines(*made)))
    _print_effects(*_effects(a, b))


# ---- configuration, data, code -------------------------------------------------------------------------------------------------


def _manifests(outputs: Outputs) -> dict[str, Manifest]:
    return {label: found for label in outputs.places if (found := outputs.manifest(label))}


def _data(made: Mapping[str, Manifest]) -> dict[str, Data]:
    """Datasets, suites and the positions by their files' digests, as the stages that read them recorded them; rows as they kept them."""
    found: dict[str, Data] = {}
    for label, manifest in made.items():
        inputs, axes = manifest.document["identity"]["inputs"], manifest.document["axes"]
        if manifest.stage == DATASETS.name:
            rows = {row["id"]: tuple(sorted(row.items())) for row in read_jsonl(manifest.folder / SAMPLES)}
            found[f"dataset {label.partition('/')[2]}"] = Data(inputs["dataset"], rows)
            if "positions" in inputs:
                found["positions"] = Data(inputs["positions"])
        elif manifest.stage == SAMPLING.name and (name := f"suite {axes['suite']}") not in found:
            prompts = {row.prompt_id: (row.prompt, row.group, row.kind) for row in read_completions(manifest.folder)}
            found[name] = Data(inputs["suite"], prompts)
    return dict(sorted(found.items()))


def _data_lines(change: DataChange) -> Iterator[str]:
    if change.before is None or change.after is None:
        yield f"{change.name}  {'only in B' if change.before is None else 'only in A'}"
        return
    yield f"{change.name}  {change.before.digest[:10]} → {change.after.digest[:10]}"
    if change.rows is not None and not any(change.rows):
        yield "  the same rows: what changed is not read by any stage"
    for word, ids in zip(("added", "removed", "changed"), change.rows or (), strict=False):
        if ids:
            yield f"  {len(ids)} {word}: {', '.join(ids[:NAMED])}" + (" …" if len(ids) > NAMED else "")


def _code_lines(before: Mapping[str, Manifest], after: Mapping[str, Manifest]) -> Iterator[str]:
    """Stages whose version or module files differ, the commits, and the libraries."""
    old, new = (_by_stage(made) for made in (before, after))
    for stage in sorted(old.keys() & new.keys()):
        (was, were), (now, are) = old[stage], new[stage]
        if was != now:
            yield f"{stage}  version {_listed(was)} → {_listed(now)}"
        elif were != are:
            yield f"{stage}  its code changed under version {_listed(now)}"
    facts = [[manifest.facts for manifest in made.values()] for made in (before, after)]
    commits = [{str(fact.get("commit") or "unknown")[:10] for fact in held} for held in facts]
    if commits[0] != commits[1]:
        yield f"commit  {_listed(commits[0])} → {_listed(commits[1])}"
    versions = [_versions(held) for held in facts]
    for change in changes(*versions):
        yield f"{change.name}  {_value(change.before)} → {_value(change.after)}"


def _by_stage(made: Mapping[str, Manifest]) -> dict[str, tuple[set[str], set[str]]]:
    """stage → its versions and the digests of its code, over all outputs."""
    found: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for manifest in made.values():
        found[manifest.stage][0].add(str(manifest.document["identity"]["version"]))
        found[manifest.stage][1].add(str(manifest.document["code"]))
    return found


def _versions(facts: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Python and libraries, with every version that an output was made with."""
    held: dict[str, set[str]] = defaultdict(set)
    for fact in facts:
        for name, version in {"python": fact.get("python"), **fact.get("versions", {})}.items():
            held[name].add(str(version))
    return {name: _listed(versions) for name, versions in held.items()}


# ---- effects ---------------------------------------------------------------------------------------------------------------------


def _effects(a: Outputs, b: Outputs) -> tuple[list[Effect], Sources]:
    """On the outcomes that either sweep tests; with A's outputs, for their words."""
    sides = [
        Side(one.sources(one.places), read_rows(one.comparison.folder / "contrasts.csv")) for one in (a, b) if one.comparison
    ]
    outcomes: dict[tuple[str, str], None] = {}
    for one, side in zip((a, b), sides, strict=True):
        outcomes[one.settings.primary_suite, one.settings.primary_metric] = None
        outcomes |= dict.fromkeys((row["suite"], row["metric"]) for row in side.rows if row["metric"] in one.settings.secondary)
    return effects(sides[0], sides[1], list(outcomes)), sides[0].sources


def _print_effects(found: Sequence[Effect], sources: Sources) -> None:
    out.print("\neffects  [dim]with 95 % intervals, unadjusted[/dim]", style="bold", highlight=False)
    several = len({(one.ladder) for one in found}) > 1
    notes: dict[str, int] = {}
    for (suite, metric, contrast), group in groupby(found, lambda one: (one.suite, one.metric, one.contrast)):
        held = list(group)
        _print_contrast(held, f"{sources.words(metric)} on {suite_words(suite)}", contrast, notes, several)
    for note, number in notes.items():
        _say(f"{_mark(number)} {note}")
    many = sum(one.change is not None and not one.change.method.startswith(DEGENERATE) for one in found)
    told = (
        "B − A is paired by prompt over the prompts that both have. It was named in neither sweep's preregistration: exploratory. "
        f"Where nothing changed, about one in twenty of its {plural(many, 'interval')} would leave out 0 all the same. "
        "With fewer than three seeds it is conditional on these training runs: another pair may differ by more than it shows."
    )
    fitted(out, Text(told, style="dim"))


def _print_contrast(held: Sequence[Effect], outcome: str, contrast: Contrast, notes: dict[str, int], several: bool) -> None:
    kind = held[0].kind
    unit = f", {words}" if (words := wording.unit_words(kind)) else ""
    fitted(out, Text(f"\n{outcome}: {wording.arm_words(contrast)}{unit}"))
    axes = [name for name in ("train_samples", "seed") if len({getattr(one, name) for one in held}) > 1]
    table = plain("size", *(name.replace("_", " ") for name in axes), "A", "B", "B − A", "")
    table.padding = (0, 1, 0, 0)  # three intervals stand in 80 columns
    for one in held:
        size = f"{one.ladder} {one.size}" if several else one.size
        marks = "".join(f"{_mark(notes.setdefault(note, len(notes) + 1))}" for note in one.note.split("; ") if note)
        cells = [_estimate(one.before, kind), _estimate(one.after, kind), _change(one, kind), marks]
        table.add_row(*map(Text, [size, *(getattr(one, name) for name in axes), *cells]))
    fitted(out, table)


def _estimate(one: Estimate | None, kind: str) -> str:
    return "–" if one is None else wording.interval(one.value, one.low, one.high, kind)


def _change(one: Effect, kind: str) -> str:
    if one.before is None or one.after is None:
        return "–"
    if one.change is None:
        return f"{wording.difference(one.after.value - one.before.value, kind)} (no interval)"
    if one.change.method.startswith(DEGENERATE):
        return wording.difference(one.change.value, kind) + (" (no spread)" if one.change.value else "")
    return wording.interval(one.change.value, one.change.low, one.change.high, kind)


# ---- how it is printed -----------------------------------------------------------------------------------------------------------


def _section(title: str, lines: Sequence[str]) -> None:
    out.print(f"\n{title}", style="bold", highlight=False)
    for line in lines or ["the same"]:
        _say(f"  {line}")


def _say(line: str) -> None:
    out.print(Text(harmless(line)))


def _value(value: Any) -> str:
    text = "none" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 15]} … {text[-12:]}"


def _listed(values: set[str]) -> str:
    return ", ".join(sorted(values))


def _mark(number: int) -> str:
    return str(number).translate(RAISED)
