"""From completions to counts, a batch of texts at a time: which groups each mentions, which target words and which
adjectives and adverbs it holds.

Texts are not kept: a completion leaves some hundred bytes behind, so memory grows with the number of completions
by that and with the vocabulary, not with the length of texts. Knows how words are cut out of texts; leaves to
others what is made of the counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from tasks.evaluations.cooccurrence.groups import Axis
from tasks.evaluations.cooccurrence.tagging import descriptive

WORD = re.compile(r"\w+")

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
    whitespace. Only the phrases of a group do: a text that holds the first word of one is searched as a whole.
    Words are runs of letters, digits and underscores with case folded, so "he's" and "he-man" hold "he".
    """

    def __init__(self, axes: Mapping[str, Axis], targets: Mapping[str, Sequence[str]]) -> None:
        self._axes = axes
        self._known = _Pieces()
        self._groups: dict[str, slice] = {}  # columns of each axis
        self._listed: dict[str, slice] = {}  # columns of each list of targets
        columns, width = self._known.columns, 0
        for name, axis in axes.items():
            self._groups[name] = slice(width, width + len(axis.groups))
            for group, words in enumerate(axis.words.values()):
                for word in words:  # a phrase among them is never looked up
                    columns.setdefault(word, []).append(width + group)
            width += len(axis.groups)
            for word in axis.openings:
                columns.setdefault(word, []).append(width)
            width += 1
        for name, listed in targets.items():
            self._listed[name] = slice(width, width + len(listed))
            for index, word in enumerate(listed):
                columns.setdefault(word, []).append(width + index)
            width += len(listed)
        self._known.fixed = width
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
        mentions = {name: table[:, columns].toarray() for name, columns in self._groups.items()}
        for name, columns in self._groups.items():
            for row in table[:, [columns.stop]].nonzero()[0]:  # a phrase may begin here
                mentions[name][row] = self._axes[name].mentions(texts[int(row)])
        targets = {name: table[:, columns] for name, columns in self._listed.items()}
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


class _Pieces(dict[str, tuple[int, ...]]):
    """The columns that a piece of text counts for, found when it is first asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.columns: dict[str, list[int]] = {}
        self.fixed = 0  # columns of groups and targets; those of the vocabulary follow
        self.vocabulary: dict[str, int] = {}

    def __missing__(self, piece: str) -> tuple[int, ...]:
        listed = [column for word in WORD.findall(piece.casefold()) for column in self.columns.get(word, ())]
        describing = [self.fixed + self.vocabulary.setdefault(word, len(self.vocabulary)) for word in descriptive(piece)]
        self[piece] = found = (*listed, *describing)
        return found
