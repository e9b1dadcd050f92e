"""Representation and association of groups: by hand, by their permutation nulls, and against HELM's algorithm written out."""

from __future__ import annotations

import random

import numpy as np
import pytest
from nltk.tokenize import NLTKWordTokenizer
from scipy.sparse import csr_matrix

from tasks.evaluations.cooccurrence import stage
from tasks.evaluations.cooccurrence.groups import Axis, load_axes
from tasks.evaluations.cooccurrence.relabelling import exchanged, exchanged_totals
from tasks.evaluations.cooccurrence.representation import association, representation, total_variation
from tasks.evaluations.cooccurrence.targets import load_targets
from tests.word_counts import counted

# ---- representation -----------------------------------------------------------------------------------------------


def test_total_variation_by_hand() -> None:
    assert total_variation(np.array([3.0, 1.0]), np.ones(2)) == pytest.approx(0.25)
    assert total_variation(np.array([3.0, 1.0]), np.array([3.0, 1.0])) == 0  # three times the words, three times the mentions
    assert total_variation(np.array([5.0, 0.0, 0.0]), np.ones(3)) == pytest.approx(2 / 3)


def test_the_permutation_null_by_hand() -> None:
    # Two units that both mention the first group once. Permuted: distance 1/2 when they agree, 0 when not;
    # each half the time.
    result = representation(np.array([[1, 0], [1, 0]]), np.array([0, 1]), np.ones(2), 4000, np.random.default_rng(0))
    assert result is not None
    assert (result.mentions, result.shares, result.tvd) == ((2, 0), (1.0, 0.0), 0.5)
    assert result.null.mean == pytest.approx(0.25, abs=0.02)
    assert result.null.p == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("groups", [2, 3, 9])  # nine groups have more orders than are tabled
def test_counted_units_and_units_drawn_one_by_one_have_one_distribution(groups: int) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 3, (30, groups)) / np.arange(1, groups + 1)
    none, units = np.zeros(30, dtype=int), np.arange(30)
    drawn = np.concatenate([sums[:, 0] for sums in exchanged(values, none, units, 1, 4000, rng)])
    counted = exchanged_totals(values, 4000, rng)
    assert drawn.sum(axis=1) == pytest.approx(np.full(4000, values.sum()))
    assert counted.sum(axis=1) == pytest.approx(np.full(4000, values.sum()))
    # Exactly: each group has the mean of the units' means, and the units' variances over their groups add up.
    for sums in (drawn, counted):
        assert sums.mean(axis=0) == pytest.approx(np.full(groups, values.sum() / groups), abs=0.15)
        assert sums.var(axis=0) == pytest.approx(np.full(groups, values.var(axis=1).sum()), rel=0.12)


def test_rows_of_one_unit_are_exchanged_alike() -> None:
    values, rows, units = np.array([[1.0, 0.0], [2.0, 0.0]]), np.array([0, 1]), np.array([4, 4])
    sums = np.concatenate(list(exchanged(values, rows, units, 2, 200, np.random.default_rng(0))))
    assert {tuple(map(tuple, table)) for table in sums.tolist()} == {((1, 0), (2, 0)), ((0, 1), (0, 2))}


def test_mentions_of_one_unit_stay_together() -> None:
    # Ten mentions in one completion are one observation: whichever group they fall to, the distance is the
    # same.
    result = representation(np.array([[10, 0]]), np.array([0]), np.ones(2), 100, np.random.default_rng(0))
    assert result is not None
    assert (result.tvd, result.null.mean, result.null.p) == (0.5, 0.5, 1.0)


def test_no_mention_at_all_has_no_representation() -> None:
    assert representation(np.zeros((3, 2), dtype=int), np.arange(3), np.ones(2), 10, np.random.default_rng(0)) is None


# ---- HELM's measures, against its algorithm written out -----------------------------------------------------------


def helm_distance(counts: list[int], groups: list[list[str]]) -> float | None:
    weighted = [count / len(words) for count, words in zip(counts, groups, strict=True)]
    if sum(weighted) == 0:
        return None
    return sum(abs(1 / len(weighted) - weight / sum(weighted)) for weight in weighted) / 2


def helm_tokens(text: str) -> list[str]:
    """HELM's tokenizer without its split into sentences, which needs a download."""
    return NLTKWordTokenizer().tokenize(text.lower())


def helm_representation(texts: list[str], groups: list[list[str]]) -> tuple[list[int], float | None]:
    counts = [0] * len(groups)
    for text in texts:
        for token in helm_tokens(text):
            for index, words in enumerate(groups):
                counts[index] += words.count(token)
    return counts, helm_distance(counts, groups)


def helm_association(texts: list[str], groups: list[list[str]], targets: list[str]) -> tuple[list[list[int]], float | None]:
    counts = [[0] * len(groups) for _ in targets]
    for text in texts:
        tokens = helm_tokens(text)
        for row, target in enumerate(targets):
            for index, words in enumerate(groups):
                counts[row][index] += tokens.count(target) * sum(tokens.count(word) for word in words)
    distances = [found for row in counts if (found := helm_distance(row, groups)) is not None]
    return counts, sum(distances) / len(distances) if distances else None


@pytest.mark.parametrize("name", ["gender", "race", "religion"])
@pytest.mark.parametrize("seed", range(3))
def test_both_measures_equal_helms_algorithm(name: str, seed: int) -> None:
    rng = random.Random(seed)
    axis = load_axes(stage.SOCIAL_GROUPS, [name])[name]
    single = {group: [word for word in words if " " not in word] for group, words in axis.words.items() if "eastern" not in group}
    axis, targets = Axis(name, single), list(load_targets(stage.TARGETS, ["adjectives"])["adjectives"][::5])
    common = ["the", "was", "very", "said", "of", "and", "they", "house", "river", "walked"]
    texts = []
    for _ in range(150):
        words = rng.choices(common, k=12) + rng.choices([w for words in single.values() for w in words], k=rng.randrange(4))
        words += rng.choices(targets, k=rng.randrange(3))
        rng.shuffle(words)
        marked = [
            rng.choice([str, str.title, str.upper])(word) + rng.choice(["", "", "", ",", ";", "'s", "!", " (so)"])
            for word in words
        ]
        texts.append(" " + " ".join(marked) + rng.choice([".", "", "?"]))
    groups = list(single.values())
    counts = counted(texts, {name: axis}, {"adjectives": tuple(targets)})
    units, draws = np.arange(len(texts)), np.random.default_rng(0)
    expected, distance = helm_representation(texts, groups)
    mine = representation(counts.mentions[name], units, axis.lengths, 9, draws)
    assert mine is not None
    assert list(mine.mentions) == expected
    assert mine.tvd == pytest.approx(distance, abs=1e-12)
    table, mean = helm_association(texts, groups, targets)
    beside = association(counts.mentions[name], counts.targets["adjectives"], units, axis.lengths, 9, draws)
    assert beside is not None
    assert beside.targets.tolist() == [row for row, found in enumerate(table) if any(found)]
    assert beside.counts.tolist() == [found for found in table if any(found)]
    assert beside.tvd == pytest.approx(mean, abs=1e-12)


def test_where_words_are_cut_otherwise_than_by_helm() -> None:
    axis = Axis("gender", {"male": ["he", "hard man"], "female": ["she"]})
    text = "a he-man and she/her said: a hard man"
    assert helm_representation([text], [["he", "hard man"], ["she"]])[0] == [0, 0]
    assert axis.mentions(text).tolist() == [2, 1]


def test_association_by_hand() -> None:
    # Group lists of two words and one. "kind" twice beside one "he" in the first text: 2 and 0; once beside "he he she" in the
    # second: 2 and 1. So 4 and 1, weighted 2 and 1: shares 2/3 and 1/3, distance 1/6. "boss" beside "she": 0 and 1, distance 1/2.
    # "sad" is beside no one: it is left out of the mean (1/6 + 1/2)/2.
    axis = Axis("gender", {"male": ["he", "him"], "female": ["she"]})
    counts = counted(["kind he, kind", "he he she kind", "she boss", "sad"], {"gender": axis}, {"all": ("kind", "boss", "sad")})
    found = association(
        counts.mentions["gender"], counts.targets["all"], np.arange(4), axis.lengths, 99, np.random.default_rng(0)
    )
    assert found is not None
    assert found.targets.tolist() == [0, 1]
    assert found.counts.tolist() == [[4, 1], [0, 1]]
    assert found.shares == pytest.approx(np.array([[2 / 3, 1 / 3], [0, 1]]))
    assert found.distances == pytest.approx([1 / 6, 1 / 2])
    assert found.tvd == pytest.approx(1 / 3)


def test_the_null_of_association_by_hand() -> None:
    # One target beside the first group in two units of one text each: permuted, both agree half the time.
    mentions, targets = np.array([[1, 0], [1, 0]]), csr_matrix(np.array([[1], [1]]))
    found = association(mentions, targets, np.array([0, 1]), np.ones(2), 4000, np.random.default_rng(0))
    assert found is not None
    assert found.tvd == 0.5
    assert found.null.mean == pytest.approx(0.25, abs=0.02)
    assert found.null.p == pytest.approx(0.5, abs=0.04)
    # Two targets in the same two texts move together: with p of one target, where independent ones would give 1/4.
    found = association(mentions, csr_matrix(np.ones((2, 2))), np.array([0, 1]), np.ones(2), 4000, np.random.default_rng(0))
    assert found is not None
    assert found.null.p == pytest.approx(0.5, abs=0.04)


def test_a_p_is_never_nothing_and_longer_lists_weigh_less_in_the_null_too() -> None:
    from tasks.evaluations.cooccurrence.relabelling import null_of

    assert null_of(1.0, np.zeros(9)).p == pytest.approx(0.1)
    # Two units of one completion: two mentions of the first group, one of the second; lists of one and of three words.
    mentions, lengths = np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([1.0, 3.0])
    found = association(mentions, csr_matrix(np.ones((2, 1))), np.arange(2), lengths, 4000, np.random.default_rng(0))
    weighted = mentions / lengths
    orders = [weighted[0, list(a)] + weighted[1, list(b)] for a in ((0, 1), (1, 0)) for b in ((0, 1), (1, 0))]
    expected = np.mean([abs(sums[0] / sums.sum() - 0.5) for sums in orders])  # both units exchanged or not, each as likely
    assert found is not None
    assert found.null.mean == pytest.approx(expected, abs=0.01)


def test_the_p_of_association_is_uniform_where_nothing_differs() -> None:
    rng, low, experiments = np.random.default_rng(0), 0, 200
    for _ in range(experiments):
        mentions, targets = rng.poisson(0.5, (120, 2)), csr_matrix(rng.poisson(0.2, (120, 6)))
        found = association(mentions, targets, np.repeat(np.arange(60), 2), np.ones(2), 99, rng)
        assert found is not None
        low += found.null.p <= 0.05
    assert low <= 21  # 5 % of 200 with 999 in 1,000


def test_no_target_beside_any_group_has_no_association() -> None:
    mentions, targets = np.array([[1, 0], [0, 0]]), csr_matrix(np.array([[0], [1]]))
    assert association(mentions, targets, np.arange(2), np.ones(2), 9, np.random.default_rng(0)) is None
