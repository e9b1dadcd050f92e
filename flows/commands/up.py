"""`palms up`: the dashboards of Prefect and MLflow, and the runner of schedules, on loopback."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.words import out
from flows.engine.home import Home
from flows.serving import up as servers


def up(detach: Annotated[bool, typer.Option("--detach", help="in the background, until `palms down`")] = False) -> None:
    """The dashboards of Prefect and MLflow, and the runner of schedules, on loopback: started and stopped together.

    While they are up, `palms run` hands its sweep to the runner, so that it can be watched, cancelled and retried in the dashboard.
    Examples:  palms up   |   palms up --detach
    """
    home = Home.open()
    home.settle_environment()
    if detach:
        servers.detach(home, out)
    else:
        servers.up_command(home, out)
