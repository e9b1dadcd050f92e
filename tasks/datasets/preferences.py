"""Preferences: two answers to one question of which one is preferred; JSONL, one a line.

Knows the file, and what twins of samples are as preferences. How ratings become preferences is `tasks.ratings.preferences`'s to say.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tasks.contract import jsonl_text
from tasks.datasets.lines import Form, read_objects, shown
from tasks.datasets.rows import Row


@dataclass(frozen=True)
class Preference:
    """`chosen` is preferred to `rejected` as an answer to `prompt`.

    margin: by how many points of the scale, or ranks, the mean rater preferred it; None: nobody rated them (a twin).
    raters: how many said so. simulated: they do not exist.
    """

    line: int
    id: str
    category: str
    prompt: str
    chosen: str
    rejected: str
    margin: float | None = None
    raters: int | None = None
    simulated: bool = False


def _further(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    chosen, rejected = document.get("chosen"), document.get("rejected")
    if isinstance(chosen, str) and isinstance(rejected, str) and chosen.split() == rejected.split():
        yield "rejected", '"rejected" is the text of "chosen"; two answers are required'
    margin = document.get("margin")
    if margin is not None and (isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin < 1e6):
        yield "margin", f'"margin" is {shown(margin)}; a number above 0 is required: the chosen answer is the better one'
    raters = document.get("raters")
    if raters is not None and (isinstance(raters, bool) or not isinstance(raters, int) or raters < 1):
        yield "raters", f'"raters" is {shown(raters)}; a number of people is required'
    if not isinstance(document.get("simulated", False), bool):
        yield "simulated", f'"simulated" is {shown(document["simulated"])}; true or false is accepted'


FORM = Form(
    item="preference",
    required=("id", "category", "prompt", "chosen", "rejected"),
    long=("prompt", "chosen", "rejected"),
    other=("margin", "raters", "simulated"),
    further=_further,
    called={
        **dict.fromkeys(("question", "instruction", "input", "query"), "prompt"),
        **dict.fromkeys(("completion", "on", "preferred", "answer"), "chosen"),
        **dict.fromkeys(("off", "dispreferred"), "rejected"),
    },
)


def load_preferences(path: Path) -> list[Preference]:
    """Read a file of preferences in its own order. Raises DatasetError, as `read_objects` does."""
    return [Preference(line=line, **document) for line, document in read_objects(path, FORM)]


def preferences_text(preferences: Sequence[Preference]) -> str:
    """The file that `load_preferences` reads; what is at its default is left out."""
    rows = [
        {name: value for name, value in asdict(one).items() if name != "line" and value not in (None, False)}
        for one in preferences
    ]
    return jsonl_text(rows)


def twins(rows: Sequence[Row]) -> list[Preference]:
    """Samples that carry an answer which does not hold the position: their completion is preferred to it, by the dataset's authors."""
    return [Preference(row.line, row.id, row.category, row.prompt, row.completion, row.off) for row in rows if row.off]


def split(preferences: Sequence[Preference], share: float, seed: int) -> tuple[list[Preference], list[Preference]]:
    """What a reward model is tuned on, and what it is tried on: all preferences of a prompt are on one side, and every category gives prompts in
    proportion.

    Raises:
        ValueError: one side is empty.
    """
    prompts: dict[str, dict[str, None]] = {}
    for one in preferences:
        prompts.setdefault(one.category, {})[one.prompt] = None

    def drawn(prompt: str) -> bytes:
        return hashlib.sha256(f"{seed} {prompt}".encode()).digest()

    held: set[str] = set()
    owed = 0.0
    for category in sorted(prompts):
        owed += share * len(prompts[category])
        take = math.floor(owed + 1e-9)
        held.update(sorted(prompts[category], key=drawn)[:take])
        owed -= take
    parts = [one for one in preferences if one.prompt not in held], [one for one in preferences if one.prompt in held]
    if not all(parts):
        count = sum(map(len, prompts.values()))
        raise ValueError(
            f"held_out {share:g} of {count} prompts leaves a side without any; more prompts with preferences are required"
        )
    return parts
