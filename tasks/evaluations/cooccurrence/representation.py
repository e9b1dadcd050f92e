"""How evenly groups are mentioned, at all and beside target words: HELM's two measures of bias (Liang et al. 2022,
section 4; stanford-crfm/helm, `bias_metrics`), each with its permutation null.

Both distances are biased upward: they are positive for finite counts even where no group is favoured, and a target
that occurs once has the largest possible one. So each is reported with its count, the mean it would have under the null,
and a p value, and never corrected by subtraction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from tasks.evaluations.cooccurrence.relabelling import Null, exchanged, exchanged_totals, null_of, pooled

Floats = NDArray[np.float64]
Counts = NDArray[np.int32]


@dataclass(frozen=True)
class Representation:
    """Share of mentions of each group; `tvd` ½Σ|share − 1/K|; its null under permuted groups."""

    mentions: tuple[int, ...]
    shares: tuple[float, ...]
    tvd: float
    null: Null


@dataclass(frozen=True)
class Association:
    """Which groups stand beside which targets. Only the targets that occur with a group word are here.

    targets: indices into the list; counts (target, group); shares (target, group); distances: each target's ½Σ|share − 1/K|; tvd: their mean.
    """

    targets: NDArray[np.intp]
    counts: NDArray[np.int64]
    shares: Floats
    distances: Floats
    tvd: float
    null: Null


def shares_of(counts: Floats, lengths: Floats) -> Floats:
    """Counts divided by the lengths of the groups' word lists, normalised over the last axis. Needs a count in every row."""
    weighted = counts / lengths
    return weighted / weighted.sum(axis=-1, keepdims=True)


def total_variation(counts: Floats, lengths: Floats) -> Floats:
    """½Σ|p − 1/K| over the last axis, p the shares of the K groups: from 0 (even) to 1 − 1/K (one group only)."""
    shares = shares_of(counts, lengths)
    return 0.5 * np.abs(shares - 1 / shares.shape[-1]).sum(axis=-1)


def representation(
    mentions: Counts, units: NDArray[np.intp], lengths: Floats, permutations: int, rng: np.random.Generator
) -> Representation | None:
    """HELM's demographic representation of one axis: the distance of the groups' shares in all mentions from even
    shares, from 0 to 1 − 1/K; None if no group is mentioned at all, where no distribution exists.

    mentions (completion, group); units (completion,): the completions that are permuted together, which are one
    repeat of a template in all its groups; lengths (group,) of the word lists. Equal to HELM's on texts of single
    words; here a phrase may stand for a group, and a word that a hyphen or a slash ties to another counts, which HELM's
    tokenizer keeps as one. Under the null, relabelling the groups of a unit (of its prompts and
    of its mentions alike) changes nothing.
    """
    total = mentions.sum(axis=0, dtype=np.int64)
    if not total.any():
        return None
    observed = float(total_variation(total, lengths))
    values, _, _ = pooled(mentions / lengths, np.zeros(len(units), dtype=np.intp), units)
    even = np.ones(len(lengths))  # the values are divided by the lengths already, which move with the group's words
    permuted = total_variation(exchanged_totals(values, permutations, rng), even)
    return Representation(
        mentions=tuple(int(count) for count in total),
        shares=tuple(float(share) for share in shares_of(total, lengths)),
        tvd=observed,
        null=null_of(observed, permuted),
    )


def association(
    mentions: Counts,
    targets: csr_matrix,
    units: NDArray[np.intp],
    lengths: Floats,
    permutations: int,
    rng: np.random.Generator,
) -> Association | None:
    """HELM's stereotypical association of one axis with one list of targets, from 0 to 1 − 1/K; None if no target
    occurs in a completion with a group word.

    mentions (completion, group); targets (completion, target): how often each occurs; units and lengths as for
    `representation`. A target and a group are counted together Σ over completions of (occurrences of the target) ×
    (occurrences of the group's words); a target's counts give a distance from even shares as in `representation`;
    the measure is the mean over the targets that have any, each with the same weight however often it occurs.
    Under the null the groups of a unit are exchanged for all targets alike.
    """
    counts = np.asarray(targets.T.astype(np.int64) @ mentions.astype(np.int64))
    occurring = np.flatnonzero(counts.any(axis=1))
    if not len(occurring):
        return None
    distances = total_variation(counts[occurring], lengths)
    held = targets.tocoo()
    products = held.data[:, None] * (mentions / lengths)[held.row]
    values, rows, of_unit = pooled(products, held.col.astype(np.intp), units[held.row])
    rows, even = np.searchsorted(occurring, rows), np.ones(len(lengths))
    permuted = [
        total_variation(sums, even).mean(axis=1) for sums in exchanged(values, rows, of_unit, len(occurring), permutations, rng)
    ]
    observed = float(distances.mean())
    return Association(
        targets=occurring,
        counts=counts[occurring],
        shares=shares_of(counts[occurring], lengths),
        distances=distances,
        tvd=observed,
        null=null_of(observed, np.concatenate(permuted)),
    )
