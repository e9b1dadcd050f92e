"""What the words share: where they print, options that several have, and how a table looks on a terminal."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from configs.positions import Position, load_positions, positions_beside
from configs.problems import BadInput
from configs.shipped import CONFIGS
from flows.engine.board import Entry, State
from flows.engine.processes import ALONE, LONGER

Said = TypeVar("Said")
out, err = Console(soft_wrap=True, emoji=False), Console(stderr=True, soft_wrap=True, emoji=False)

STATES: tuple[State, ...] = ("done", "cached", "failed", "blocked", "running", "waiting")

Config = Annotated[
    str,
    typer.Argument(
        help="a YAML file, or the name of a shipped experiment (calibration, calibration_controls, calibration_methods, "
        "calibration_fairness, smollm2, gpt2, pythia, opt, qwen3, biblioteca)"
    ),
]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="change one value; may be given several times")
]
Sweep = Annotated[str | None, typer.Argument(help="a sweep's id or the beginning of it; default: the latest")]
Verify = Annotated[bool, typer.Option(help="check every stored output by its full content, not by size and time alone")]
Positions = Annotated[
    Path | None, typer.Option(help="the positions; default: positions.yaml beside the file or one folder up, or the shipped ones")
]
Listed = Annotated[str, typer.Argument(help="as the list has it")]
Strict = Annotated[bool, typer.Option(help="run a stage again when its code changed, even under the same STAGE_VERSION")]


def show(console: Console, table: Table) -> None:
    """Print a table at its full width: a cut-off label cannot be copied, and a pipe has no width. No line is filled up with blanks."""
    width = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    wide = Console(file=console.file, force_terminal=console.is_terminal, emoji=False, width=max(width, console.width))
    _print_lines(wide, wide.render_lines(table, wide.options, pad=False), soft_wrap=True)


def fitted(console: Console, shown: RenderableType) -> None:
    """Print within the width of the console; no line is filled up with blanks."""
    _print_lines(console, console.render_lines(shown, console.options.update(no_wrap=False, overflow="fold"), pad=False))


def _print_lines(console: Console, lines: list[list[Segment]], soft_wrap: bool = False) -> None:
    for line in lines:
        text = Text.assemble(*((segment.text, segment.style or "") for segment in line))
        text.rstrip()
        console.print(text, soft_wrap=soft_wrap, highlight=False)


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


def duration(seconds: float) -> str:
    """`8.2 s`, `95 s`, `12 min`, `3.4 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"


def volume(count: float) -> str:
    """Bytes: `12 KiB`, `0.4 MiB`, `31 MiB`, `2.9 GiB`."""
    power, unit = (30, "GiB") if count >= 2**30 else (20, "MiB") if count >= 2**20 / 10 else (10, "KiB")
    number = count / 2**power
    return f"{number:.{0 if number >= 10 else 1}f} {unit}"


def counted(entries: Sequence[Entry]) -> str:
    """`153 stages: 120 done, 20 cached, 1 failed, 12 blocked`: every state that a stage is in, in this order."""
    counts = Counter(entry.state for entry in entries)
    return f"{plural(len(entries), 'stage')}: " + ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])


def causes(entries: Sequence[Entry]) -> list[str]:
    """What failed and why, one line for all of a stage that failed alike."""
    alike: dict[tuple[str, str], list[str]] = {}  # labels
    for entry in entries:
        if entry.state == "failed":
            alike.setdefault((entry.label.split("/")[0], entry.why), []).append(entry.label)
    return [
        f"{labels[0]}: {why}" + (f"  (and {len(labels) - 1} more of {stage})" if len(labels) > 1 else "")
        for (stage, why), labels in alike.items()
    ]


def again(sweep: str, entries: Sequence[Entry]) -> str:
    """The command that runs what is missing, with a setting that was the cause."""
    sets = [option for option in (LONGER, ALONE) if any(option in entry.why for entry in entries if entry.state == "failed")]
    return " ".join(["palms rerun", sweep, *sets])


def read_all(files: Sequence[Path], read: Callable[[Path], list[Said]]) -> list[Said]:
    """What all of the files say. Raises BadInput: whatever is wrong with any of them."""
    found: list[Said] = []
    problems: list[str] = []
    for path in files:
        try:
            found += read(path)
        except BadInput as wrong:
            problems += wrong.lines
    if problems:
        raise BadInput(*problems)
    return found


def positions_of(file: Path, given: Path | None) -> dict[str, Position]:
    """The positions that a file is of: those that are named, those that lie beside it, or the shipped ones, which is said."""
    found = given or positions_beside(file)
    if found is None:
        found = CONFIGS / "positions.yaml"
        err.print(
            f"positions: the shipped ones; --positions names others than {found}", style="dim", highlight=False, markup=False
        )
    return load_positions(found)


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
