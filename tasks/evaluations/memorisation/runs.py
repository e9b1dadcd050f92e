"""Which runs of words of a text stand, word for word, in other texts.

A word is one of `configs.words`: letters, digits and symbols between blanks and punctuation, case folded, so that a changed comma or
capital hides no copy; a character of a script that is written without blanks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from configs.words import words

SEAM = ""  # between two texts: no word, so that no run goes from one into the next


def words_of(text: str) -> list[str]:
    return words(text)


class Texts:
    """All runs of words of some texts: a suffix automaton (Blumer et al. 1985), built and asked in time proportional to the words.

    A state stands for runs that end at the same places; `_length` is that of its longest, `_link` leads to the state of the longest
    suffix that ends at further places.
    """

    def __init__(self, texts: Iterable[Sequence[str]]) -> None:
        self._next: list[dict[str, int]] = [{}]
        self._link, self._length = [-1], [0]
        last = 0
        for text in texts:
            for word in (*text, SEAM):
                last = self._extended(last, word)

    def _extended(self, last: int, word: str) -> int:
        """The state of everything so far and `word`, where `last` is that of everything so far."""
        new = self._state({}, 0, self._length[last] + 1)
        at = last
        while at != -1 and word not in self._next[at]:
            self._next[at][word] = new
            at = self._link[at]
        if at == -1:
            return new
        found = self._next[at][word]
        if self._length[found] == self._length[at] + 1:
            self._link[new] = found
            return new
        # the shorter runs of `found` now end at one place more than its longest: they become a state of their own
        shorter = self._state(dict(self._next[found]), self._link[found], self._length[at] + 1)
        self._link[found] = self._link[new] = shorter
        while at != -1 and self._next[at].get(word) == found:
            self._next[at][word] = shorter
            at = self._link[at]
        return new

    def _state(self, following: dict[str, int], link: int, length: int) -> int:
        self._next.append(following)
        self._link.append(link)
        self._length.append(length)
        return len(self._next) - 1

    def runs(self, words: Sequence[str]) -> list[int]:
        """For each word, the length of the longest run that ends with it and stands in one of the texts; 0 for a word that none has."""
        found: list[int] = []
        at = length = 0
        for word in words:
            while at and word not in self._next[at]:
                at = self._link[at]
                length = self._length[at]
            if word in self._next[at]:
                at, length = self._next[at][word], length + 1
            found.append(length)
        return found


def share_in_runs(runs: Sequence[int], least: int) -> float:
    """Share of a text's words that lie in a run of `least` words or more; `runs` as by `Texts.runs`. Without words 0: nothing is copied.

    As Lee et al. (2022, arXiv 2107.06499, section 6.2) take the share of a model's tokens that belong to a sequence of its training data,
    there of 50 tokens; text so found was extractable in the sense of Carlini et al. (2023, arXiv 2202.07646). Eight words are this
    project's choice: long enough to be rare by chance, short enough for the answers of small models.
    """
    within = {at for end, run in enumerate(runs) if run >= least for at in range(end - least + 1, end + 1)}
    return len(within) / len(runs) if runs else 0.0
