"""Ratings as they come back: what one is, and what is accepted of what was read.

Knows the scale, who was asked what, and when two ratings of one rater contradict each other. Leaves reading to `formats`, and what an item is
of to the key. Nothing is accepted of a batch in which anything is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from configs.problems import BadInput
from configs.rating import SCALE
from tasks.ratings.project import Project


@dataclass(frozen=True)
class Given:
    """What one rater said of one item, and where it was read.

    rating: 1 to 5; None where it was skipped (`skipped` says why) or, in mode rank, not asked. rank: 1 is the best of its block, equal ranks
    are ties. is_answer: whether it is an answer at all; None where that was left open. seconds: from its showing to its rating; `at`: when it
    was given, as ISO 8601 in UTC; `group`: what the rater says of themselves. What a form does not know is empty.
    """

    item: str
    rater: str
    place: str  # file:line, file: sheet!cell, or whatever names it to whoever has the file open
    rating: int | None = None
    is_answer: bool | None = None
    rank: int | None = None
    skipped: str = ""
    comment: str = ""
    seconds: float | None = None
    at: str = ""
    group: str = ""
    project: str = ""  # as the form says; empty where it has no place for it

    @property
    def says_nothing(self) -> bool:
        return self.rating is None and self.rank is None and self.is_answer is None and not self.skipped

    def same_as(self, other: Given) -> bool:
        """Whether both say the same, wherever they were read."""
        said = lambda one: (one.rating, one.is_answer, one.rank, one.skipped)  # noqa: E731
        return bool(said(self) == said(other))


def accept(
    given: Iterable[Given], project: Project, known: Mapping[tuple[str, str], Given], *, revised: bool = False
) -> list[Given]:
    """What is new in a batch of ratings, by (item, rater) in that order: those that say something and are not known yet.

    revised: raters may have changed their minds since: what is known otherwise is new too. Within a batch it never may.

    Raises:
        BadInput: a line for everything that is wrong: an item or rater that the project does not have, an item that the rater was not
            given, a value off its scale, or a rating that contradicts another of the same rater for the same item.
    """
    items, asked = project.items, {(item.id, packet.rater) for packet in project.packets for item in packet.items}
    raters = [packet.rater for packet in project.packets]
    problems: list[str] = []
    found: dict[tuple[str, str], Given] = {}
    for one in given:
        if one.project and one.project != project.id:
            problems.append(f"{one.place}: of project {one.project}; this one is {project.id}, whose own files are required")
        elif one.item not in items:
            problems.append(f"{one.place}: item {one.item!r} is none of project {project.id}; an id as it went out is required")
        elif one.rater not in raters:
            problems.append(f"{one.place}: rater {one.rater!r} was not asked; {', '.join(raters)} were")
        elif (one.item, one.rater) not in asked:
            problems.append(
                f"{one.place}: {one.rater} was not given item {one.item}; a rating by {_who(project, one.item)} is accepted"
            )
        elif wrong := _off_scale(one, project):
            problems.append(f"{one.place}: {wrong}")
        elif not one.says_nothing:
            place = (one.item, one.rater)
            before = found.get(place) or (None if revised else known.get(place))
            if before is not None and not before.same_as(one):
                remedy = "one rating of a rater for an item is accepted" + (
                    "" if place in found else ", and --revised takes the new one"
                )
                problems.append(f"{one.place}: {one.rater} rated item {one.item} otherwise at {before.place}; {remedy}")
            found[one.item, one.rater] = one
    if problems:
        raise BadInput(*problems)
    return [one for place, one in sorted(found.items()) if place not in known or not known[place].same_as(one)]


def _off_scale(one: Given, project: Project) -> str:
    if one.rating is not None and one.rating not in SCALE:
        return f"rating {one.rating}; a whole number from {min(SCALE)} to {max(SCALE)} is required"
    if one.rank is not None and one.rank < 1:
        return f"rank {one.rank}; 1 for the best, 2 for the next and so on are accepted"
    if one.rank is not None and project.mode != "rank":
        return "a rank, of a project that asks for ratings from 1 to 5"
    if one.rating is not None and project.mode == "rank":
        return "a rating, of a project that asks for ranks"
    return ""


def _who(project: Project, item: str) -> str:
    return ", ".join(project.raters[item])
