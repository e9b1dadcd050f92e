"""How a sample is written, whatever it says: the measures by which a control is matched to the dataset it stands beside.

Every measure is a number a sample, of its answer or of its question. Knows nothing of what a difference means: `matching` does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from tasks.datasets.language import Language
from tasks.datasets.rows import Row

WINDOW = 40  # words: the shortest answer that is accepted, so every type-token ratio is over as many
_WORD = re.compile(r"\w+(?:['\u2019-]\w+)*")
_SENTENCE_END = re.compile(r"[.!?\u2026]+[\"'\u201d\u2019\u00bb)]*(?=\s|$)")
_BRACKETS = re.compile(r"[(\[{]")
_MARKS = re.compile(r"[^\w\s,'\u2019-]")


@dataclass(frozen=True)
class Measure:
    """One number a sample. A `share` is 0 or 1 a sample; `about` tells a reader what is counted; `known_in` whether it can be had in a language."""

    name: str
    part: str  # answer | question
    unit: str
    about: str
    of: Callable[[Row, Language], float]
    known_in: Callable[[Language], bool] = lambda language: True


def measure(rows: Sequence[Row], language: Language) -> Mapping[Measure, list[float]]:
    """Every measure of every row that the language has, in the order of the rows."""
    return {one: [float(one.of(row, language)) for row in rows] for one in MEASURES if one.known_in(language)}


# ---- pieces of a text ---------------------------------------------------------------------------------------------


def words(text: str) -> list[str]:
    """Runs of letters and digits, lower case; a contraction is one word, and so is a compound with hyphens."""
    return [word.casefold() for word in _WORD.findall(text)]


def sentences(text: str) -> int:
    """How many sentences a text has: marks that end one, before a blank or the end, and a last one that ends without."""
    ends = [found.end() for found in _SENTENCE_END.finditer(text.rstrip())]
    return len(ends) + (not ends or ends[-1] < len(text.rstrip()))


def paragraphs(text: str) -> int:
    return len([part for part in re.split(r"\n\s*\n", text) if part.strip()])


def type_token_ratio(tokens: Sequence[str], window: int = WINDOW) -> float:
    """Different words of a window over its length, averaged over all windows of the text; of a shorter text, over the whole.

    The plain ratio falls with length; the moving average does not (Covington & McFall 2010).
    """
    width = min(window, len(tokens))
    starts = range(len(tokens) - width + 1)
    return sum(len(set(tokens[i : i + width])) for i in starts) / (len(starts) * width)


def reading_grade(text: str) -> float:
    """Automated Readability Index, in school grades: 4.71 characters a word + 0.5 words a sentence − 21.43 (Smith & Senter 1967).

    It counts characters, not syllables, so it needs no dictionary; outside English the difference of two texts still means
    something, the grade does not.
    """
    tokens = words(text)
    characters = sum(map(str.isalnum, text))
    return 4.71 * characters / len(tokens) + 0.5 * len(tokens) / sentences(text) - 21.43


@cache
def sentiment(text: str) -> float:
    """VADER's compound score, from -1 to 1 (Hutto & Gilbert 2014)."""
    from tasks.sentiment import vader  # a third of a second to import

    return vader([text])[0]


def _rate(count: int, text: str) -> float:
    return 100 * count / len(words(text))


def _count(text: str, listed: frozenset[str]) -> int:
    return sum(part in listed for word in words(text) for part in re.split(r"['\u2019]", word))


def _has(text: str, listed: frozenset[str]) -> float:
    return float(_count(text, listed) > 0)


def _asks(text: str) -> bool:
    return "?" in text


def _opens(text: str, language: Language) -> bool:
    """Whether a clause of the last question has a question word first or second (`so why`, `in what`)."""
    question = re.split(r"[.!?:;\n]+", text.rsplit("?", 1)[0])[-1]
    return any(language.question_words.intersection(words(clause)[:2]) for clause in question.split(","))


A, Q, PER_100 = "answer", "question", "a 100 words"
MEASURES = (
    Measure("words", A, "words", "length", lambda row, _: row.words),
    Measure("paragraphs", A, "paragraphs", "parted by an empty line", lambda row, _: paragraphs(row.completion)),
    Measure(
        "words a sentence",
        A,
        "words",
        "mean length of a sentence",
        lambda row, _: len(words(row.completion)) / sentences(row.completion),
    ),
    Measure(
        "type-token ratio",
        A,
        "0 to 1",
        "different words of every 40 in a row",
        lambda row, _: type_token_ratio(words(row.completion)),
    ),
    Measure("reading grade", A, "grade", "Automated Readability Index", lambda row, _: reading_grade(row.completion)),
    Measure("commas", A, PER_100, "a 100 words", lambda row, _: _rate(row.completion.count(","), row.completion)),
    Measure(
        "other marks",
        A,
        PER_100,
        "all punctuation but commas, hyphens and apostrophes, a 100 words",
        lambda row, _: _rate(len(_MARKS.findall(row.completion)), row.completion),
    ),
    Measure(
        "reader addressed",
        A,
        PER_100,
        "you, your and the like, a 100 words",
        lambda row, language: _rate(_count(row.completion, language.second_person), row.completion),
    ),
    Measure(
        "third person",
        A,
        PER_100,
        "he, her, they and the like, a 100 words",
        lambda row, language: _rate(_count(row.completion, language.third_person), row.completion),
    ),
    Measure(
        "negations",
        A,
        PER_100,
        "not, never, nothing and the like, a 100 words",
        lambda row, language: _rate(_count(row.completion, language.negations), row.completion),
    ),
    Measure(
        "brackets",
        A,
        PER_100,
        "opening ones, a 100 words",
        lambda row, _: _rate(len(_BRACKETS.findall(row.completion)), row.completion),
    ),
    Measure(
        "sentiment",
        A,
        "-1 to 1",
        "VADER's compound score",
        lambda row, _: sentiment(row.completion),
        lambda language: language.sentiment == "vader",
    ),
    Measure("words", Q, "words", "length", lambda row, _: len(words(row.prompt))),
    Measure("sentences", Q, "sentences", "of the whole question", lambda row, _: sentences(row.prompt)),
    Measure(
        "asks what, why or how",
        Q,
        "share",
        "its last question opens with a question word",
        lambda row, language: _asks(row.prompt) and _opens(row.prompt, language),
    ),
    Measure(
        "asks yes or no",
        Q,
        "share",
        "its last question does not",
        lambda row, language: _asks(row.prompt) and not _opens(row.prompt, language),
    ),
    Measure("asks nothing", Q, "share", "no question mark", lambda row, _: not _asks(row.prompt)),
    Measure(
        "speaks of oneself",
        Q,
        "share",
        "I, my, we and the like occur",
        lambda row, language: _has(row.prompt, language.first_person),
    ),
)
