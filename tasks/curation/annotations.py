"""What annotators say of drafts, and what follows from it: accepted as it is or as corrected, or held with the reason.

Knows the questions' values, when two annotations contradict each other, and when a draft may go in. Leaves the wording to `words` and the files
to `formats`. Nothing is taken of a batch in which anything is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from configs.problems import BadInput
from configs.rating import SCALE
from tasks.contract import read_jsonl
from tasks.curation.drafts import ACCEPTED, HELD, Draft

HOLDS = 4  # the rating from which an annotator takes the position to be held: "mostly matches the position"
TONES = ("right", "preachy", "cold", "flippant", "hedging")


@dataclass(frozen=True)
class Annotation:
    """What one annotator said of one draft, and where it was read; None and empty: not said.

    completion: as corrected; empty where it stays as it was. position: from 1 to 5, how well the answer, as corrected, holds the position.
    factual: whether it says something that is wrong or that nothing supports. tone: one of TONES.
    """

    draft: str
    annotator: str
    place: str
    completion: str = ""
    position: int | None = None
    factual: bool | None = None
    tone: str = ""
    comment: str = ""

    @property
    def is_whole(self) -> bool:
        return self.position is not None and self.factual is not None and bool(self.tone)

    @property
    def says_nothing(self) -> bool:
        return self.position is None and self.factual is None and not (self.completion or self.tone or self.comment)

    def same_as(self, other: Annotation) -> bool:
        """Whether both say the same, wherever they were read."""
        return replace(self, place="") == replace(other, place="")


Known = Mapping[tuple[str, str], Annotation]  # by (draft, annotator)


def accept(given: Iterable[Annotation], drafts: Sequence[Draft], known: Known) -> dict[tuple[str, str], Annotation]:
    """What is known with what is new. An annotation that was given before in part is taken with what was added since.

    Raises:
        BadInput: a line for everything that is wrong: a draft that is none of these, a value off its scale, two annotations of one
            annotator for a draft that contradict each other.
    """
    names, found, problems = {draft.id for draft in drafts}, dict(known), list[str]()
    for one in given:
        if one.says_nothing:
            continue
        before = found.get((one.draft, one.annotator))
        if one.draft not in names:
            problems.append(f"{one.place}: draft {one.draft!r} is none of these; an id as it went out is required")
        elif one.position is not None and one.position not in SCALE:
            problems.append(f"{one.place}: position {one.position}; a whole number from {min(SCALE)} to {max(SCALE)} is required")
        elif one.tone and one.tone not in TONES:
            problems.append(f"{one.place}: tone {one.tone!r}; {', '.join(TONES)} are accepted")
        elif before is not None and (said := _contradicted(before, one)):
            problems.append(
                f"{one.place}: {one.annotator} says another {said} of draft {one.draft} than at {before.place}; "
                "one annotation of an annotator for a draft is accepted"
            )
        else:
            found[one.draft, one.annotator] = one if before is None else _together(before, one)
    if problems:
        raise BadInput(*problems)
    return found


def decided(draft: Draft, said: Sequence[Annotation], wanted: int) -> Draft:
    """A draft with what follows from its annotations: accepted where at least `wanted` annotators all find the position held, nothing
    wrong in it and the tone right, in one and the same wording; otherwise held. One without any annotation stays as it is."""
    if not said:
        return draft
    annotators = tuple(sorted(one.annotator for one in said))
    wordings = sorted({one.completion for one in said if one.completion})
    written = wordings[0] if len(wordings) == 1 else draft.completion
    why = "; ".join(_against(said, wordings, written, wanted))
    return replace(draft, completion=written, annotators=annotators, decision=HELD if why else ACCEPTED, why=why)


def _against(said: Sequence[Annotation], wordings: Sequence[str], written: str, wanted: int) -> Iterable[str]:
    whole = [one for one in said if one.is_whole]
    if len(whole) < wanted:
        yield f"{len(whole)} of {wanted} annotations are whole"
    if not written:
        yield "its completion is to be written"
    if len(wordings) > 1:
        yield f"corrected differently by {_who(one for one in said if one.completion)}"
    if low := [one for one in said if one.position is not None and one.position < HOLDS]:
        yield f"position held {', '.join(str(one.position) for one in low)} of {max(SCALE)} ({_who(low)})"
    if wrong := [one for one in said if one.factual]:
        yield f"factual problem ({_who(wrong)})"
    for tone in TONES[1:]:
        if those := [one for one in said if one.tone == tone]:
            yield f"tone {tone} ({_who(those)})"


def _who(said: Iterable[Annotation]) -> str:
    return ", ".join(f"{one.annotator}: {one.comment}" if one.comment else one.annotator for one in said)


def _contradicted(before: Annotation, after: Annotation) -> str:
    """The first question that both answer, and not alike; empty where there is none."""
    for name in ("completion", "position", "factual", "tone"):
        first, second = getattr(before, name), getattr(after, name)
        if first not in (None, "") and second not in (None, "") and first != second:
            return name
    return ""


def _together(before: Annotation, after: Annotation) -> Annotation:
    said = {name: value for name, value in asdict(after).items() if value not in (None, "")}
    return replace(before, **said)


# ---- the file ----------------------------------------------------------------------------------------------------------------


def write_annotations(path: Path, found: Known) -> None:
    path.write_text(
        "".join(json.dumps(asdict(found[place]), ensure_ascii=False, sort_keys=True) + "\n" for place in sorted(found)),
        encoding="utf-8",
    )


def read_annotations(path: Path) -> dict[tuple[str, str], Annotation]:
    """Raises BadInput: the file is damaged."""
    try:
        return {(one.draft, one.annotator): one for one in (Annotation(**row) for row in read_jsonl(path))}
    except (ValueError, TypeError) as error:
        raise BadInput(f"{path}: damaged ({error}); remove it, and import the annotations again from their files") from None
