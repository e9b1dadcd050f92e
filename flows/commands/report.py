"""`palms report`: where the report of a sweep is, or the report itself in a browser."""

from __future__ import annotations

import webbrowser
from typing import Annotated

import typer

from configs.problems import BadInput
from flows.commands.words import Sweep, out
from flows.engine.home import Home
from flows.results import report_path


def report(sweep: Sweep = None, opened: Annotated[bool, typer.Option("--open", help="open it in a browser")] = False) -> None:
    """Where the report of a sweep is. It is one file, which needs nothing beside it.

    Examples:  palms report   |   palms report --open   |   cp "$(palms report gpt2-3f)" report.html
    """
    path = report_path(Home.named(), sweep)
    out.print(str(path), highlight=False, markup=False)
    if opened and not webbrowser.open(path.as_uri()):
        raise BadInput("--open: no browser is known here; BROWSER names one, or open the file above")
