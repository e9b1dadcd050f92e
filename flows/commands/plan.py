"""`palms plan`: what a run would do, stage by stage, without doing it; or, with --power, what it could find."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from configs.problems import BadInput
from configs.schema import Tuned
from flows.commands.cost import device_of, print_cost
from flows.commands.estimate import CAPABILITY, Cost, costs, fetched, together
from flows.commands.fit import needs, unfitting
from flows.commands.words import Config, Sets, Strict, Verify, duration, out, plain, plural, show, volume
from flows.cost.devices import HERE, SHEETS
from flows.engine.explain import line, nearest
from flows.engine.home import Home
from flows.engine.session import Blocked
from flows.engine.stores.manifest import Manifest
from flows.prepared import Planned, Run, planned, prepare_run
from flows.request import request
from tasks.contract import File, Node, read_json, read_jsonl
from tasks.datasets.changes import changed_rows
from tasks.datasets.outputs import sample_rows
from tasks.datasets.rows import load_rows
from tasks.datasets.stage import SAMPLES
from tasks.datasets.stage import STAGE as DATASETS
from tasks.finetune import methods
from tasks.finetune.rates import stated
from tasks.finetune.stage import FEW, may_stop, optimiser_steps, tuned_on
from tasks.finetune.stage import STAGE as FINETUNE
from tasks.prepare.stage import MODEL, READING, SCORER

if TYPE_CHECKING:
    from flows.commands.power import Power

MANY, FIRST = 40, 15  # from more stages on they are counted by stage; so many that would run are told all the same
LEARNED = {"samples": "samples", "pairs": "preferences", "rewards": "prompts"}  # what a pass goes over
COLOURS = {"run": "yellow", "cached": "green", "waits": "dim"}


def plan(
    config: Config,
    sets: Sets = None,
    verify: Verify = False,
    strict_code: Strict = False,
    every: Annotated[bool, typer.Option("--all", help=f"every stage, also of more than {MANY}")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="every stage, every reason why it would run, and which rows of a dataset changed")
    ] = False,
    fit: Annotated[
        bool,
        typer.Option(
            "--fit",
            help="instead: whether what is to be run fits into memory, and what each stage takes; status 2 where one does not fit",
        ),
    ] = False,
    cost: Annotated[
        bool,
        typer.Option(
            "--cost",
            help="instead: what it would take, by formulas and by what was measured here, and how long on several devices",
        ),
    ] = False,
    device: Annotated[
        str | None, typer.Option(help=f"with --cost: {', '.join((HERE, *SHEETS))}; default: this machine's own")
    ] = None,
    price: Annotated[float | None, typer.Option(help="with --cost: of a device and hour")] = None,
    power: Annotated[
        bool,
        typer.Option(
            "--power", help="instead: which differences it would find, and with how many prompts, completions and raters"
        ),
    ] = False,
    difference: Annotated[
        float | None,
        typer.Option(help="with --power: a difference in the unit of the outcome, such as 0.1; how many prompts find it"),
    ] = None,
    level: Annotated[
        float | None,
        typer.Option(
            help="with --power: where a share or score from 0 to 1 is expected to lie, such as 0.1; it varies most at a half"
        ),
    ] = None,
) -> None:
    """Show what a run would do, what it would take as far as earlier runs tell, and what it would fetch, without doing it; or, with
    --power, what it could find; or, with --fit, whether this machine can; or, with --cost, what it takes on a device.

    Examples:  palms plan my.yaml --explain   |   palms plan gpt2 --power --difference 0.05 --level 0.1   |   palms plan gpt2 --fit
    palms plan opt --cost --device h200 --price 3.50
    """
    _require_together({"--fit": fit, "--cost": cost, "--power": power}, device, price, difference, level)
    home = Home.named()
    home.settle_environment()  # where the hub's cache lies for a sweep
    prepared = prepare_run(home, request(config, sets or [], verify=verify, strict_code=strict_code))
    if power:
        _print_power(prepared, difference, level)
        return
    on = device_of(prepared, device) if cost else None
    rows = planned(prepared)
    unmade = [node for node, row in zip(prepared.dag.nodes, rows, strict=True) if row.state != "cached"]
    if on is not None:
        print_cost(prepared, unmade, on, price)
        return
    if fit:
        _print_fit(prepared, unmade)
        return
    told = _shown(rows, every=every or explain)
    _print_rows(told, prepared, explain=explain)
    amounts = costs(unmade, prepared.session.store)
    if len(rows) > MANY:
        show(out, _by_stage(rows, amounts))
    cut = len(told) < sum(row.state == "run" for row in rows)
    more = "" if len(told) == len(rows) else f"; {f'{len(told)} of those to run stand above, ' if cut else ''}--all tells each"
    out.print(f"[bold]{prepared.dag.sweep}[/bold]: {plural(len(rows), 'stage')}: {_counts(rows)}{more}", highlight=False)
    for said in _takes(prepared, unmade, list(amounts.values())):
        out.print(said, highlight=False, markup=False)
    for said, few in _steps(prepared):
        out.print(said, style="yellow" if few else None, highlight=False, markup=False)
    for said in _rates(prepared):
        out.print(said, style="yellow", highlight=False, markup=False)
    readings = dict(_readings(prepared))
    for name, reads in readings.items():
        out.print(f"[dim]{escape(f'{name} reads {reads}   (│: its answer)')}[/dim]", highlight=False)
    if unread := [name for name in prepared.dag.sizes if name not in readings]:
        out.print(f"[dim]how a prompt is read is shown once it is prepared: {escape(', '.join(unread))}[/dim]", highlight=False)


def _shown(rows: Sequence[Planned], *, every: bool) -> list[Planned]:
    """The rows that are told one by one: of many stages only what would run first, which is what was changed."""
    if every or len(rows) <= MANY:
        return list(rows)
    return [row for row in rows if row.state == "run"][:FIRST]


def _print_rows(rows: Sequence[Planned], prepared: Run, *, explain: bool) -> None:
    width = max((len(row.label) for row in rows), default=0)
    for row in rows:
        first, *more = row.why if explain and row.why else [line(list(row.why))]
        if explain:
            more += _rows_changed(prepared, row)
        why = f"{'':{width - len(row.label)}}  [dim]{escape(first)}[/dim]" if first else ""
        out.print(f"[{COLOURS[row.state]}]{row.state:7}[/] {row.label}{why}", highlight=False)
        for reason in more:
            out.print(f"{'':7} {'':{width}}  [dim]{escape(reason)}[/dim]", highlight=False)


def _rows_changed(prepared: Run, row: Planned) -> Iterator[str]:
    """Of a dataset that changed: which of its rows, against what the nearest output of an earlier run holds."""
    node = next(node for node in prepared.dag.nodes if node.label == row.label)
    if node.stage != DATASETS or row.state != "run" or "input dataset changed" not in row.why:
        return
    inputs = prepared.session.inputs(node)
    assert not isinstance(inputs, Blocked)  # a dataset reads files alone
    before = nearest(prepared.session.order(node, inputs), prepared.session.store.manifests(node.stage.name))
    file = inputs["dataset"]
    if before is None or not (before.folder / SAMPLES).is_file() or not isinstance(file, File):
        yield "which rows is not known: the store does not hold those of before"
        return
    yield from changed_rows(read_jsonl(before.folder / SAMPLES), sample_rows(load_rows(file.path)))


def _steps(prepared: Run) -> Iterator[tuple[str, bool]]:
    """How many optimiser steps arms take, a line a number; and whether these are few."""
    found: dict[tuple[int, bool, str], dict[str, None]] = {}
    for node in prepared.dag.nodes:
        if node.stage.name == FINETUNE.name:
            settings, learns = node.settings, methods.found()[node.settings.method].learns
            held_out = f"{tuned_on(settings)} of " if settings.held_out else ""
            said = f"{node.axes.arm} on {held_out}{settings.units or node.axes.train_samples}"
            stopped = may_stop(settings) or learns == "rewards"
            found.setdefault((optimiser_steps(settings), stopped, LEARNED[learns]), {})[said] = None
    for (steps, stopped, what), arms in sorted(found.items()):
        few = f"; few: `min_steps: {FEW}` or more epochs give more" if steps < FEW else ""
        yield f"{'at most ' if stopped else ''}{plural(steps, 'optimiser step')}: {', '.join(arms)} {what}{few}", steps < FEW


def _rates(prepared: Run) -> Iterator[str]:
    """Of arms that give no learning rate, which is taken, and where a search of one may begin; a line a method and size."""
    arms: dict[str, list[str]] = {}
    for name, arm in prepared.experiment.arms.items():
        if isinstance(arm, Tuned) and "learning_rate" not in arm.model_fields_set and not arm.prefers:
            arms.setdefault(arm.method, []).append(name)
    for method, names in arms.items():
        for model in prepared.inputs.models:
            params = model.params or model.at_most
            known = stated(params) if params else None
            hint = known.told(all_weights=methods.found()[method].tunes_all) if known else "nothing is known of this size"
            yield (
                f"{', '.join(names)} without a learning_rate: {Tuned.model_fields['learning_rate'].default:g} is taken; for {model.name} and "
                f"{method}: {hint}; `palms search` tries some"
            )


def _counts(rows: Sequence[Planned]) -> str:
    states = (("cached", "cached"), ("run", "to run"), ("waits", "waiting"))
    return ", ".join(f"{sum(row.state == state for row in rows)} {word}" for state, word in states)


def _by_stage(rows: Sequence[Planned], cost: Mapping[str, Cost]) -> Table:
    """Counts of every stage, in the order in which they first come, with what the missing ones would take."""
    amounts = {stage: _amounts(one) for stage, one in cost.items()} if any(one.known for one in cost.values()) else {}
    table = plain("stage", "cached", "to run", "waiting", *(("work", "disk") if amounts else ()))
    for column in table.columns[1:]:
        column.justify = "right"
    stages = {row.label: row.label.split("/")[0] for row in rows}
    for stage in dict.fromkeys(stages.values()):
        held = [row for row in rows if stages[row.label] == stage]
        counts = (str(sum(row.state == state for row in held) or "") for state in ("cached", "run", "waits"))
        table.add_row(stage, *counts, *amounts.get(stage, ()))
    return table


def _amounts(cost: Cost) -> tuple[str, str]:
    """Work and disk of a stage; `+`: of some nothing is known."""
    if not cost.known:
        return "not known", ""
    more = "+" if cost.known < cost.nodes else ""
    return duration(cost.seconds) + more, volume(cost.bytes) + more


def _takes(prepared: Run, unmade: Sequence[Node], costs: Sequence[Cost]) -> Iterator[str]:
    """Time, disk and what would be fetched, a line each, with where it is told from."""
    if not unmade:
        return
    whole = together(costs)
    if whole.known:
        less = f"; of {whole.nodes - whole.known} stages nothing is known" if whole.known < whole.nodes else ""
        held = f", {whole.memory_gib:.1f} GiB of memory in the largest stage" if whole.memory_gib else ""
        yield f"estimate: {duration(whole.seconds)} of work, some of it side by side, {volume(whole.bytes)} of disk{held}{less}"
        outputs = plural(whole.outputs, "earlier output")
        yield f"told from: medians of {outputs} of the same stage, size and suite in {prepared.session.store.address}"
    else:
        reserved = max(node.resources.memory_gib for node in unmade)
        yield f"time and disk are not known: {prepared.session.store.address} holds nothing of these sizes yet"
        yield f"memory: {reserved:.1f} GiB are reserved for the largest stage"
    if any(node.stage in (MODEL, SCORER, CAPABILITY) for node in unmade):
        from huggingface_hub import constants  # reads the environment as it is imported

        cache = Path(constants.HF_HUB_CACHE)
        params = prepared.inputs.params
        yield from (f"to be fetched: {what}" for what in fetched(unmade, params, cache))


def _require_together(
    instead: Mapping[str, bool], device: str | None, price: float | None, difference: float | None, level: float | None
) -> None:
    """Raises BadInput: options that do not go together, or numbers that are none of theirs. `instead`: what is told in the plan's place."""
    asked = [name for name, given in instead.items() if given]
    if len(asked) > 1:
        raise BadInput(f"{', '.join(asked)}: each is told instead of the plan; one of them is accepted")
    if (device is not None or price is not None) and not instead["--cost"]:
        raise BadInput(f"{'--price' if device is None else '--device'} is what --cost is asked for; give both")
    if price is not None and not 0 < price < math.inf:
        raise BadInput(f"--price {price:g}: a number above 0 is accepted")
    if difference is not None and not instead["--power"]:
        raise BadInput("--difference is what --power is asked for; give both")
    if level is not None and not (instead["--power"] and 0 < level < 1):
        raise BadInput(f"--level {level:g}: a number between 0 and 1 is accepted, with --power")
    if difference == 0:
        raise BadInput("--difference 0: no number of prompts shows a difference of nothing; any other number is accepted")


def _readings(prepared: Run) -> Iterator[tuple[str, str]]:
    """How each model reads a prompt, and where it answers: from its folder, or as it was prepared."""
    for node in prepared.dag.nodes:
        if node.stage == MODEL and (name := node.axes.model):
            if told := prepared.reads.get(name):
                yield name, told
            elif isinstance(made := prepared.session.outcome(node), Manifest):
                yield name, read_json(made.folder / READING)["reads"]


def _print_fit(prepared: Run, unmade: Sequence[Node]) -> None:
    """What each kind of stage needs, and what there is. Raises BadInput: one does not fit."""
    if not unmade:
        out.print("every stage is cached: nothing is to be run", highlight=False)
        return
    there = prepared.session.runner.room
    found = needs(prepared, unmade)
    table = plain("stage", "n", "memory", "", "time", "")
    for one in found:
        time = "–" if one.seconds is None else duration(one.seconds)
        table.add_row(one.label, str(one.nodes), f"{one.memory_gib:.1f} GiB", one.memory_from, time, one.seconds_from)
    show(out, table)
    if there is None:
        out.print(
            f"{plural(len(unmade), 'stage')} on {prepared.experiment.engine}: its nodes are asked for room as a run begins",
            highlight=False,
        )
        return
    known = sum(one.seconds or 0.0 for one in found)
    threads = max(node.resources.threads for node in unmade)
    side = max(1, there.threads // threads)
    less = sum(one.nodes for one in found if one.seconds is None)
    unknown = f"; of {plural(less, 'stage')} nothing is known" if less else ""
    out.print(
        f"there are {there.memory_gib:.1f} GiB for stages and {plural(there.threads, 'thread')}: {duration(known)} of work, at best "
        f"{duration(known / side)} with {side} at once{unknown}",
        highlight=False,
    )
    if wrong := list(unfitting(found, there.memory_gib)):
        raise BadInput(*wrong)


def _print_power(prepared: Run, difference: float | None, level: float | None) -> None:
    from flows.commands.power import powers  # with numpy and SciPy, which the plan itself does without

    try:
        tables = powers(prepared, difference, level)
    except ValueError as error:
        raise BadInput(f"--power: {error}") from None
    for one in tables:
        found = f"{one.prompts} prompts × {one.completions} completions" + (f" × {one.raters} raters" if one.raters > 1 else "")
        most = "at most " if one.at_most else ""
        out.print(
            f"[bold]{one.outcome}[/bold]: {found} find a difference of {most}±{one.here:.3g} four times in five", highlight=False
        )
        if one.needed is not None:
            out.print(f"±{abs(one.difference or 0):g} takes {most}{one.needed} prompts at as many completions", highlight=False)
        show(out, _cells(one))
        parts = one.components
        sizes = f"prompt {parts.prompt:.3g}, sample {parts.sample:.3g}" + (f", rater {parts.rater:.3g}" if parts.rater else "")
        out.print(
            f"variance components {parts.source} ({sizes}); two-sided 5 %, Holm over {plural(one.tests, 'test')} planned for by its first step",
            highlight=False,
            style="dim",
        )


def _cells(power: Power) -> Table:
    """The least difference that is found four times in five: prompts and raters down, completions across."""
    completions = sorted({row.completions for row in power.rows})
    rated = len({row.raters for row in power.rows}) > 1
    table = plain("prompts", *(["raters"] if rated else []), *(f"{count} a prompt" for count in completions))
    for column in table.columns:
        column.justify = "right"
    found = {(row.prompts, row.raters, row.completions): row.detectable for row in power.rows}
    for prompts, raters in dict.fromkeys((row.prompts, row.raters) for row in power.rows):
        cells = (f"±{found[prompts, raters, count]:.3g}" for count in completions)
        table.add_row(str(prompts), *([str(raters)] if rated else []), *cells)
    return table
