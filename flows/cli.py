"""The `palms` command: which words there are, and which exit status they leave.

0: done. 1: a sweep failed (what failed and the command that goes on are printed). 2: bad input, found before any stage started.
A word is a file of `flows.commands`, which is imported when it is given: the list of them answers at once.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from configs.problems import BadInput
from flows import commands
from flows.commands.words import err
from flows.engine.room import NoRoom
from flows.engine.servers import ServerFailed

WORDS = (
    *("run", "rerun", "plan", "status", "report", "metrics", "show", "compare", "models", "chat", "dataset", "ratings", "search"),
    *("prefer", "init", "up", "ui", "down", "schedule", "notify", "doctor", "mlflow", "schema"),
)
HELP = """
Does fine-tuning on fewer than 100 curated examples move a language model's behaviour toward stated values, at which size, by how much?

Examples:

  palms run calibration                          the built-in experiment, about two minutes on two cores

  palms plan gpt2 --set 'seeds=[0,1,2]'          what would run, without running it

  palms run my.yaml --set arms.control.epochs=4

  palms metrics --format csv > metrics.csv

  palms show he-health-1                         what the arms answered to a prompt

  palms up                                       dashboards, and the runner of schedules

  palms schedule gpt2 --cron "0 2 * * 6"         every Saturday at two

  palms init library                             a set of values of your own
"""


class Words(TyperGroup):
    """The words, each listed by the first line of its file and imported when it is asked for."""

    def list_commands(self, context: Any) -> list[str]:
        return list(WORDS)

    def get_command(self, context: Any, name: str) -> Any:
        return TyperCommand(name, help=_told(name)) if name in WORDS else None

    def resolve_command(self, context: Any, arguments: list[str]) -> Any:
        name = arguments[0] if arguments else ""
        return (name, _loaded(name), arguments[1:]) if name in WORDS else super().resolve_command(context, arguments)


def _told(word: str) -> str:
    """What a word does, as its module's docstring says it: "`palms word`: what"."""
    source = (Path(commands.__path__[0]) / f"{word}.py").read_text(encoding="utf-8")
    said = (
        source.split('"""')[1].splitlines()[0].partition(": ")[2]
    )  # unparsed: a list of words that takes 0.1 s more is not read
    return said[:1].upper() + said[1:]


def _loaded(word: str) -> Any:
    """A word that is its module's function of that name, or, where it has words of its own, its module's `app`."""
    module = import_module(f"flows.commands.{word}")
    if hasattr(module, "app"):
        return typer.main.get_group(module.app)
    one = typer.Typer(add_completion=False, rich_markup_mode="rich")
    one.command(word)(getattr(module, word))
    return typer.main.get_command(one)


NAMES = {"help_option_names": ["-h", "--help"]}  # passed on to the words
app = typer.Typer(
    cls=Words,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings=NAMES,
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"palms {version('palms-sweep')}")
        raise typer.Exit


@app.callback(help=HELP)
def palms(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None: ...


def main() -> None:
    """The entry point: bad input is one line a problem on stderr, and status 2; a server that failed is one line, and status 1."""
    _settle_output()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
            gc.freeze()  # as it ends, the interpreter would look through all that is there, which took 0.4 s after a sweep
    except BadInput as error:
        for line in error.lines:
            err.print(f"[red]error:[/red] {escape(line)}", highlight=False)
        sys.exit(2)
    except (ServerFailed, NoRoom) as error:
        err.print(f"[red]error:[/red] {escape(str(error))}", highlight=False)
        sys.exit(1)
    except OSError as error:
        with suppress(OSError):  # where nothing can be told
            if not isinstance(error, BrokenPipeError):  # who closed a pipe has read enough
                where = error.filename or "the output, or a file,"
                err.print(f"[red]error:[/red] {escape(str(where))} cannot be used: {error.strerror}", highlight=False)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter would fail at it once more, as it ends
        sys.exit(1)


def _settle_output() -> None:
    """A terminal that cannot show a character shows its number, bytes that are no text too, and closed outputs take everything."""
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
