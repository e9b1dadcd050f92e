"""What a word is, in any script: the one place where texts are cut into words, and their length is told in words.

Where blanks part words, a word is what stands between blanks and punctuation. Chinese and Japanese, Thai, Lao, Khmer and Burmese are
written without blanks, and only a dictionary knows where a word of theirs ends: there every character as a reader sees it counts as
one, and `a_word` says how many of them a word has. Of a text whose scripts have blanks nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

from configs.texts import normalised

# Characters a word has in running text, roughly; SA is what Unicode's line breaking leaves to dictionaries: Thai, Lao, Khmer, Burmese.
_A_WORD = {r"\p{Script_Extensions=Han}": 1.5, r"\p{scx=Hiragana}\p{scx=Katakana}": 2.0, r"\p{Line_Break=SA}": 3.0}


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


@cache
def _scripts() -> tuple[Any, Callable[[str], list[str]], list[tuple[Any, float]]]:
    """What finds a character of a script without blanks, what cuts a text at them, and the characters a word by script."""
    import regex  # takes 0.03 s to import, and most texts hold no such character

    any_of = f"[{''.join(_A_WORD)}]"
    cut = regex.compile(rf"(?={any_of})\X|(?:(?!{any_of})\X)+")
    return regex.compile(any_of), cut.findall, [(regex.compile(f"[{kind}]"), count) for kind, count in _A_WORD.items()]


def _pieces(token: str) -> list[str]:
    if token.isascii() or not _scripts()[0].search(token):
        return [token] if token else []
    return _scripts()[1](token)


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
    return next((count for kind, count in _scripts()[2] if kind.match(piece)), 1.0)
