"""What the words share: where they print, options that several have, and how a table looks on a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from configs.problems import BadInput
from flows.engine.board import Entry
from flows.engine.processes import ALONE, LONGER

out, err = Console(soft_wrap=True, emoji=False), Console(stderr=True, soft_wrap=True, emoji=False)

Config = Annotated[
    str,
    typer.Argument(
        help="a YAML file, or the name of a shipped experiment (calibration, calibration_controls, gpt2, pythia, opt, qwen3, biblioteca)"
    ),
]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="change one value; may be given several times")
]
Sweep = Annotated[str | None, typer.Argument(help="a sweep's id or the beginning of it; default: the latest")]
Verify = Annotated[bool, typer.Option(help="check every stored output by its full content, not by size and time alone")]
Listed = Annotated[str, typer.Argument(help="as the list has it")]
Strict = Annotated[bool, typer.Option(help="run a stage again when its code changed, even under the same STAGE_VERSION")]


def show(console: Console, table: Table) -> None:
    """Print a table at its full width: a cut-off label cannot be copied, and a pipe has no width."""
    width = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    Console(file=console.file, force_terminal=console.is_terminal, emoji=False, width=max(width, console.width)).print(table)


def fitted(console: Console, shown: RenderableType) -> None:
    """Print within the width of the console; no line is filled up with blanks."""
    for line in console.render_lines(shown, console.options.update(no_wrap=False, overflow="fold"), pad=False):
        text = Text.assemble(*((segment.text, segment.style or "") for segment in line))
        text.rstrip()
        console.print(text)


def plain(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in {"seconds", "params", "value", "n", "line", "tries"} else "left")
    return table


_STEERS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def harmless(text: str) -> str:
    """Text of a model or of data for a terminal: a character that would steer it, or turn what follows round, as its number."""
    return _STEERS.sub(lambda found: found[0].encode("unicode_escape").decode(), text.replace("\r\n", "\n"))


def plural(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def again(sweep: str, entries: Sequence[Entry]) -> str:
    """The command that runs what is missing, with a setting that was the cause."""
    sets = [option for option in (LONGER, ALONE) if any(option in entry.why for entry in entries if entry.state == "failed")]
    return " ".join(["palms rerun", sweep, *sets])


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises BadInput where a file or folder cannot be written."""
    try:
        yield
    except OSError as failed:
        raise BadInput(f"{path}: {failed.strerror}; a place that can be written to is required") from None


class AddFirst(TyperGroup):
    """`palms schedule CONFIG` adds, as `palms schedule list` lists: a first word that is no command stands for `add`."""

    def resolve_command(self, context: Any, arguments: list[str]) -> Any:
        if arguments and arguments[0] not in self.commands:
            arguments = ["add", *arguments]
        return super().resolve_command(context, arguments)
