"""What the tables and tools have in common: the guide that goes with them, what is shown together, and what an answer says.

Knows the names of the questions, and which spellings of an answer are accepted. Leaves files, and where in them an answer stands, to each form.
In mode rank the texts of a block are shown together, and the names of the questions about each end in its number: `rank_2`, `is_answer_2`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from configs.problems import BadInput
from tasks.datasets.importing import records
from tasks.ratings import words
from tasks.ratings.collected import Given
from tasks.ratings.project import RANK, Item, Packet, Project

RATING, RANKING, IS_ANSWER, SKIP, COMMENT = "rating", "rank", "is_answer", "skip", "comment"
SAID = {"yes": True, "y": True, "true": True, "1": True, "no": False, "n": False, "false": False, "0": False}
LAST_RANK = 999  # what a spreadsheet makes of a date is larger
GUIDE = "instructions.md"

Value = TypeVar("Value")
Answers = Mapping[str, Any]


# ---- what goes out ---------------------------------------------------------------------------------------------------


def numbers(project: Project) -> str:
    """The name of the question that a number answers."""
    return RANKING if project.mode == RANK else RATING


def ends(project: Project) -> list[str]:
    """How the names of questions end: one ending for each text that is shown together, as many as the largest block has."""
    if project.mode != RANK:
        return [""]
    most = max((len(shown) for packet in project.packets for shown in together(project, packet)), default=0)
    return [f"_{number}" for number in range(1, most + 1)]


def together(project: Project, packet: Packet) -> list[tuple[Item, ...]]:
    """The items of a packet as they are shown, in its order: each alone, or in mode rank those of a block."""
    if project.mode != RANK:
        return [(item,) for item in packet.items]
    blocks: dict[str, list[Item]] = {}
    for item in packet.items:
        blocks.setdefault(item.block, []).append(item)
    return [tuple(block) for block in blocks.values()]


def guide(project: Project, how: Sequence[str]) -> str:
    """Markdown for raters: the task, both questions with their answers, the positions. `how`: paragraphs on this form."""
    ranking = project.mode == RANK
    scale = (
        [] if ranking else [words.HOW_WELL, "", *(f"- **{number}**: {meaning}" for number, meaning in words.SCALE.items()), ""]
    )
    lines = [
        f"# {words.TITLE}",
        "",
        words.WARNING,
        "",
        words.RANKING if ranking else words.TASK,
        "",
        words.IS_ANSWER,
        "",
        *(f"- {meaning}" for meaning in words.IS_AN_ANSWER.values()),
        "",
        *scale,
        "You may skip a text, for one of these reasons:",
        "",
        *(f"- `{name}`: {meaning}" for name, meaning in words.SKIPPED.items()),
        "",
        *(line for paragraph in how for line in (paragraph, "")),
        *(["## Positions", ""] if project.positions else []),
        *(f"- **{category}**: " + said.replace("\n", "\n  ") for category, said in project.positions.items()),
    ]
    return "\n".join(lines) + "\n"


def written(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Files of these names inside the folder, as UTF-8 with line feeds on any system."""
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return [folder / name for name in texts]


# ---- what comes back -------------------------------------------------------------------------------------------------


def rows_of(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """The rows of a table or objects of a list with the line that each ends on, by lower-case names; rows that say nothing are left out.

    Raises BadInput: the file cannot be read, or holds no row.
    """
    found = [
        (line, {named(key): value for key, value in row.items() if named(key)})
        for line, row in records(path, [])
        if any(text_of(value) for value in row.values())
    ]
    if not found:
        raise BadInput(f"{path}: holds no row; a line for each text is required")
    return found


def named(heading: Any) -> str:
    return text_of(heading).casefold().replace(" ", "_")


def require(path: object, wanted: Iterable[str], there: Iterable[str]) -> None:
    """Raises BadInput: a line that names the columns that are missing and those that are there."""
    known = sorted(set(there))
    if missing := [name for name in wanted if name not in known]:
        raise BadInput(f"{path}: has no column {', '.join(missing)}; there are {', '.join(known)}")


def read_answers(
    items: Sequence[str], answers: Answers, rater: str, where: Callable[[str], str], wrong: list[str], **further: Any
) -> Iterator[Given]:
    """What is said of the items that were shown together; those of which nothing is said are left out.

    where: the place of an answer, by the name of its question. wrong: takes a line for every answer that cannot be accepted.
    further: what else is known of each, as `Given` has it.
    """
    for number, item in enumerate(items, 1):
        faults = len(wrong)
        rating = _taken(answers, RATING, number, rating_of, where, wrong)
        rank = _taken(answers, RANKING, number, rank_of, where, wrong)
        is_answer = _taken(answers, IS_ANSWER, number, yes_or_no, where, wrong)
        skipped = _taken(answers, SKIP, number, why_skipped, where, wrong) or ""
        if skipped and (rating is not None or rank is not None):
            told = f"{RATING} {rating}" if rank is None else f"{RANKING} {rank}"
            wrong.append(f"{where(SKIP)}: item {item} has {told} and is skipped ({skipped}); one of both is accepted")
        given = Given(
            item=item,
            rater=rater,
            place=where(RATING if rank is None else RANKING),
            rating=rating,
            is_answer=is_answer,
            rank=rank,
            skipped=skipped,
            comment=text_of(answers.get(COMMENT)),
            **further,
        )
        if len(wrong) == faults and not given.says_nothing:
            yield given


def always(place: str) -> Callable[[str], str]:
    """The place of every answer, where a form knows no closer one."""
    return lambda _: place


def _taken(
    answers: Answers, name: str, number: int, accept: Callable[[Any], Value], where: Callable[[str], str], wrong: list[str]
) -> Value | None:
    asked = f"{name}_{number}" if f"{name}_{number}" in answers else name
    try:
        return accept(answers.get(asked))
    except ValueError as required:
        said = text_of(answers[asked])
        wrong.append(f"{where(asked)}: {asked} {said[:40] + '…' * (len(said) > 40)!r}; {required}")
        return None


def rating_of(value: Any) -> int | None:
    """4 of 4, `4`, `4.0` and ` 4 `, None of nothing. Raises ValueError, as the others do, that says what is accepted."""
    least, most = min(words.SCALE), max(words.SCALE)
    return _whole(value, least, most, f"a whole number from {least} to {most} is accepted")


def rank_of(value: Any) -> int | None:
    return _whole(value, 1, LAST_RANK, f"a whole number from 1 for the best to {LAST_RANK} is accepted")


def yes_or_no(value: Any) -> bool | None:
    said = _plain(value)
    if said and said not in SAID:
        raise ValueError(f"yes or no is accepted ({', '.join(SAID)} in any case)")
    return SAID.get(said)


def why_skipped(value: Any) -> str:
    """The reason; `other` of a mere yes, empty of a no."""
    said = _plain(value)
    if said and said not in words.SKIPPED and said not in SAID:
        raise ValueError(f"{', '.join(words.SKIPPED)} are accepted")
    return said if said in words.SKIPPED else "other" if SAID.get(said) else ""


def text_of(value: Any) -> str:
    """As a cell shows it, without blanks around it."""
    return "" if value is None else str(value).replace("\u00a0", " ").strip()


def _whole(value: Any, least: int, most: int, required: str) -> int | None:
    said = text_of(value)
    if not said:
        return None
    if not re.fullmatch(r"[0-9]{1,6}(\.0+)?", said) or not least <= int(float(said)) <= most:
        raise ValueError(required)
    return int(float(said))


def _plain(value: Any) -> str:
    """In lower case, and a number that a spreadsheet made of a whole one as that."""
    return text_of(value).casefold().removesuffix(".0")
