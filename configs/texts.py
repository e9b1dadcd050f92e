"""Text as people save it: what a file, and a text inside a file, may not hold; and when two texts say the same.

Standard library only, so that every reader of datasets, prompts and configurations can ask it before any stage starts. Leaves to the
readers whether a fault stops them, and what a line has to be.
"""

from __future__ import annotations

import codecs
import errno
import html.entities
import re
import stat
import unicodedata
from dataclasses import dataclass
from pathlib import Path

# Cc: control characters. Cf: characters that show nothing, such as soft hyphens, which hide a copy. Cs: halves of surrogate pairs.
_CONTROLS = frozenset({"Cc", "Cf", "Cs"})
_JOINERS = "\u200c\u200d"  # of class Cf, and needed to write Persian or Hindi
# Of class Cf too, and correct: marks of direction, embeddings and isolates as far as they are closed, and the signs that enclose an Arabic
# or Syriac number. An override, which shows a text in another order than it has, is not.
_MARKS = "\u200e\u200f\u061c" + "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2"
_CLOSED_BY = dict.fromkeys("\u202a\u202b", "\u202c") | dict.fromkeys("\u2066\u2067\u2068", "\u2069")
_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,6}\U000e007f")  # of England, say
_INSIDE_A_WORD = re.compile(f"(?<=[^\\W\\d_]|[\u0900-\u0dff])[{_JOINERS}]+(?=[^\\W\\d_])")
_TAGS = (
    "a abbr article audio b blockquote body br button center code del details div em font footer form h[1-6] head header hr html i"
    " iframe img input ins label li link mark meta nav ol p pre s script section small span strong style sub summary sup svg table"
    " tbody td th thead title tr u ul video"
).replace(" ", "|")
# attributes need their "=": "if a <b and c> d" is arithmetic; one way alone to find it, or "<a ====" would take for ever
_MARKUP = re.compile(
    rf"</?(?:{_TAGS})(?:\s[^<>=]*=[^<>]*|\s*/?)>|<!--|&(?:(?P<name>[A-Za-z][A-Za-z0-9]{{1,31}})|#\d{{1,7}}|#x[0-9A-Fa-f]{{1,6}});",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Fault:
    """What is wrong with one line (1-based; 0: the file as a whole), and what would be accepted."""

    line: int
    message: str


def read_text(path: Path) -> tuple[str, list[Fault]]:
    """A UTF-8 file's text with every line ended by a line feed, and the faults that were mended on the way.

    Bytes that are no UTF-8 cannot be mended: the text is then empty and the fault names their line. Raises OSError, for what is no
    file too: a pipe may never end, and a device never does.
    """
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # reading a folder says what it is
            raise OSError(errno.EINVAL, "Not a file", str(path))
    except ValueError:  # a path that holds U+0000
        raise OSError(errno.EINVAL, "Not a path", str(path)) from None
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and len(data) % 2 == 0:
        return "", [
            Fault(1, "the file is UTF-16, which Excel writes as `Unicode Text`; save it as UTF-8 (in Excel: `CSV UTF-8`)")
        ]
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        return "", [Fault(line, f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8")]
    faults = []
    if text.startswith("\ufeff"):
        faults.append(Fault(1, "the file starts with a byte order mark; save it as UTF-8 without one"))
        text = text[1:]
    if "\r" in text:
        line = text[: text.index("\r")].count("\n") + 1
        faults.append(Fault(line, "a carriage return ends or breaks the line; end lines with a line feed alone"))
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text, faults


def control_character(text: str, allowed: str = "") -> str | None:
    """What to say of the first control or invisible character in a text, those `allowed` left out; None if there is none.

    What right-to-left and Indic scripts and emoji are written with is allowed everywhere: joiners, marks of direction, and embeddings
    and isolates that are closed on their line.
    """
    shown = _FLAG.sub("", "\n".join(map(_without_closed, text.split("\n"))))
    bad = next((c for c in shown if unicodedata.category(c) in _CONTROLS and c not in allowed + _JOINERS + _MARKS), None)
    if bad is None:
        return None
    kind = "invisible" if unicodedata.category(bad) == "Cf" else "control"
    return f"holds the {kind} character U+{ord(bad):04X}; " + (
        "of these only line feed and tab may stand" if allowed else "none may stand there"
    )


def _without_closed(line: str) -> str:
    """A line without the embeddings and isolates that are opened and closed in it, one inside the other."""
    opened, closed = list[int](), set[int]()
    for at, character in enumerate(line):
        if character in _CLOSED_BY:
            opened.append(at)
        elif opened and character == _CLOSED_BY[line[opened[-1]]]:
            closed |= {at, opened.pop()}
    return "".join(c for at, c in enumerate(line) if at not in closed) if closed else line


def markup(text: str) -> str | None:
    """What to say of the first HTML tag or character reference in a text; None if there is none. `Tom&Jerry;` names no character."""
    found = next((one for one in _MARKUP.finditer(text) if not one["name"] or f"{one['name']};" in html.entities.html5), None)
    return f"holds HTML, {found[0][:30]!r}; plain text is required" if found else None


def normalised(text: str) -> str:
    """What two texts are compared by: Unicode form NFKC, case folded, words parted by one space, punctuation gone.

    Letters, their marks, digits and symbols make a word: Hindi keeps its vowels, and C++ is not C. Joiners between letters, which only
    some writers of Persian or Hindi set, part no word.
    """
    plain = _INSIDE_A_WORD.sub("", unicodedata.normalize("NFKC", text).casefold())
    return " ".join("".join(c if unicodedata.category(c)[0] in "LMNS" else " " for c in plain).split())
