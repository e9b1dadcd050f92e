"""`palms ui`: opens MLflow on the newest comparison."""

from __future__ import annotations

import webbrowser
from typing import Annotated

import typer

from configs.problems import BadInput
from flows.commands.words import out
from flows.engine.home import Home
from flows.engine.servers import running
from flows.serving.links import opened


def ui(open_it: Annotated[bool, typer.Option("--open", help="in this machine's browser, too")] = False) -> None:
    """Print the link that opens MLflow on the newest comparison: base, tuned and control side by side, at every size.

    The link logs a browser in: whoever has it may do what you may. Examples:  palms ui   |   palms ui --open
    """
    home = Home.named()
    server = running(home, "mlflow")
    if server is None:
        raise BadInput(f"MLflow's server is not up for PALMS_HOME={home.root}; `palms up --detach` starts it, then `palms ui`")
    link = opened(home, server)
    out.print(link, highlight=False, markup=False)
    if open_it and not webbrowser.open(link):
        raise BadInput("--open: no browser was found on this machine; the link above opens in any")
