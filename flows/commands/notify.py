"""`palms notify`: has a webhook called when a sweep fails or completes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from flows.commands.words import AddFirst, Listed, out, plain, show
from flows.serving.servers import orchestrator

if TYPE_CHECKING:
    from flows.serving.notices import Notice

app = typer.Typer(cls=AddFirst, no_args_is_help=True, help="""
Have a webhook called when a sweep fails or completes: `palms notify URL`.

Examples:

  palms notify https://hooks.example.org/T0/B1            when one fails

  palms notify http://127.0.0.1:8080/ --on both

  palms notify list
""")  # fmt: skip


@app.command("add", hidden=True)
def notify_add(
    url: Annotated[str, typer.Argument(help="http or https; it is sent JSON with text, sweep, state, message, flow_run_id, url")],
    on: Annotated[Literal["failure", "completion", "both"], typer.Option(help="when a sweep ends so")] = "failure",
) -> None:
    """Have a webhook called."""
    with orchestrator(out):
        from flows.serving import notices

        made = notices.add(url, ["failure", "completion"] if on == "both" else [on])
        out.print(f"notice [bold]{made.name}[/bold]: {made.url} on {' and '.join(made.on)}", highlight=False)


@app.command("list")
def notify_list() -> None:
    """Every notice, with as much of its address as may be shown."""
    with orchestrator(out):
        from flows.serving import notices

        if found := notices.listed():
            show(out, _notices_table(found))
        else:
            out.print("no notices; `palms notify URL` makes one", highlight=False)


@app.command("rm")
def notify_rm(name: Listed) -> None:
    """Remove a notice."""
    with orchestrator(out):
        from flows.serving import notices

        gone = notices.remove(name)
        out.print(f"{gone.name}: removed ({gone.url})", highlight=False)


def _notices_table(notices: Sequence[Notice]) -> Table:

    table = plain("name", "address", "on", "")
    for one in notices:
        table.add_row(one.name, escape(one.url), " and ".join(one.on), "" if one.enabled else "switched off")
    return table
