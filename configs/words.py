"""What a word is, in any script: the one place where texts are cut into words, words are found in texts, and length is told in words.

Where blanks part words, a word is what stands between blanks and punctuation. Chinese and Japanese, Thai, Lao, Khmer and Burmese are
written without blanks, and only a dictionary knows where a word of theirs ends: there every character as a reader sees it counts as
one, and `a_word` says how many of them a word has. Of a text whose scripts have blanks nothing changes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

from configs.texts import normalised

# Characters a word has in running text, roughly; SA is what Unicode's line breaking leaves to dictionaries: Thai, Lao, Khmer, Burmese.
_A_WORD = {r"\p{Script_Extensions=Han}": 1.5, r"\p{scx=Hiragana}\p{scx=Katakana}": 2.0, r"\p{Line_Break=SA}": 3.0}
_UNBLANKED = f"[{''.join(_A_WORD)}]"
_RUN = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """The words of `normalised`, a character of a script without blanks for one."""
    return [piece for token in normalised(text).split() for piece in _pieces(token)]


def spaced(text: str) -> str:
    """`words` as a text again, in which a run of them is found by its blanks."""
    return " ".join(words(text))


def terms(text: str) -> list[str]:
    """What tells a text's subject: its words, and of a script without blanks each two characters that stand together, since a single
    one stands in too many words."""
    return [term for token in normalised(text).split() for term in _terms(_pieces(token))]


def composed(text: str) -> str:
    """A text whose letters and accents are one character where Unicode has one: é is é, however it was typed."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def folded(text: str) -> str:
    """The form in which words are looked for: composed, with case folded."""
    return composed(text.casefold())


def runs(text: str) -> list[str]:
    """The words of a text as it is: runs of letters, digits, underscores and the marks that belong to them; a character of a script
    without blanks for one. "he's" and "he-man" hold "he"."""
    if text.isascii():
        return _RUN.findall(text)
    find = _scripts().run.findall
    return [run for piece in _pieces(text) for run in find(piece)]


def standing(listed: Iterable[str], ignore_case: bool = False) -> Any:
    """A pattern (of `regex`) that finds these words and phrases where they stand as words, the longest where several do.

    Of a script without blanks, where a word ends is not known: there a word is found wherever its characters stand.
    """
    import regex

    longest_first = sorted(listed, key=len, reverse=True)
    alternatives = [
        rf"{before}(?:{'|'.join(map(regex.escape, words))}){behind}" for (before, behind), words in groupby(longest_first, _edges)
    ]
    return regex.compile("|".join(alternatives), regex.VERSION1 | (regex.IGNORECASE if ignore_case else 0))


def a_word(tokens: Sequence[str]) -> float:
    """How many of these `words` make a word of a language: 1 where blanks part them, 1.5 in Chinese, about 3 in Thai."""
    held = sum(1 / _share(token) for token in tokens)
    return len(tokens) / held if held else 1.0


def in_a_row(count: int, tokens: Sequence[str]) -> int:
    """How many of these `words` stand for `count` words of a language."""
    return round(count * a_word(tokens))


def lengths(text: str) -> tuple[int, int]:
    """How many words a text has, at least and at most: what stands between blanks; of a script without blanks, nobody can count them
    without a dictionary, and there are at most as many as characters."""
    parts = [_pieces(normalised(part).replace(" ", "")) or [part] for part in text.split()]
    fewest = sum(sum(1 / _share(piece) for piece in pieces) for pieces in parts)
    return round(fewest), sum(map(len, parts))


@dataclass(frozen=True)
class _Scripts:
    """Patterns of `regex`."""

    unblanked: Any  # a character of a script without blanks
    cut: Callable[[str], list[str]]  # a text, at each of them
    run: Any  # what `runs` finds
    a_word: list[tuple[Any, float]]  # by script, characters a word


@cache
def _scripts() -> _Scripts:
    import regex  # takes 0.03 s to import, and most texts hold no such character

    cut = regex.compile(rf"(?={_UNBLANKED})\X|(?:(?!{_UNBLANKED})\X)+")
    a_word = [(regex.compile(f"[{kind}]"), count) for kind, count in _A_WORD.items()]
    return _Scripts(regex.compile(_UNBLANKED), cut.findall, regex.compile(r"\w+"), a_word)


def _edges(word: str) -> tuple[str, str]:
    """What may not stand before a word and behind it: a letter, or of a script without blanks what belongs to its last character."""
    letter = rf"[\w--{_UNBLANKED}]"
    open_ended = [bool(_scripts().unblanked.match(end)) for end in (word[0], _pieces(word)[-1])]
    return (
        "" if open_ended[0] else rf"(?<!{letter})",
        r"(?!\p{Grapheme_Extend}|\p{GCB=SpacingMark})" if open_ended[1] else rf"(?!{letter})",
    )


def _pieces(token: str) -> list[str]:
    if token.isascii() or not _scripts().unblanked.search(token):
        return [token] if token else []
    return _scripts().cut(token)


def _terms(pieces: Sequence[str]) -> Iterator[str]:
    for at, piece in enumerate(pieces):
        if _share(piece) == 1:
            yield piece
        elif at + 1 < len(pieces) and _share(pieces[at + 1]) > 1:
            yield piece + pieces[at + 1]
        elif at == 0 or _share(pieces[at - 1]) == 1:
            yield piece  # one that stands alone


def _share(piece: str) -> float:
    if piece.isascii():
        return 1.0
    return next((count for kind, count in _scripts().a_word if kind.match(piece)), 1.0)
