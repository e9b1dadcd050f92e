"""Log-odds by hand, and their cut by permuted labels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from tasks.evaluations.cooccurrence.log_odds import group_counts, permutation_cut, z_scores
from tasks.evaluations.cooccurrence.relabelling import Labels
from tests.word_counts import counted


def test_log_odds_by_hand() -> None:
    # Two groups, two words: counts 3 1 / 1 3. Prior of 2 pseudo-counts: each word is half of all, so α = 1.
    # δ = log(4/2) − log(2/4) = log 4, variance 1/4 + 1/2
    z = z_scores(np.array([[3.0, 1.0], [1.0, 3.0]]), prior=2)
    expected = math.log(4) / math.sqrt(0.75)
    assert z == pytest.approx(np.array([[expected, -expected], [-expected, expected]]))


def test_log_odds_contrast_a_group_with_all_the_others() -> None:
    # Three groups, the first: y = 4 of 6, rest 2 of 12. Words are 6 and 12 of 18, prior 9: α = 3 and 6.
    # δ = log(7/(6−4+6)) − log(5/(12−2+6))
    z = z_scores(np.array([[4.0, 2.0], [1.0, 5.0], [1.0, 5.0]]), prior=9)
    assert z[0, 0] == pytest.approx((math.log(7 / 8) - math.log(5 / 16)) / math.sqrt(1 / 7 + 1 / 5))


def test_a_rare_word_of_one_group_does_not_outrank_a_common_one_of_clear_preference() -> None:
    # By the plain ratio the first word would be infinitely favoured.
    z = z_scores(np.array([[3.0, 60.0, 300.0], [0.0, 30.0, 300.0]]), 500)
    assert z[0, 1] > z[0, 0] > 0


def test_a_word_counts_once_a_completion() -> None:
    counts = counted(["very kindly, very", "very sad", ""], {}, {})
    assert counts.vocabulary == ["kindly", "sad", "very"]
    assert group_counts(counts.words, np.array([0, 1, 1]), 2).tolist() == [[1, 0, 1], [0, 1, 1]]
    assert group_counts(counts.words, np.array([0, 0, 1]), 2).tolist() == [[1, 1, 2], [0, 0, 0]]


@pytest.mark.parametrize("size", [2, 4, 40])  # of a unit: 24 orders are tabled, those of forty are shuffled
def test_the_cut_is_passed_about_one_time_in_twenty_where_nothing_differs(size: int) -> None:
    rng = np.random.default_rng(0)
    passed, experiments = 0, 100
    for _ in range(experiments):
        words = csr_matrix(rng.random((80, 12)) < 0.2, dtype=np.int8)
        labels, units = np.tile([0, 1], 40), np.repeat(np.arange(80 // size), size)
        z = z_scores(group_counts(words, labels, 2), 500)
        passed += bool(np.abs(z).max() > permutation_cut(words, labels, units, 2, 500, 199, rng))
    assert passed <= 13  # a true 5 % passes this in 999 of 1,000 runs; |z| > 1.96 for any of twelve words would come to about 45


@pytest.mark.parametrize("size", [2, 10])
def test_labels_are_permuted_within_units_only(size: int) -> None:
    # Each unit has a word of its own and one group, so no permutation can move anything: the cut is the
    # observed |z|.
    labels = units = np.repeat([0, 1], size)
    words = csr_matrix(np.eye(2, dtype=np.int8)[units])
    observed = np.abs(z_scores(group_counts(words, labels, 2), 500)).max()
    rng = np.random.default_rng(0)
    assert permutation_cut(words, labels, units, 2, 500, 50, rng) == observed
    mixed = permutation_cut(words, labels, np.zeros(2 * size, dtype=int), 2, 500, 50, rng, quantile=0.5)
    assert mixed < observed


def test_every_order_of_a_unit_is_as_likely() -> None:
    # Three groups, one completion each, unequal units among them: the label of the completion that holds the
    # word is uniform, so its count falls to each group a third of the time.
    labels, units = np.array([2, 0, 1, 0, 1]), np.array([7, 7, 7, 3, 3])
    shuffled = Labels(labels, units)
    held = np.zeros((2, 3))
    for permuted in shuffled.permuted(3000, np.random.default_rng(0)):
        back = np.empty(5, dtype=int)
        back[shuffled.order] = permuted
        assert sorted(back[:3]) == [0, 1, 2]
        assert sorted(back[3:]) == [0, 1]
        held[0, back[0]] += 1
        held[1, back[3]] += 1
    assert held / 3000 == pytest.approx(np.array([[1 / 3, 1 / 3, 1 / 3], [1 / 2, 1 / 2, 0]]), abs=0.03)
