"""`palms report`: where the report of a sweep is."""

from __future__ import annotations

from flows.commands.words import Sweep, out
from flows.engine.home import Home
from flows.results import report_path


def report(sweep: Sweep = None) -> None:
    """Where the report of a sweep is."""
    out.print(str(report_path(Home.named(), sweep)), highlight=False, markup=False)
