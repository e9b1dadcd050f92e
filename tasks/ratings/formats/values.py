"""What the tables and tools have in common: the guide that goes with them, what is shown together, and what an answer says.

Knows the names of the questions, and which answers are accepted. Leaves files, and where in them an answer stands, to each form.
In mode rank the texts of a block are shown together, and the names of the questions about each end in its number: `rank_2`, `is_answer_2`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tasks.forms.answers import SAID, Answers, Value, Where, on_scale, plain, taken, text_of, whole, yes_or_no
from tasks.ratings import words
from tasks.ratings.collected import Given
from tasks.ratings.project import RANK, Item, Packet, Project

RATING, RANKING, IS_ANSWER, SKIP, COMMENT = "rating", "rank", "is_answer", "skip", "comment"
LAST_RANK = 999  # what a spreadsheet makes of a date is larger
GUIDE = "instructions.md"


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


# ---- what comes back -------------------------------------------------------------------------------------------------


def read_answers(
    items: Sequence[str], answers: Answers, rater: str, where: Where, wrong: list[str], **further: Any
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


def _taken(
    answers: Answers, name: str, number: int, accept: Callable[[Any], Value], where: Where, wrong: list[str]
) -> Value | None:
    numbered = f"{name}_{number}"
    return taken(answers, numbered if numbered in answers else name, accept, where, wrong)


def rating_of(value: Any) -> int | None:
    return on_scale(value, words.SCALE)


def rank_of(value: Any) -> int | None:
    return whole(value, 1, LAST_RANK, f"a whole number from 1 for the best to {LAST_RANK} is accepted")


def why_skipped(value: Any) -> str:
    """The reason; `other` of a mere yes, empty of a no."""
    said = plain(value)
    if said and said not in words.SKIPPED and said not in SAID:
        raise ValueError(f"{', '.join(words.SKIPPED)} are accepted")
    return said if said in words.SKIPPED else "other" if SAID.get(said) else ""
