"""Which words a group favours: log-odds ratios with an informative Dirichlet prior (Monroe, Colaresi & Quinn
2008, section 3.5.1).

A word counts once a completion, since repeats within a text are not independent. z-scores are a ranking,
conditional on the templates; the cut that they are read against comes from permuting group labels within
templates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

_CELLS = 2**23  # numbers held at once while permuting: 64 MiB

Floats = NDArray[np.float64]


def presence(words: Sequence[Sequence[str]]) -> tuple[list[str], csr_matrix]:
    """The vocabulary in alphabetical order, and which words each completion holds: ones in (completion, word)."""
    vocabulary = sorted({word for row in words for word in row})
    column = {word: index for index, word in enumerate(vocabulary)}
    columns = [column[word] for row in words for word in sorted(set(row))]
    offsets = np.concatenate([[0], np.cumsum([len(set(row)) for row in words])])
    return vocabulary, csr_matrix((np.ones(len(columns)), columns, offsets), shape=(len(words), len(vocabulary)))


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


def group_counts(matrix: csr_matrix, labels: NDArray[np.intp], groups: int) -> Floats:
    """Completions of each group that hold each word: (permutation, group, word) from labels (permutation, completion)."""
    rows, completions = labels.shape
    member = np.zeros((rows * groups, completions))
    member[np.arange(rows)[:, None] * groups + labels, np.arange(completions)] = 1.0
    return np.ascontiguousarray((matrix.T @ member.T).T).reshape(rows, groups, matrix.shape[1])


def permutation_cut(
    matrix: csr_matrix,
    labels: NDArray[np.intp],
    templates: NDArray[np.intp],
    groups: int,
    prior: float,
    permutations: int,
    rng: np.random.Generator,
    quantile: float = 0.95,
) -> float:
    """The |z| that the largest of all words and groups stays below with probability `quantile` if groups do
    not differ.

    labels and templates are indices (completion,); labels are permuted among the completions of one template.
    """
    blocks = [np.flatnonzero(templates == template) for template in np.unique(templates)]
    step = max(1, _CELLS // (groups * max(matrix.shape)))
    largest = []
    for start in range(0, permutations, step):
        shuffled = np.tile(labels, (min(step, permutations - start), 1))
        for block in blocks:
            shuffled[:, block] = rng.permuted(shuffled[:, block], axis=1)
        z = z_scores(group_counts(matrix, shuffled, groups), prior)
        largest.append(np.abs(z).max(axis=(1, 2)))
    return float(np.quantile(np.concatenate(largest), quantile, method="higher"))
