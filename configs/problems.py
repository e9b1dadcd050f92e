"""Bad input, as one line each: what, where, and what would be accepted. Raised before any stage starts; exit status 2."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable


class BadInput(ValueError):
    """Everything found wrong with what the user gave, one line a problem."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean "epochs"?` when something known is close, else the list of what is known."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f'did you mean "{close[0]}"?' if close else f"known: {', '.join(known) or 'none'}"


def accepted(given: str, names: Collection[str]) -> str:
    """Everything that would be accepted, with the closest first: for closed, short lists."""
    return f"{near(given, names)} accepted are {', '.join(names)}".lstrip()


def near(given: str, names: Collection[str]) -> str:
    """The closest name as a question; empty where none is close."""
    found = difflib.get_close_matches(given, names, n=1)
    return f"did you mean {found[0]!r}?" if found else ""
