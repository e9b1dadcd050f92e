"""What the forms have in common: what is shown of a draft, the guidelines that go with it, and what an answer says.

Knows the names of the questions, and which texts a dataset takes. Leaves files, and where in them an answer stands, to each form.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from configs.rating import SCALE
from configs.texts import control_character, markup
from tasks.curation import words
from tasks.curation.annotations import TONES, Annotation
from tasks.curation.drafts import Draft
from tasks.forms.answers import Answers, Where, on_scale, one_of, taken, text_of, yes_or_no

DRAFT, CATEGORY, POSITION, CLAIMS, PROMPT, COMPLETION = "draft", "category", "position", "claims", "prompt", "completion"
CORRECTED, POSITION_HELD, FACTUAL, TONE, COMMENT = "corrected", "position_held", "factual_problem", "tone", "comment"
GUIDE = "guidelines.md"
# What a spreadsheet shows of a formula that makes no sense, in whichever language.
_ERROR = re.compile(r"#[^\W\d_][\w/]*[?!]|#N/A|#NV")


# ---- what goes out ---------------------------------------------------------------------------------------------------


def fields(draft: Draft, stated: Mapping[str, str]) -> dict[str, str]:
    """What an annotator sees of a draft."""
    return {
        CATEGORY: draft.category,
        POSITION: stated.get(draft.category, ""),
        CLAIMS: "; ".join(claim.replace("_", " ") for claim in draft.positions),
        PROMPT: draft.prompt,
        COMPLETION: draft.completion,
    }


def guide(drafts: Sequence[Draft], stated: Mapping[str, str], how: Sequence[str]) -> str:
    """With the positions of the categories that there are drafts of."""
    there = {draft.category for draft in drafts}
    return words.guidelines({category: said for category, said in stated.items() if category in there}, how)


# ---- what comes back -------------------------------------------------------------------------------------------------


def read_answers(
    draft: str, annotator: str, answers: Answers, beside: Mapping[str, Any], where: Where, wrong: list[str]
) -> Iterator[Annotation]:
    """What is said of a draft; nothing where nothing is. A completion that is as it was shown is none.

    beside: the prompt and the completion that stand beside the answers. where: the place of an answer, by the name of its question.
    wrong: takes a line for every answer that cannot be accepted.
    """
    faults = len(wrong)
    shown = _lines(beside.get(COMPLETION))
    written = taken(answers, CORRECTED, prose_of, where, wrong) or ""
    given = Annotation(
        draft,
        annotator,
        where(POSITION_HELD),
        completion="" if written == shown else written,
        position=taken(answers, POSITION_HELD, lambda value: on_scale(value, SCALE), where, wrong),
        factual=taken(answers, FACTUAL, yes_or_no, where, wrong),
        tone=taken(answers, TONE, lambda value: one_of(value, TONES), where, wrong) or "",
        comment=taken(answers, COMMENT, remark_of, where, wrong) or "",
        asked=_lines(beside.get(PROMPT)),
        shown=shown,
    )
    if len(wrong) > faults or given.says_nothing:
        return
    if draft:
        yield given
    else:
        wrong.append(f"{where(DRAFT)}: an answer without a draft; the id that stood in `{DRAFT}` is required")


def prose_of(value: Any) -> str:
    """A text as a dataset takes it. Raises ValueError, that says what is accepted."""
    if value is not None and not isinstance(value, str):
        raise ValueError("a text is accepted; a spreadsheet took it for a number or date")
    return _readable(_lines(value), "\n\t")


def remark_of(value: Any) -> str:
    """A text on one line."""
    return _readable(" ".join(_lines(value).split()), "")


def _lines(value: Any) -> str:
    return unicodedata.normalize("NFC", text_of(value).replace("\r\n", "\n").replace("\r", "\n"))


def _readable(text: str, allowed: str) -> str:
    if _ERROR.fullmatch(text):
        raise ValueError("a text is accepted; a spreadsheet took it for a formula, and an apostrophe in front keeps it a text")
    if meant := _before(text):
        raise ValueError(
            f"it was {meant[:40]!r} until a program took UTF-8 for Windows-1252; saved as UTF-8 or .xlsx it is accepted"
        )
    if "\ufffd" in text:
        raise ValueError("a character of it was lost (U+FFFD stands there); saved as UTF-8 or .xlsx it is accepted")
    if problem := control_character(text, allowed) or markup(text):
        raise ValueError(f"it {problem}")
    return text


def _before(text: str) -> str:
    """The text before a program decoded it wrongly; empty of one that reads well. Hardly any other text is UTF-8 in this way."""
    try:
        meant = text.encode("cp1252").decode("utf-8")
    except UnicodeError:
        return ""
    return "" if meant == text else meant
