"""What a model wrote, on a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from flows.commands.show import beside
from flows.commands.words import harmless
from tasks.compare.answers import answers
from tests.imagined import OUTCOME, build, names


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("back\rward\b\t\x9b2J", r"back\rward\x08\t\x9b2J"),
        ("one\r\ntwo\nthree", "one\ntwo\nthree"),
        ("ab\u202ecd\u2066ef", r"ab\u202ecd\u2066ef"),
        ("שלום 👩‍👩‍👧 é\u0301", "שלום 👩‍👩‍👧 é\u0301"),
        ("\ud83d", r"\ud83d"),
    ],
)
def test_what_would_steer_a_terminal_stands_there_as_its_number(text: str, shown: str) -> None:
    assert harmless(text) == shown


def test_arms_stand_beside_one_another_where_there_is_room(tmp_path: Path) -> None:
    held = next(
        answers(build(tmp_path, dict.fromkeys(names(2), 0.25), ("[bold]so[/bold] \x1b[2J", "x" * 3000)).found().sources, OUTCOME)
    )
    printed = {}
    for width in (80, 40):
        console = Console(width=width, force_terminal=True, color_system=None)
        with console.capture() as caught:
            console.print(beside(held, "p-000", 1, width))
        printed[width] = [line.split() for line in caught.get().splitlines()]
    assert printed[80][0] == ["base", "values-targeted", "control"]
    assert printed[80][1] == ["[bold]so[/bold]", r"\x1b[2J"] * 3
    assert [line for line in printed[40] if line in (["base"], ["values-targeted"], ["control"])] == [
        ["base"],
        ["values-targeted"],
        ["control"],
    ]
    console = Console(width=80, color_system=None)
    for many, cut in ((1, True), (None, False)):
        with console.capture() as caught:
            console.print(beside(held, "p-001", many, 80))
        assert ("more" in caught.get()) is cut
        assert (caught.get().count("x") > 3000 * 3) is not cut
