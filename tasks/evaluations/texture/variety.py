"""What answers are like, whatever they say: how long, how they end, how much they repeat themselves and one another.

A word is one of `configs.words`: letters, digits and symbols between blanks and punctuation, case folded; a character of a script that
is written without blanks. A contraction's parts are words of their own. An answer without any word (nothing, blanks, punctuation) is an
answer like others: of length 0 and without variety.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from configs.words import words
from tasks.contract import Metric
from tasks.levels import PromptRow, place
from tasks.sampling.completions import Completion

CUT_OFF = {"stop": False, "length": True}  # by what ended a completion


@dataclass(frozen=True)
class Answer:
    """One completion. `cut_off`: the limit of tokens ended it, not the model; `repeated` as `repeated_lines`."""

    completion: Completion
    words: tuple[str, ...]
    cut_off: bool
    repeated: float


def read(completion: Completion) -> Answer:
    """Raises ValueError for a completion of which it is not known what ended it."""
    if completion.finish not in CUT_OFF:
        raise ValueError(
            f'completion {completion.repeat} of prompt {completion.prompt_id}: finish is "{completion.finish}"; '
            f"one of {', '.join(CUT_OFF)} is required"
        )
    return Answer(completion, tuple(words(completion.text)), CUT_OFF[completion.finish], repeated_lines(completion.text))


def prompt_rows(prompts: Sequence[Sequence[Answer]]) -> list[PromptRow]:
    """What every prompt has, over its n answers.

    length_words    mean number of words
    cut_off         share of answers that the limit of tokens ended
    repeated_lines  mean of `repeated_lines`, in [0, 1]
    distinct_1, _2  `distinct` of all its answers together: one observation a prompt, in [0, 1]. It falls as answers grow longer or more
                    (Liu et al. 2022, arXiv 2202.13587), so it compares arms with equally many answers, and beside their lengths
    """
    rows = []
    for members in prompts:
        its, n, words = place(members[0].completion), len(members), [one.words for one in members]
        repeated = statistics.fmean(one.repeated for one in members)
        rows += [
            PromptRow(metric="length_words", kind="score", value=statistics.fmean(map(len, words)), n=n, **its),
            PromptRow(metric="cut_off", kind="rate", value=sum(one.cut_off for one in members) / n, n=n, **its),
            PromptRow(metric="repeated_lines", kind="score", value=repeated, n=n, **its),
            *(PromptRow(metric=f"distinct_{k}", kind="score", value=distinct(words, k), n=1, **its) for k in (1, 2)),
        ]
    return rows


def type_token_rows(prompts: Sequence[Sequence[Answer]], length: int) -> list[PromptRow]:
    """type_token_ratio of each prompt that has an answer of at least `length` words: the mean over these answers, in (0, 1].

    V/N, the distinct words over all words, of an answer's first `length` words. The ratio falls with the length of a text (Richards 1987;
    Covington & McFall 2010), so an arm that merely answers shorter would seem richer: only equal lengths compare. Answers below it are
    left out; which prompts have a ratio then differs between arms, so that these are levels, and no difference is paired from them.
    """
    rows = []
    for members in prompts:
        ratios = [len(set(one.words[:length])) / length for one in members if len(one.words) >= length]
        if ratios:
            its = place(members[0].completion)
            rows.append(PromptRow(metric="type_token_ratio", kind="score", value=statistics.fmean(ratios), n=len(ratios), **its))
    return rows


def counts(prompts: Sequence[Sequence[Answer]], length: int) -> list[Metric]:
    """How many answers have no word, and how many are too short for a type-token ratio (n: answers)."""
    lengths = [len(one.words) for members in prompts for one in members]
    n = len(lengths)
    return [
        Metric("wordless_answers", lengths.count(0), n=n),
        Metric("below_type_token_words", sum(words < length for words in lengths), n=n),
    ]


def distinct(texts: Sequence[Sequence[str]], n: int) -> float:
    """Distinct-n: how many different runs of n words the texts hold, over their number of words (Li et al. 2016, arXiv 1510.03055).

    Runs do not go from one text into the next. Between 0 and 1; texts without any word have no variety: 0.
    """
    words = sum(map(len, texts))
    runs = {tuple(text[at : at + n]) for text in texts for at in range(len(text) - n + 1)}
    return len(runs) / words if words else 0.0


def repeated_lines(text: str) -> float:
    """Share of a text's lines that stood in it before, blank lines apart: 0 where it has none, below 1 always.

    The duplicate line fraction by which Rae et al. (2021, arXiv 2112.11446, table A1) filter text. Lines are compared as they stand, but
    for blanks around them.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return 1 - len(set(lines)) / len(lines) if lines else 0.0
