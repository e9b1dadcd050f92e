"""The orchestrator for the time of a command that only asks or tells it something."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from flows.engine.home import Home
from flows.serving.servers import await_health, prefect_server


@contextmanager
def orchestrator(out: Console) -> Iterator[Home]:
    """The Prefect server of this home, in PREFECT_API_URL as Prefect's clients read it.

    Raises:
        ServerFailed: it did not come up.
    """
    home = Home.open()
    home.settle_environment()
    with prefect_server(home) as server:
        os.environ["PREFECT_API_URL"] = f"{server.url}/api"
        with out.status("starting the orchestrator"):
            await_health(home, server)
        yield home
