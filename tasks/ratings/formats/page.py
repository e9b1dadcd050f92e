"""A page a rater, in one file: it opens from a disk without a network, keeps what is said in the browser, and gives it back as JSON.

Knows how the page is put together and how a file that it saved is read. How it behaves is in `page.js`; what it says to raters is
`tasks.ratings.words`'. Texts of models reach the page as data alone, and are set as text there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from markupsafe import Markup

from configs.plain import short
from configs.problems import BadInput
from configs.texts import read_text
from tasks.drawing.page import packaged, page_style, rendered
from tasks.ratings import words
from tasks.ratings.collected import Given
from tasks.ratings.project import RANK, Packet, Project

PACKAGE = "tasks.ratings.formats"
WRITTEN = "a file that the rating page saved"


def write(project: Project, folder: Path) -> list[Path]:
    """`<folder>/<rater>.html` for each rater, in the project's order; the folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for packet in project.packets:
        files.append(folder / f"{packet.rater}.html")
        files[-1].write_text(render(project, packet), encoding="utf-8", newline="\n")
    return files


def render(project: Project, packet: Packet, save_to: str = "", saved: Mapping[str, Any] | None = None) -> str:
    """The page of one rater. `save_to`: where on its own server it posts what is said, besides keeping it; a page from a disk has none.
    `saved`: what the rater has said so far, as the page saves it; it counts by the rules of a file that is loaded: of a text, what was said last.
    """
    style, script = page_style() + Markup(packaged(PACKAGE, "page.css")), Markup(packaged(PACKAGE, "page.js"))
    allowed = [f"script-src '{_hash(script)}'", f"style-src '{_hash(style)}'", *(["connect-src 'self'"] if save_to else [])]
    categories = {item.category for item in packet.items}
    held = {
        "project": project.id,
        "rater": packet.rater,
        "mode": project.mode,
        "items": [vars(item) for item in packet.items],
        "positions": {category: project.positions.get(category, "") for category in sorted(categories)},
    }
    return rendered(
        PACKAGE,
        "page.html.j2",
        policy="; ".join(["default-src 'none'", *allowed, "base-uri 'none'", "form-action 'none'"]),
        held=_embedded(held),
        saved=_embedded(saved) if saved else "",
        project=project,
        rater=packet.rater,
        ranking=project.mode == RANK,
        save_to=save_to,
        script=script,
        style=style,
        words=words,
    )


def read(path: Path) -> list[Given]:
    """What a file that a page saved says, signed off or not; a line break or byte order mark of another system is accepted.

    Raises:
        BadInput: a line for everything that makes it no such file: with the line where it is no JSON, else with `ratings[3].rating`.
    """
    try:
        text, faults = read_text(path)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}; {WRITTEN} is required") from None
    if faults and not text:
        raise BadInput(*(f"{path}:{fault.line}: {fault.message}" for fault in faults))
    try:
        saved = json.loads(text, parse_constant=_no_number)
    except json.JSONDecodeError as broken:
        told = f"not JSON: {broken.msg} at column {broken.colno}"
        raise BadInput(f"{path}:{broken.lineno}: {told}; {WRITTEN} is required, whole and as it is") from None
    except (ValueError, RecursionError) as broken:  # NaN, a number of too many digits, too deep nesting
        raise BadInput(f"{path}: not JSON: {broken}; {WRITTEN} is required, whole and as it is") from None
    problems = [f"{path}: {problem}" for problem in problems_of(saved)]
    if problems:
        raise BadInput(*problems)
    return [
        Given(
            item=one["item"],
            rater=saved["rater"],
            place=f"{path}: ratings[{index}]",
            rating=one["rating"],
            is_answer=one["is_answer"],
            rank=one["rank"],
            skipped=one["skipped"],
            comment=one["comment"],
            seconds=one["seconds"],
            at=one["at"],
            group=saved["group"],
            project=saved["project"],
        )
        for index, one in enumerate(saved["ratings"])
    ]


def problems_of(saved: Any) -> Iterator[str]:
    """What makes it no file that a page saves, a line each."""
    if not isinstance(saved, dict):
        yield f"{_shown(saved)}; an object with {', '.join(_FILE)} is required"
        return
    yield from _wrong(saved, _FILE, "")
    ratings = saved.get("ratings")
    for index, one in enumerate(ratings if isinstance(ratings, list) else []):
        if isinstance(one, dict):
            yield from _wrong(one, FIELDS, f"ratings[{index}].")
        else:
            yield f"ratings[{index}]: {_shown(one)}; an object with {', '.join(FIELDS)} is required"


def _wrong(found: dict[str, Any], fields: Mapping[str, tuple[Callable[[Any], bool], str]], where: str) -> Iterator[str]:
    for name, (fits, wanted) in fields.items():
        if name not in found:
            yield f"{where}{name}: is missing; {wanted} is required"
        elif not fits(found[name]):
            yield f"{where}{name}: {_shown(found[name])}; {wanted} is required"


def _shown(value: Any) -> str:
    return short(json.dumps(value, ensure_ascii=False))


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _whole(value: Any) -> bool:
    return value is None or type(value) is int  # True is an int too


def _seconds(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and 0 <= value < math.inf)


def _time(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value).utcoffset() == timedelta(0)
    except (TypeError, ValueError):
        return False


_TIME = "a time in UTC such as 2026-01-31T09:30:00Z"
_FILE: dict[str, tuple[Callable[[Any], bool], str]] = {
    "project": (_name, "the project's id"),
    "rater": (_name, "the rater's name"),
    "mode": (lambda value: value in ("rate", "rank"), "rate or rank"),
    "group": (_text, "a text, which may be empty,"),
    "signed_off": (lambda value: value is None or _time(value), f"{_TIME}, or null"),
    "ratings": (lambda value: isinstance(value, list), "a list"),
}
FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "item": (_name, "an item's id"),
    "rating": (_whole, f"a whole number from {min(words.SCALE)} to {max(words.SCALE)}, or null,"),
    "is_answer": (lambda value: value is None or isinstance(value, bool), "true, false or null"),
    "rank": (_whole, "a whole number from 1, or null,"),
    "skipped": (
        lambda value: value == "" or (_text(value) and value in words.SKIPPED),
        f"one of {', '.join(words.SKIPPED)}, or an empty text,",
    ),
    "comment": (_text, "a text, which may be empty,"),
    "seconds": (_seconds, "a number from 0, or null,"),
    "at": (_time, _TIME),
}


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _embedded(held: Any) -> Markup:
    """As JSON in ASCII that no reader of HTML takes for a tag or a comment, whatever the texts hold."""
    text = json.dumps(held, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _hash(text: str) -> str:
    """As a content security policy names what it allows."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
