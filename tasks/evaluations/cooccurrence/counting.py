"""From completions to counts, a batch of texts at a time: which groups each mentions, which target words and which
adjectives and adverbs it holds.

Texts are not kept: a completion leaves some hundred bytes behind, so memory grows with the number of completions
by that and with the vocabulary, not with the length of texts. Leaves to others what is made of the counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, lil_matrix, vstack

from configs.words import folded, runs
from tasks.evaluations.cooccurrence.groups import Axis
from tasks.evaluations.cooccurrence.tagging import descriptive

_REMEMBERED = 2**19  # pieces of text at once: some 90 MB


@dataclass(frozen=True)
class Counts:
    """What each completion holds, in the order of the texts.

    mentions: axis → (completion, group), how often words of the group occur; targets: list → (completion,
    target), how often the target occurs; words: 1 where a completion holds a word of the vocabulary (its
    adjectives and adverbs, in alphabetical order).
    """

    mentions: dict[str, NDArray[np.int32]]
    targets: dict[str, csr_matrix]
    vocabulary: list[str]
    words: csr_matrix

    def rows(self, chosen: NDArray[np.intp]) -> Counts:
        """The counts of some completions, in a given order."""
        return Counts(
            {name: table[chosen] for name, table in self.mentions.items()},
            {name: table[chosen] for name, table in self.targets.items()},
            self.vocabulary,
            self.words[chosen],
        )


class Counter:
    """Counts batches of texts against word lists.

    A text is cut at whitespace, and what a piece counts for is remembered, since no word reaches over
    whitespace. Only phrases do, and words of several characters in a script without blanks: a text that holds the
    beginning of one is searched as a whole.
    """

    def __init__(self, axes: Mapping[str, Axis], targets: Mapping[str, Sequence[str]]) -> None:
        # a target is counted as a group of one word
        lists = {name: Axis(name, {word: (word,) for word in listed}) for name, listed in targets.items()}
        self._known = _Pieces()
        self._groups = {name: (axis, self._known.place(axis)) for name, axis in axes.items()}
        self._listed = {name: (axis, self._known.place(axis)) for name, axis in lists.items()}
        self._batches: list[tuple[dict[str, NDArray[np.int32]], dict[str, csr_matrix], csr_matrix]] = []

    def add(self, texts: Sequence[str]) -> None:
        """Count a batch of texts."""
        known = self._known
        if len(known) > _REMEMBERED:
            known.clear()
        found = [list(chain.from_iterable(map(known.__getitem__, text.split()))) for text in texts]
        offsets = np.concatenate([[0], np.cumsum([len(columns) for columns in found])])
        indices = np.fromiter(chain.from_iterable(found), dtype=np.int32, count=int(offsets[-1]))
        shape = (len(texts), known.fixed + len(known.vocabulary))
        table = csr_matrix((np.ones(len(indices), dtype=np.int32), indices, offsets), shape=shape)
        table.sum_duplicates()
        mentions = {name: _mentions(table, texts, *where).toarray() for name, where in self._groups.items()}
        targets = {name: _mentions(table, texts, *where) for name, where in self._listed.items()}
        words = table[:, known.fixed :].astype(np.int8)
        words.data[:] = 1  # once a completion
        self._batches.append((mentions, targets, words))

    def counts(self) -> Counts:
        """The counts of all texts so far; a counter is asked once, after its last batch. Needs a batch."""
        vocabulary = list(self._known.vocabulary)
        alphabetical = sorted(range(len(vocabulary)), key=vocabulary.__getitem__)
        rank = np.empty(len(vocabulary), dtype=np.int32)
        rank[alphabetical] = np.arange(len(vocabulary), dtype=np.int32)
        found = [
            csr_matrix((words.data, rank[words.indices], words.indptr), shape=(words.shape[0], len(vocabulary)))
            for _, _, words in self._batches
        ]
        for words in found:
            words.sort_indices()
        return Counts(
            {name: np.concatenate([mentions[name] for mentions, _, _ in self._batches]) for name in self._groups},
            {name: vstack([targets[name] for _, targets, _ in self._batches], format="csr") for name in self._listed},
            [vocabulary[index] for index in alphabetical],
            vstack(found, format="csr"),
        )


def _mentions(table: csr_matrix, texts: Sequence[str], axis: Axis, columns: slice) -> csr_matrix:
    """The columns of an axis, counted anew in the texts where a phrase may begin: its last column."""
    found = table[:, columns]
    beginning = table[:, [columns.stop]].nonzero()[0]
    if not beginning.size:
        return found
    counted = lil_matrix(found)
    for row in map(int, beginning):
        counted[row] = axis.mentions(texts[row])
    return csr_matrix(counted)


class _Pieces(dict[str, tuple[int, ...]]):
    """The columns that a piece of text counts for, found when it is first asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.columns: dict[str, list[int]] = {}
        self.fixed = 0  # columns of groups and targets; those of the vocabulary follow
        self.vocabulary: dict[str, int] = {}

    def place(self, axis: Axis) -> slice:
        """Give columns to the groups of an axis and, behind them, to the words by which its phrases begin; where the groups' are."""
        start = self.fixed
        for group, words in enumerate(axis.words.values()):
            for word in words:  # a phrase among them is never looked up
                self.columns.setdefault(word, []).append(start + group)
        stop = start + len(axis.groups)
        for word in axis.openings:
            self.columns.setdefault(word, []).append(stop)
        self.fixed = stop + 1
        return slice(start, stop)

    def __missing__(self, piece: str) -> tuple[int, ...]:
        listed = [column for word in runs(folded(piece)) for column in self.columns.get(word, ())]
        describing = [self.fixed + self.vocabulary.setdefault(word, len(self.vocabulary)) for word in descriptive(piece)]
        self[piece] = found = (*listed, *describing)
        return found
