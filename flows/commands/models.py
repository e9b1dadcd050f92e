"""`palms models`: the registered models, promoted and exported; and the catalogue of model ladders and scorers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from configs.problems import BadInput
from flows.commands.words import err, out, plain, show, writing
from flows.engine.home import Home
from model_registry import catalog, registered, scorers
from model_registry.catalog import Ladder
from model_registry.registered import Registered
from model_registry.scorers import KnownScorer

app = typer.Typer(no_args_is_help=True, help="The registered models, and the catalogue of model ladders and scorers.")

Named = Annotated[
    str, typer.Argument(metavar="NAME", help="NAME, NAME@champion, NAME@latest or NAME/VERSION; a name alone: its latest")
]


@app.command("list")
def listed() -> None:
    """Every registered version: how it was tuned, whether capability was kept, and by which sweep. What was measured is on its card.

    A finished sweep registers what it tuned: once, by content.
    """
    home = Home.named()
    known = [registered.read(home.root, name) for name in registered.names(home.root)]
    if not known:
        out.print(f"no model is registered under {home.root}: a finished `palms run` registers what it tuned", highlight=False)
        out.print("`palms models ladders` lists the models that can be run", highlight=False)
        return
    show(out, _registered(known))


@app.command("show")
def show_card(named: Named) -> None:
    """The card of a registered model, in Markdown.

    Example:  palms models show calibration-300k-values_targeted
    """
    model, version = registered.find(Home.named().root, named)
    out.print(model.card(version), highlight=False, markup=False, end="")


@app.command()
def promote(
    named: Named,
    force: Annotated[
        str | None,
        typer.Option(metavar="REASON", help="although its evaluation is missing or its capability lost; the reason is recorded"),
    ] = None,
) -> None:
    """Make a version the champion of its name; one whose evaluation is missing or whose capability is lost is refused.

    Examples:  palms models promote gpt2-355m-values_targeted   |   palms models promote gpt2-355m-values_targeted/2 --force "the only one there is"
    """
    home = Home.open()
    home.settle_environment()
    from flows.engine import registry  # MLflow with it: after the environment is settled

    model, version = registry.promote(home, named, force)
    out.print(f"{model.name}@champion is version {version.number}", highlight=False, markup=False)
    if version.forced:
        out.print(
            f"recorded: promoted although {'; '.join(version.facts.objections())}: {version.forced}",
            highlight=False,
            markup=False,
        )


@app.command()
def export(
    named: Named,
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="a folder that is made here")],
    form: Annotated[
        Literal["tuned", "merged", "gguf"],
        typer.Option(
            "--form", help="tuned: as it is, an adapter without its base; merged: whole safetensors; gguf: for llama.cpp"
        ),
    ] = "tuned",
) -> None:
    """Write a registered model with its card into a folder of its own.

    Examples:  palms models export gpt2-355m-values_targeted@champion --to ./mine   |   … --to ./whole --form merged
    """
    home = Home.named()
    home.settle_environment()
    model, version = registered.find(home.root, named)
    if to.exists():
        raise BadInput(f"{to}: exists already; a new folder is required")
    from model_registry.exporting import NotExported, write

    try:
        with writing(to):
            said = write(home.root, model, version, to, form)
    except NotExported as error:
        err.print(f"[red]error:[/red] {escape(str(error))}", highlight=False)
        raise typer.Exit(1) from None
    out.print(f"{to}: {said}", highlight=False, markup=False)


@app.command()
def ladders() -> None:
    """The ladders of the catalogue, with their sizes, where they come from and their licences; and the scorers that it names."""
    show(out, _ladders([catalog.load_ladder(name) for name in catalog.names()]))
    out.print()
    show(out, _scorers(list(scorers.known().values())))


def _registered(models: Sequence[Registered]) -> Table:
    table = plain("model", "version", "alias", "samples", "seed", "method", "capability", "sweep")
    for model in models:
        for version in model.versions:
            facts = version.facts
            about = (str(facts.train_samples), str(facts.seed), facts.method, facts.capability, facts.sweep)
            table.add_row(model.name, str(version.number), ", ".join(model.aliases(version)), *about)
    if any(version.facts.calibration for model in models for version in model.versions):
        table.caption = "calibration: these models validate the machinery and say nothing about real ones"
        table.caption_justify = "left"
    return table


def _ladders(ladders: Sequence[Ladder]) -> Table:
    table = plain("ladder", "size", "params", "source", "context", "licence")
    for ladder in ladders:
        for rung in ladder.rungs.values():
            params = "" if rung.params is None else f"{rung.params:,}"
            source = "built here on first use" if rung.source.kind == "calibration" else rung.source.package or rung.source.id
            table.add_row(ladder.name, rung.size, params, source, str(ladder.context), ladder.licence)
    return table


def _scorers(scorers: Sequence[KnownScorer]) -> Table:
    table = plain("scorer", "source", "scores", "licence", "note")
    for scorer in scorers:
        classes = ", ".join(f"{label} as {name}" for label, name in scorer.classes.items())
        table.add_row(scorer.name, scorer.id, classes, scorer.licence, scorer.note)
    return table
