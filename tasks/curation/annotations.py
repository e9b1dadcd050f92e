"""What annotators say of drafts, and what follows from it: accepted as it is or as corrected, or held with the reason.

Knows the questions' values, when two annotations contradict each other, and when a draft may go in. Leaves the wording to `words` and the files
to `formats`. Nothing is taken of a batch in which anything is wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from configs.problems import BadInput
from configs.rating import SCALE
from tasks.contract import jsonl_text, read_jsonl, replace_file
from tasks.curation.drafts import ACCEPTED, HELD, Draft

HOLDS = 4  # the rating from which an annotator takes the position to be held: "mostly matches the position"
TONES = ("right", "preachy", "cold", "flippant", "hedging")


@dataclass(frozen=True)
class Annotation:
    """What one annotator said of one draft, and where it was read; None and empty: not said.

    completion: as corrected; empty where it stays as it was. position: from 1 to 5, how well the answer, as corrected, holds the position.
    factual: whether it says something that is wrong or that nothing supports. tone: one of TONES. asked, shown: the prompt and the completion
    that stood beside it; they tell rows whose cells were sorted apart, and which wording was read.
    """

    draft: str
    annotator: str
    place: str
    completion: str = ""
    position: int | None = None
    factual: bool | None = None
    tone: str = ""
    comment: str = ""
    asked: str = ""
    shown: str = ""

    @property
    def is_whole(self) -> bool:
        return self.position is not None and self.factual is not None and bool(self.tone)

    @property
    def says_nothing(self) -> bool:
        return self.position is None and self.factual is None and not (self.completion or self.tone or self.comment)

    @property
    def read(self) -> str:
        """The wording that it is of; empty where a form did not show one."""
        return self.completion or self.shown


Known = Mapping[tuple[str, str], Annotation]  # by (draft, annotator)


def accept(given: Iterable[Annotation], drafts: Sequence[Draft], known: Known) -> dict[tuple[str, str], Annotation]:
    """What is known with what is new. An annotation that was given before in part is taken with what was added since; one of another wording
    of the draft takes the place of what its annotator said of the old one.

    Raises:
        BadInput: a line for everything that is wrong: a draft that is none of these, a value off its scale, two annotations of one
            annotator for a draft that contradict each other, texts beside it that are not the draft's.
    """
    given = list(given)
    of, found, problems = {draft.id: draft for draft in drafts}, dict(known), list[str]()
    corrected = {
        (one.draft, one.completion) for one in (*known.values(), *given)
    }  # a draft may have gone out before it was corrected
    for one in given:
        if one.says_nothing:
            continue
        before = found.get((one.draft, one.annotator))
        if before is not None and before.shown and one.shown and not _alike(before.shown, one.shown):
            before = None
        if fault := _fault(one, of.get(one.draft), corrected, before):
            problems.append(f"{one.place}: {fault}")
        else:
            kept = replace(one, asked="")
            found[one.draft, one.annotator] = kept if before is None else _together(before, kept)
    if problems:
        raise BadInput(*problems)
    return found


def _fault(one: Annotation, draft: Draft | None, corrected: Collection[tuple[str, str]], before: Annotation | None) -> str:
    """What is wrong with it; empty of what may be taken."""
    if draft is None:
        return f"draft {one.draft!r} is none of these; an id as it went out is required"
    if one.position is not None and one.position not in SCALE:
        return f"position {one.position}; a whole number from {min(SCALE)} to {max(SCALE)} is required"
    if one.tone and one.tone not in TONES:
        return f"tone {one.tone!r}; {', '.join(TONES)} are accepted"
    if one.asked and not _alike(one.asked, draft.prompt):
        told = "rows are accepted whole, as they were sorted and saved together, as UTF-8 or .xlsx"
        return f"the prompt beside it, {one.asked[:40]!r}, is not that of draft {draft.id}; {told}"
    if one.shown and not _alike(one.shown, draft.completion) and (draft.id, draft.completion) not in corrected:
        told = "what is to stand in its place is accepted under the question for it"
        return f"the completion beside it, {one.shown[:40]!r}, is not that of draft {draft.id}; {told}"
    if before is not None and (said := _contradicted(before, one)):
        told = f"{one.annotator} says another {said} of draft {one.draft} than at {before.place}"
        return f"{told}; one annotation of an annotator for a draft is accepted"
    return ""


def _alike(text: str, other: str) -> bool:
    return text.split() == other.split()


def decided(draft: Draft, said: Sequence[Annotation], wanted: int) -> Draft:
    """A draft with what follows from its annotations: accepted where at least `wanted` annotators have read it in one and the same wording and
    all of them find the position held, nothing wrong in it and the tone right; otherwise held. One without any annotation stays as it is.

    Annotations of a wording that the draft no longer has say nothing of it.
    """
    if not said:
        return draft
    said = [one for one in said if not one.shown or any(_alike(text, draft.completion) for text in (one.shown, one.completion))]
    wordings = sorted({one.completion for one in said if one.completion})
    written = wordings[0] if len(wordings) == 1 else draft.completion
    of_it = said if len(wordings) > 1 else [one for one in said if not one.read or _alike(one.read, written)]
    annotators = tuple(sorted(one.annotator for one in of_it))
    why = "; ".join(_against(of_it, wordings, written, wanted))
    return replace(draft, completion=written, annotators=annotators, decision=HELD if why else ACCEPTED, why=why)


def _against(said: Sequence[Annotation], wordings: Sequence[str], written: str, wanted: int) -> Iterable[str]:
    whole = [one for one in said if one.is_whole]
    if len(whole) < wanted:
        yield f"{len(whole)} of {wanted} annotations are whole and of the text as it stands"
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
    return replace(before, **_said(after))


def _said(one: Annotation) -> dict[str, Any]:
    return {name: value for name, value in asdict(one).items() if value not in (None, "")}


# ---- the file ----------------------------------------------------------------------------------------------------------------


def write_annotations(path: Path, found: Known) -> None:
    """What was not said is left out."""
    replace_file(path, jsonl_text([_said(found[place]) for place in sorted(found)]))


def read_annotations(path: Path) -> dict[tuple[str, str], Annotation]:
    """Raises BadInput: the file is damaged."""
    try:
        rows = [TypeAdapter(Annotation).validate_python(row) for row in read_jsonl(path)]
        return {(one.draft, one.annotator): one for one in rows}
    except ValueError as error:
        raise BadInput(
            f"{path}: damaged ({' '.join(str(error).split())[:200]}); remove it, and import the annotations again from their files"
        ) from None
