"""`palms models`: the catalogue of model ladders and scorers."""

from __future__ import annotations

from collections.abc import Sequence

import typer
from rich.table import Table

from flows.commands.words import out, plain, show
from model_registry import catalog, scorers
from model_registry.catalog import Ladder
from model_registry.scorers import KnownScorer

app = typer.Typer(no_args_is_help=True, help="The catalogue of model ladders and scorers.")


@app.command("list")
def listed() -> None:
    """The ladders of the catalogue, with their sizes, where they come from and their licences; and the scorers that it names."""
    show(out, _ladders([catalog.load_ladder(name) for name in catalog.names()]))
    out.print()
    show(out, _scorers(list(scorers.known().values())))


def _ladders(ladders: Sequence[Ladder]) -> Table:
    table = plain("ladder", "size", "params", "source", "context", "licence")
    for ladder in ladders:
        for rung in ladder.rungs.values():
            params = "" if rung.params is None else f"{rung.params:,}"
            source = rung.source.id if rung.source.kind == "hub" else "built here on first use"
            table.add_row(ladder.name, rung.size, params, source, str(ladder.context), ladder.licence)
    return table


def _scorers(scorers: Sequence[KnownScorer]) -> Table:
    table = plain("scorer", "source", "scores", "licence", "note")
    for scorer in scorers:
        classes = ", ".join(f"{label} as {name}" for label, name in scorer.classes.items())
        table.add_row(scorer.name, scorer.id, classes, scorer.licence, scorer.note)
    return table
