"""`palms schedule`: runs sweeps by the clock, while `palms up` is up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from configs.problems import BadInput
from flows.commands.words import AddFirst, Listed, out, plain, show
from flows.engine.home import Home
from flows.engine.servers import running
from flows.preference import opened
from flows.prepared import prepare_run
from flows.request import Prefer, request
from flows.serving.servers import orchestrator

if TYPE_CHECKING:
    from flows.engine.home import Home
    from flows.serving.schedule import Scheduled

app = typer.Typer(cls=AddFirst, no_args_is_help=True, help="""
Run sweeps by the clock, while `palms up` is up: `palms schedule CONFIG --cron "0 2 * * 6"`.

Examples:

  palms schedule gpt2 --cron "0 2 * * 6" --timezone Europe/Berlin     Saturdays at two

  palms schedule my.yaml --cron @daily --set 'seeds=[0,1,2]'

  palms schedule my.yaml --cron @weekly --prefer dpo     a round of preference tuning for what was rated in the week

  palms schedule list

  palms schedule pause gpt2
""")  # fmt: skip


@app.command("add", hidden=True)
def schedule_add(
    config: Annotated[str, typer.Argument(help="a YAML file, or the name of a shipped experiment")],
    cron: Annotated[str, typer.Option(help="when: minute, hour, day, month, weekday")],
    timezone: Annotated[str, typer.Option(help="in which the times are meant")] = "UTC",
    sets: Annotated[list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="change one value")] = None,
    overlap: Annotated[
        Literal["skip", "wait"], typer.Option(help="if the sweep is being run at that time: skip it with a note, or wait")
    ] = "skip",
    prefer: Annotated[
        str | None,
        typer.Option(metavar="ARM", help="turns of preference tuning of this arm (`palms prefer`), with what was rated since"),
    ] = None,
) -> None:
    """Schedule a sweep: whatever is missing of it then."""
    asked = request(config, sets or [], overlap=overlap, prefer=Prefer(arm=prefer) if prefer else None)
    whole = next(opened(Home.open(), asked).sweeps()) if prefer else asked
    run = prepare_run(Home.open(), whole)  # whatever is wrong with it is found now, not at night

    with orchestrator(out) as home:
        from flows.serving import schedule

        made = schedule.add(run.experiment.name, asked, cron, timezone)
        out.print(f"schedule [bold]{made.name}[/bold]: sweep {run.dag.sweep}, as of now", highlight=False)
        for time in schedule.firing(cron, timezone, schedule.SHOWN_TIMES):
            out.print(f"  {time:%a %d %b %Y %H:%M %Z}", highlight=False)
        _say_if_nothing_fires(home)


@app.command("list")
def schedule_list() -> None:
    """Every schedule, with its next time."""
    with orchestrator(out) as home:
        from flows.serving import schedule

        if not (found := schedule.listed()):
            out.print('no schedules; `palms schedule CONFIG --cron "0 2 * * 6"` makes one', highlight=False)
            return
        show(out, _schedules_table(found))
        _say_if_nothing_fires(home)


@app.command("pause")
def schedule_pause(name: Listed) -> None:
    """Let a schedule rest."""
    _set_active(name, False)


@app.command("resume")
def schedule_resume(name: Listed) -> None:
    """Let a paused schedule fire again."""
    _set_active(name, True)


def _set_active(name: str, active: bool) -> None:

    with orchestrator(out):
        from flows.serving import schedule

        schedule.set_active(name, active)
        out.print(f"{name}: {'active' if active else 'paused'}", highlight=False)


@app.command("rm")
def schedule_rm(name: Listed) -> None:
    """Remove a schedule; sweeps that it made stay."""
    with orchestrator(out):
        from flows.serving import schedule

        schedule.remove(name)
        out.print(f"{name}: removed", highlight=False)


def _schedules_table(schedules: Sequence[Scheduled]) -> Table:
    from flows.serving.schedule import firing

    table = plain("name", "cron", "timezone", "next", "experiment", "changes", "overlap")
    for one in schedules:
        when = "paused"
        if one.active:
            try:
                when = f"{firing(one.cron, one.timezone, 1)[0]:%a %d %b %Y %H:%M}"
            except BadInput:  # made elsewhere, in words that this command does not take
                when = "?"
        what = ["none that this version reads: its runs fail", "", ""]
        if one.request:
            turns = f" (rounds of {one.request.prefer.arm})" if one.request.prefer else ""
            what = [one.request.config + turns, escape(", ".join(one.request.sets)), one.request.overlap]
        table.add_row(one.name, one.cron, one.timezone, when, *what)
    return table


def _say_if_nothing_fires(home: Home) -> None:

    if running(home, "runner") is None:
        out.print("no runner is up: nothing fires until `palms up`", style="yellow", highlight=False)
