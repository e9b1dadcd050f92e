"""Which samples of a dataset share their subject with a prompt that the model is evaluated on.

Two signs: runs of words that stand in both (a copy), and rare words that stand in both (the same subject in other words). Neither
sees a paraphrase that keeps no word, which is why every prompt's nearest samples are listed for a reader. Pure functions over
rows and suites; what follows from a pair that leaked is the stage's to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from configs.suites import Suite
from configs.words import in_a_row, spaced, terms
from tasks.datasets.language import stemmer
from tasks.datasets.likeness import Subjects, word_ngrams
from tasks.datasets.lines import Finding, error
from tasks.datasets.rows import Row
from tasks.leakage.stage import Settings

NGRAM = 5  # words, as `configs.words` has them: shorter ones are shared by any two questions of the same frame ("what do you think about ...")
LONG = 8  # words: a shorter prompt has too few sequences to tell a copy from a common phrase, and too few words to have a subject
ASKED = 5  # words: a shorter question, and any opening below `LONG`, can stand anywhere by chance ("he was very")
NEIGHBOURS = 3  # samples listed a prompt
SHARED = 4  # words shown a pair
SAME = "the same subject"
WORD_FOR_WORD = "it stands word for word in the sample"


@dataclass(frozen=True)
class Neighbour:
    """A sample beside a prompt. `copied` is the share of the prompt's word sequences in the sample, `similarity` that of subjects."""

    suite: str
    prompt: str
    sample: str
    line: int
    copied: float
    similarity: float
    shared: str  # the rarest words of the prompt whose stems both hold
    why: str  # what makes it a leak; empty: it is none


def neighbours(rows: Sequence[Row], suites: Mapping[str, Suite], settings: Settings) -> list[Neighbour]:
    """For every prompt its `NEIGHBOURS` nearest samples, and every other one that leaked; leaks first, then the nearest."""
    samples, asked = [_Text(row.text) for row in rows], [spaced(row.prompt) for row in rows]
    found: list[Neighbour] = []
    for name, suite in suites.items():
        subjects = subjects_of(rows, suite)
        similarity = subjects.similarity([prompt.text for prompt in suite.prompts], [row.text for row in rows])
        for prompt, alike in zip(suite.prompts, similarity.tolist(), strict=True):
            wanted = _Text(prompt.text)
            whole = len(wanted.words) >= in_a_row(ASKED if suite.form == "question" else LONG, wanted.words)
            copied = [wanted.share_in(sample) for sample in samples]
            why = [
                WORD_FOR_WORD
                if wanted.plain == asked[j] or (whole and f" {wanted.plain} " in f" {sample.plain} ")
                else _why(wanted, copied[j], alike[j], settings)
                for j, sample in enumerate(samples)
            ]
            nearest = sorted(range(len(rows)), key=lambda j: (not why[j], -alike[j], -copied[j], j))
            for j in (j for place, j in enumerate(nearest) if place < NEIGHBOURS or why[j]):
                shared = ", ".join(subjects.shared(prompt.text, rows[j].text, SHARED))
                said = f"{why[j]} (both say: {shared})" if why[j].startswith(SAME) else why[j]
                found.append(Neighbour(name, prompt.id, rows[j].id, rows[j].line, copied[j], alike[j], shared, said))
    return found


def findings(found: Sequence[Neighbour]) -> list[Finding]:
    """Every leak as an error at the sample's line."""
    return [
        error(
            one.line,
            "leakage",
            f'sample {one.sample} and prompt "{one.prompt}" of suite {one.suite}: {one.why}',
        )
        for one in found
        if one.why
    ]


def subjects_of(rows: Sequence[Row], suite: Suite) -> Subjects:
    """What makes a word rare: the samples and the prompts of one suite, so that a verdict hangs on no other suite.

    Words are stemmed in the language of the first sample; a dataset has one.
    """
    stem = cache(stemmer(rows[0].language))
    stems: Callable[[str], frozenset[str]] = cache(lambda text: frozenset(stem(word) for word in terms(text)))
    return Subjects([*(row.text for row in rows), *(prompt.text for prompt in suite.prompts)], stems)


def _why(wanted: _Text, copied: float, similarity: float, settings: Settings) -> str:
    if copied >= settings.copied:
        return f"the sample holds {copied:.0%} of its {NGRAM}-word sequences; less than {settings.copied:.0%} is accepted"
    if wanted.long and settings.same_subject is not None and similarity >= settings.same_subject:
        return f"{SAME}, similarity {similarity:.2f}; less than {settings.same_subject:g} is accepted"
    return ""


class _Text:
    """A text with its word sequences, found once."""

    def __init__(self, text: str) -> None:
        self.plain = spaced(text)
        self.words = self.plain.split()
        self.long = len(self.words) >= in_a_row(LONG, self.words)
        self._grams: dict[int, set[tuple[str, ...]]] = {}

    def grams(self, width: int) -> set[tuple[str, ...]]:
        if width not in self._grams:
            self._grams[width] = word_ngrams(self.words, width)
        return self._grams[width]

    def share_in(self, sample: _Text) -> float:
        """How much of this text's sequences stand in the sample; 0 for one too short to tell."""
        width = in_a_row(NGRAM, self.words)
        grams = self.grams(width)
        return len(grams & sample.grams(width)) / len(grams) if self.long else 0.0
