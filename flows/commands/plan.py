"""`palms plan`: what a run would do, stage by stage, without doing it; or, with --power, what it could find."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from configs.problems import BadInput
from flows.commands.power import Power, powers
from flows.commands.words import Config, Sets, Strict, Verify, out, plain, plural, show
from flows.engine.explain import line
from flows.engine.home import Home
from flows.prepared import Planned, Run, planned, prepare_run
from flows.request import request
from tasks.contract import read_json
from tasks.prepare.stage import MODEL, READING


def plan(
    config: Config,
    sets: Sets = None,
    verify: Verify = False,
    strict_code: Strict = False,
    explain: Annotated[bool, typer.Option("--explain", help="every reason why a stage would run, a line each")] = False,
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
    """Show what a run would do, stage by stage, without doing it; or, with --power, what it could find.

    Examples:  palms plan my.yaml --explain   |   palms plan gpt2 --power --difference 0.05 --level 0.1
    """
    home = Home.named()
    home.settle_environment()  # where the hub's cache lies for a sweep
    prepared = prepare_run(home, request(config, sets or [], verify=verify, strict_code=strict_code))
    if difference is not None and not power:
        raise BadInput("--difference is what --power is asked for; give both")
    if level is not None and not (power and 0 < level < 1):
        raise BadInput(f"--level {level:g}: a number between 0 and 1 is accepted, with --power")
    if power:
        _print_power(prepared, difference, level)
        return
    rows = planned(prepared)
    width = max(len(row.label) for row in rows)
    colours = {"run": "yellow", "cached": "green", "waits": "dim"}
    for row in rows:
        first, *more = row.why if explain and row.why else [line(list(row.why))]
        out.print(f"[{colours[row.state]}]{row.state:7}[/] {row.label:{width}}  [dim]{escape(first)}[/dim]", highlight=False)
        for reason in more:
            out.print(f"{'':7} {'':{width}}  [dim]{escape(reason)}[/dim]", highlight=False)
    counts = [
        f"{sum(row.state == state for row in rows)} {word}"
        for state, word in (("cached", "cached"), ("run", "to run"), ("waits", "waiting"))
    ]
    out.print(", ".join(counts), highlight=False)
    for name, reads in _readings(prepared, rows):
        out.print(f"[dim]{escape(f'{name} reads {reads}   (│: its answer)')}[/dim]", highlight=False)


def _readings(prepared: Run, rows: list[Planned]) -> Iterator[tuple[str, str]]:
    """How each model reads a prompt, and where it answers: from its folder, or as it was prepared."""
    keys = {row.label: row.key for row in rows if row.state == "cached"}
    for node in prepared.dag.nodes:
        if node.stage == MODEL and (name := node.axes.model):
            if told := prepared.reads.get(name):
                yield name, told
            elif key := keys.get(node.label):
                yield name, read_json(prepared.session.store.folder(MODEL.name, key) / READING)["reads"]
            else:
                yield name, "a prompt as `palms plan` will show once it is prepared"


def _print_power(prepared: Run, difference: float | None, level: float | None) -> None:

    if difference == 0:
        raise BadInput("--difference 0: no number of prompts shows a difference of nothing; any other number is accepted")
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
