"""Text as people save it: what a file, and a text inside a file, may not hold; and when two texts say the same.

Standard library only, so that every reader of datasets, prompts and configurations can ask it before any stage starts. Leaves to the
readers whether a fault stops them, and what a line has to be.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

# Cc: control characters. Cs: halves of surrogate pairs, which no UTF-8 file can hold. (U+FEFF, a byte order mark, is of class Cf.)
_CONTROLS = frozenset({"Cc", "Cs"})
_MARKUP = re.compile(r"</?[A-Za-z][^<>]*>|<!--|&(?:[A-Za-z]{2,8}|#\d{1,6}|#x[0-9A-Fa-f]{1,6});")


@dataclass(frozen=True)
class Fault:
    """What is wrong with one line (1-based; 0: the file as a whole), and what would be accepted."""

    line: int
    message: str


def read_text(path: Path) -> tuple[str, list[Fault]]:
    """A UTF-8 file's text with every line ended by a line feed, and the faults that were mended on the way.

    Bytes that are no UTF-8 cannot be mended: the text is then empty and the fault names their line. Raises OSError.
    """
    data = path.read_bytes()
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
    """What to say of the first control character in a text, those `allowed` left out; None if there is none."""
    bad = next((c for c in text if c == "\ufeff" or (unicodedata.category(c) in _CONTROLS and c not in allowed)), None)
    if bad is None:
        return None
    return f"holds the control character U+{ord(bad):04X}; " + (
        "of these only line feed and tab may stand" if allowed else "none may stand there"
    )


def markup(text: str) -> str | None:
    """What to say of the first HTML tag or character reference in a text; None if there is none."""
    found = _MARKUP.search(text)
    return f"holds HTML, {found[0][:30]!r}; plain text is required" if found else None


def normalised(text: str) -> str:
    """What two texts are compared by: Unicode form NFKC, case folded, words parted by one space, punctuation gone."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))
