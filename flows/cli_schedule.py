"""The words `palms schedule` and `palms notify`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from configs.problems import BadInput

if TYPE_CHECKING:
    from flows.engine.home import Home
    from flows.serving.notices import Notice
    from flows.serving.schedule import Scheduled

out = Console(soft_wrap=True, emoji=False)


class _AddFirst(TyperGroup):
    """`palms schedule CONFIG` adds, as `palms schedule list` lists: a first word that is no command stands for `add`."""

    def resolve_command(self, context: Any, arguments: list[str]) -> Any:
        if arguments and arguments[0] not in self.commands:
            arguments = ["add", *arguments]
        return super().resolve_command(context, arguments)


schedule_app = typer.Typer(cls=_AddFirst, no_args_is_help=True, help="""
Run sweeps by the clock, while `palms up` is up: `palms schedule CONFIG --cron "0 2 * * 6"`.

Examples:

  palms schedule gpt2 --cron "0 2 * * 6" --timezone Europe/Berlin     Saturdays at two

  palms schedule my.yaml --cron @daily --set 'seeds=[0,1,2]'

  palms schedule list

  palms schedule pause gpt2
""")  # fmt: skip
notify_app = typer.Typer(cls=_AddFirst, no_args_is_help=True, help="""
Have a webhook called when a sweep fails or completes: `palms notify URL`.

Examples:

  palms notify https://hooks.example.org/T0/B1            when one fails

  palms notify http://127.0.0.1:8080/ --on both

  palms notify list
""")  # fmt: skip

Name = Annotated[str, typer.Argument(help="as the list has it")]


@schedule_app.command("add", hidden=True)
def schedule_add(
    config: Annotated[str, typer.Argument(help="a YAML file, or the name of a shipped experiment")],
    cron: Annotated[str, typer.Option(help="when: minute, hour, day, month, weekday")],
    timezone: Annotated[str, typer.Option(help="in which the times are meant")] = "UTC",
    sets: Annotated[list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="change one value")] = None,
    overlap: Annotated[
        Literal["skip", "wait"], typer.Option(help="if the sweep is being run at that time: skip it with a note, or wait")
    ] = "skip",
) -> None:
    """Schedule a sweep: whatever is missing of it then."""
    from flows.engine.home import Home
    from flows.prepared import prepare_run
    from flows.request import request

    asked = request(config, sets or [], overlap=overlap)
    run = prepare_run(Home.open(), asked)  # whatever is wrong with it is found now, not at night
    from flows.serving.orchestrator import orchestrator

    with orchestrator(out) as home:
        from flows.serving import schedule

        made = schedule.add(run.experiment.name, asked, cron, timezone)
        out.print(f"schedule [bold]{made.name}[/bold]: sweep {run.dag.sweep}, as of now", highlight=False)
        for time in schedule.firing(cron, timezone, schedule.SHOWN_TIMES):
            out.print(f"  {time:%a %d %b %Y %H:%M %Z}", highlight=False)
        _say_if_nothing_fires(home)


@schedule_app.command("list")
def schedule_list() -> None:
    """Every schedule, with its next time."""
    from flows.serving.orchestrator import orchestrator
    from flows.tables import show

    with orchestrator(out) as home:
        from flows.serving import schedule

        if not (found := schedule.listed()):
            out.print('no schedules; `palms schedule CONFIG --cron "0 2 * * 6"` makes one', highlight=False)
            return
        show(out, _schedules_table(found))
        _say_if_nothing_fires(home)


@schedule_app.command("pause")
def schedule_pause(name: Name) -> None:
    """Let a schedule rest."""
    _set_active(name, False)


@schedule_app.command("resume")
def schedule_resume(name: Name) -> None:
    """Let a paused schedule fire again."""
    _set_active(name, True)


def _set_active(name: str, active: bool) -> None:
    from flows.serving.orchestrator import orchestrator

    with orchestrator(out):
        from flows.serving import schedule

        schedule.set_active(name, active)
        out.print(f"{name}: {'active' if active else 'paused'}", highlight=False)


@schedule_app.command("rm")
def schedule_rm(name: Name) -> None:
    """Remove a schedule; sweeps that it made stay."""
    from flows.serving.orchestrator import orchestrator

    with orchestrator(out):
        from flows.serving import schedule

        schedule.remove(name)
        out.print(f"{name}: removed", highlight=False)


def _schedules_table(schedules: Sequence[Scheduled]) -> Table:
    from flows.serving.schedule import firing
    from flows.tables import plain

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
            what = [one.request.config, escape(", ".join(one.request.sets)), one.request.overlap]
        table.add_row(one.name, one.cron, one.timezone, when, *what)
    return table


def _say_if_nothing_fires(home: Home) -> None:
    from flows.serving.servers import running

    if running(home, "runner") is None:
        out.print("no runner is up: nothing fires until `palms up`", style="yellow", highlight=False)


@notify_app.command("add", hidden=True)
def notify_add(
    url: Annotated[str, typer.Argument(help="http or https; it is sent JSON with text, sweep, state, message, flow_run_id, url")],
    on: Annotated[Literal["failure", "completion", "both"], typer.Option(help="when a sweep ends so")] = "failure",
) -> None:
    """Have a webhook called."""
    from flows.serving.orchestrator import orchestrator

    with orchestrator(out):
        from flows.serving import notices

        made = notices.add(url, ["failure", "completion"] if on == "both" else [on])
        out.print(f"notice [bold]{made.name}[/bold]: {made.url} on {' and '.join(made.on)}", highlight=False)


@notify_app.command("list")
def notify_list() -> None:
    """Every notice, with as much of its address as may be shown."""
    from flows.serving.orchestrator import orchestrator
    from flows.tables import show

    with orchestrator(out):
        from flows.serving import notices

        if found := notices.listed():
            show(out, _notices_table(found))
        else:
            out.print("no notices; `palms notify URL` makes one", highlight=False)


@notify_app.command("rm")
def notify_rm(name: Name) -> None:
    """Remove a notice."""
    from flows.serving.orchestrator import orchestrator

    with orchestrator(out):
        from flows.serving import notices

        gone = notices.remove(name)
        out.print(f"{gone.name}: removed ({gone.url})", highlight=False)


def _notices_table(notices: Sequence[Notice]) -> Table:
    from flows.tables import plain

    table = plain("name", "address", "on", "")
    for one in notices:
        table.add_row(one.name, escape(one.url), " and ".join(one.on), "" if one.enabled else "switched off")
    return table
