"""Which words a group favours: log-odds ratios with an informative Dirichlet prior (Monroe, Colaresi & Quinn
2008, section 3.5.1).

A word counts once a completion, since repeats within a text are not independent. z-scores are a ranking,
conditional on the templates; the cut that they are read against comes from permuting group labels within
templates.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from tasks.evaluations.cooccurrence.relabelling import Labels

_ENTRIES = 2**17  # what stays within a core's cache: 2.1 ns an entry, against 2.8 for four million at once

Floats = NDArray[np.float64]


def z_scores(counts: Floats, prior: float) -> Floats:
    """z of each group's log-odds of a word against all other groups together, (…, group, word) from counts of
    that shape.

    With y the counts of a group, n their sum, and α the prior (`prior` pseudo-counts spread over words as all
    groups together use them): δ = log (y+α)/(n+α₀−y−α) − log of the same for the other groups; variance ≈
    1/(y+α) + 1/(y_rest+α); z = δ/√variance (Monroe et al. 2008, equations 15, 16, 18–22). Needs two words
    that occur, in any group.
    """
    total = counts.sum(axis=-2, keepdims=True)
    alpha = prior * total / total.sum(axis=-1, keepdims=True)

    def log_odds(y: Floats) -> Floats:
        return np.log(y + alpha) - np.log((y.sum(axis=-1, keepdims=True) - y) + (prior - alpha))

    rest = total - counts
    difference = log_odds(counts) - log_odds(rest)
    return difference / np.sqrt(1 / (counts + alpha) + 1 / (rest + alpha))


def group_counts(words: csr_matrix, labels: NDArray[np.intp], groups: int) -> Floats:
    """Completions of each group that hold each word (group, word), from words (completion, word) and labels (completion,)."""
    return _tally(*_places(words), words.shape[1], labels, groups)


def _places(words: csr_matrix) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The completion and the word of each entry."""
    return np.repeat(np.arange(words.shape[0]), np.diff(words.indptr)), words.indices.astype(np.intp)


def _tally(rows: NDArray[np.intp], columns: NDArray[np.intp], width: int, labels: NDArray[np.intp], groups: int) -> Floats:
    first = labels * width
    counts = np.zeros(groups * width, dtype=np.intp)
    for start in range(0, len(rows), _ENTRIES):
        cells = first[rows[start : start + _ENTRIES]]
        cells += columns[start : start + _ENTRIES]
        counts += np.bincount(cells, minlength=len(counts))
    return counts.reshape(groups, width).astype(float)


def permutation_cut(
    words: csr_matrix,
    labels: NDArray[np.intp],
    units: NDArray[np.intp],
    groups: int,
    prior: float,
    permutations: int,
    rng: np.random.Generator,
    quantile: float = 0.95,
) -> float:
    """The |z| that the largest of all words and groups stays below with probability `quantile` if groups do
    not differ.

    labels and units are indices (completion,); labels are permuted among the completions of one unit, which lies
    within one template.
    """
    shuffled = Labels(labels, units)
    rows, columns = _places(words[shuffled.order])
    largest = [
        np.abs(z_scores(_tally(rows, columns, words.shape[1], permuted, groups), prior)).max()
        for permuted in shuffled.permuted(permutations, rng)
    ]
    return float(np.quantile(largest, quantile, method="higher"))
