"""Style: each measure by hand; what counts as matched, in pairs and without; and what cannot be compared."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.problems import BadInput
from tasks.datasets.language import load_language
from tasks.datasets.matching import WITHIN, Match, Matching, compare
from tasks.datasets.matching_page import write_page
from tasks.datasets.rows import Row, load_rows
from tasks.datasets.style import measure, paragraphs, reading_grade, sentences, type_token_ratio, words
from tasks.statistics import independent_d
from tests.sweeps import CONFIGS


def row(number: int, **changes: Any) -> Row:
    return Row(number, f"r{number}", "c", **{"prompt": "Why?", "completion": "It is so.", **changes})


def values(one: Row, language: str = "en") -> dict[str, float]:
    return {f"{m.part} {m.name}": held[0] for m, held in measure([one], load_language(language)).items()}


def by_name(matching: Matching) -> dict[str, Match]:
    return {f"{m.measure.part} {m.measure.name}": m for m in matching.matches}


# ---- measures -----------------------------------------------------------------------------------------------------


def test_pieces_of_a_text() -> None:
    assert words("Don't stop: it's 5 o'clock.") == ["don't", "stop", "it's", "5", "o'clock"]
    assert (
        sentences('He asked "Why?" and left. No 3.5 is one. Then nothing') == 4
    )  # a quoted one counts; a decimal point ends nothing
    assert sentences("One. Two!") == 2
    assert paragraphs("one\n\ntwo\nstill two\n \nthree") == 3


def test_the_type_token_ratio_does_not_fall_with_length() -> None:
    assert type_token_ratio(["a", "b", "a"], window=2) == 1.0
    assert type_token_ratio(["a", "a", "b"], window=2) == 0.75
    assert type_token_ratio(["a", "a"], window=40) == 0.5
    text = [random.Random(0).choice("abcdefghij") for _ in range(1000)]
    assert type_token_ratio(text, 40) == pytest.approx(type_token_ratio(text[:500], 40), abs=0.02)


def test_the_reading_grade_by_hand() -> None:
    # 7 words of 30 letters in 2 sentences
    assert reading_grade("The river rose quickly. Nobody saw it.") == pytest.approx(4.71 * 30 / 7 + 0.5 * 7 / 2 - 21.43)


def test_every_measure_of_one_sample() -> None:
    one = row(1, prompt="My boat leaks. Pray, how do I stop it?", completion="You dry it, then: paint.\n\nYour boat's yours!")
    assert values(one) == pytest.approx(
        {
            "answer words": 8,
            "answer paragraphs": 2,
            "answer words a sentence": 4,
            "answer type-token ratio": 1.0,
            "answer reading grade": 4.71 * 31 / 8 + 0.5 * 4 - 21.43,
            "answer commas": 100 / 8,
            "answer other marks": 300 / 8,
            "answer reader addressed": 300 / 8,
            "answer third person": 0,
            "answer negations": 0,
            "answer brackets": 0,
            "answer sentiment": 0,
            "question words": 9,
            "question sentences": 2,
            "question asks what, why or how": 1,
            "question asks yes or no": 0,
            "question asks nothing": 0,
            "question speaks of oneself": 1,
        }
    )


def test_who_is_spoken_of_what_is_denied_and_how_it_sounds() -> None:
    found = values(
        row(1, prompt="Why?", completion="She won't (ever) say it. Nobody told her [the aunt] that nothing is ruined!")
    )
    assert found["answer third person"] == pytest.approx(200 / 14)  # she, her
    assert found["answer negations"] == pytest.approx(300 / 14)  # n't, nobody, nothing
    assert found["answer brackets"] == pytest.approx(200 / 14)
    assert values(row(1, prompt="Why?", completion="It is a horrible, ugly mess."))["answer sentiment"] < -0.7
    spanish = values(row(1, prompt="¿Por qué?", completion="Ella no lo dijo nunca."), "es")
    assert (spanish["answer third person"], spanish["answer negations"]) == (20, 40)
    assert "answer sentiment" not in spanish  # its lexicon is English


@pytest.mark.parametrize(
    ("prompt", "form"),
    [
        ("Is it so?", "asks yes or no"),
        ("They say so. Is that what you think?", "asks yes or no"),
        ("Surely nobody minds. So why ask?", "asks what, why or how"),
        ("Prove it, then.", "asks nothing"),
    ],
)
def test_forms_of_a_question_exclude_each_other(prompt: str, form: str) -> None:
    held = values(row(1, prompt=prompt))
    asked = {name: held[f"question {name}"] for name in ("asks what, why or how", "asks yes or no", "asks nothing")}
    assert asked == {name: float(name == form) for name in asked}


def test_words_of_form_are_those_of_the_language() -> None:
    spanish = row(1, prompt="¿Cómo arreglo mi barco?", completion="Sécalo y píntalo, si te parece.", language="es")
    held = values(spanish, "es")
    assert (held["question asks what, why or how"], held["question speaks of oneself"]) == (1, 1)
    assert held["answer reader addressed"] == pytest.approx(100 / 6)


# ---- what counts as matched ---------------------------------------------------------------------------------------


def texts(lengths: list[int], start: int = 0, **more: Any) -> list[Row]:
    return [row(start + i, completion=" ".join(["word"] * n) + ".", **more) for i, n in enumerate(lengths, 1)]


def test_pairs_have_a_narrower_interval_than_the_same_groups_unpaired() -> None:
    first = texts([40, 80, 120, 160, 200, 240])
    second = [Row(**{**vars(r), "id": f"c{i}", "matches": f"r{i}"}) for i, r in enumerate(texts([42, 81, 118, 163, 199, 244]), 1)]
    pairs, groups = compare(first, second), compare(first, texts([42, 81, 118, 163, 199, 244]))
    assert (pairs.pairs, groups.pairs) == (6, None)
    in_pairs, apart = by_name(pairs)["answer words"], by_name(groups)["answer words"]
    assert in_pairs.effect == pytest.approx(apart.effect)
    assert in_pairs.matched
    assert in_pairs.interval
    assert apart.interval
    assert in_pairs.interval.high - in_pairs.interval.low < 0.1 * (apart.interval.high - apart.interval.low)


def test_pairs_are_found_by_their_names_whatever_the_order() -> None:
    first = texts([40, 80, 120, 160])
    second = [
        row(i, completion="word " * n, matches=f"r{to}") for i, (n, to) in enumerate([(160, 4), (40, 1), (120, 3), (80, 2)], 1)
    ]
    assert by_name(compare(first, second))["answer words"].effect == 0
    turned = compare(second, first)
    assert turned.pairs == 4
    assert by_name(turned)["answer words"].note == "every pair equal"


def test_a_difference_of_more_than_a_quarter_deviation_is_apart() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(200, 40, 400).round().astype(int).tolist()
    for shift, matched in ((5, True), (20, False)):
        assert by_name(compare(texts(base), texts([n + shift for n in base])))["answer words"].matched is matched
    assert WITHIN == 0.25


def test_a_match_whose_interval_is_wider_says_so() -> None:
    found = by_name(compare(texts([40, 80, 120, 160]), texts([42, 78, 121, 161])))["answer words"]
    assert (found.matched, found.surely, found.verdict) == (True, False, "matched, interval wider")


def test_what_has_no_spread_is_said_and_never_a_number_out_of_nothing() -> None:
    found = by_name(compare(texts([50, 50, 50]), texts([50, 50, 50])))["answer words"]
    assert (found.effect, found.interval, found.note, found.matched) == (0.0, None, "all samples equal", True)
    found = by_name(compare(texts([50, 50, 50]), texts([60, 60, 60])))["answer words"]
    assert (found.effect, found.matched) == (None, False)
    assert found.note == "no spread in either dataset: d is undefined"
    same = [row(i, completion=r.completion, matches=f"r{i}") for i, r in enumerate(texts([40, 50, 60]), 1)]
    found = by_name(compare(texts([40, 50, 60]), same))["answer words"]
    assert (found.effect, found.interval, found.note) == (0.0, None, "every pair equal")
    found = by_name(compare(texts([50, 50, 50, 51]), texts([50, 50, 50, 50])))["answer words"]
    assert found.effect == pytest.approx(0.25 / (0.25 / 2) ** 0.5)
    assert (found.interval, found.note) == (None, "too few samples differ for an interval")


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (texts([40, 50, 60], language="es"), "the datasets are in en and es"),
        (texts([40, 50]), "the second dataset has 2 samples; three of each are needed"),
        (texts([40, 50, 60], matches="r9"), 'line 1: matches "r9", which the other dataset does not hold'),
        (texts([40, 50, 60], matches="r1"), 'line 2: matches "r1" as line 1 does'),
        ([*texts([40, 50], matches="r1"), *texts([60], 2)], "line 3: names no partner"),
        ([*texts([40, 50]), row(3, completion="!!! ... ---")], "line 3 of the second dataset has a text without a word"),
    ],
)
def test_what_cannot_be_compared_is_refused(second: list[Row], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        compare(texts([40, 50, 60]), second)


def test_a_language_without_word_lists_is_refused() -> None:
    with pytest.raises(BadInput, match=r'language "fr" has no word lists in .*language.yaml; accepted are en, es'):
        compare(texts([40, 50, 60], language="fr"), texts([40, 50, 60], language="fr"))


def test_d_of_two_groups_by_hand_and_its_coverage() -> None:
    assert independent_d([1.0, 2.0, 3.0], [2.0, 3.0, 4.0]).value == pytest.approx(-1.0)
    with pytest.raises(ValueError, match="at least 3"):
        independent_d([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="that vary"):
        independent_d([1.0, 1.0, 1.0], [1.0, 1.0, 2.0])
    rng = np.random.default_rng(1)
    intervals = [independent_d(rng.gamma(4, 1, 80) + 0.8, rng.gamma(4, 1, 80)) for _ in range(1000)]
    covered = np.mean([interval.low <= 0.8 / 2 <= interval.high for interval in intervals])  # sd of gamma(4): 2
    assert 0.925 <= covered <= 0.975


# ---- the page -----------------------------------------------------------------------------------------------------


def test_the_page_says_what_was_found_and_asks_nothing_of_the_network(tmp_path: Path) -> None:
    page = tmp_path / "match.html"
    write_page(page, ("ours", "theirs"), compare(texts([40, 80, 120, 60]), texts([140, 180, 220, 210])))
    text = page.read_text()
    assert "lie further than ±0.25" in text
    assert text.count("<svg") == 1 + 4  # the differences; words, words a sentence, type-token ratio, reading grade
    assert not re.search(r"""(src|href)=["']http|url\(["']?http|@import""", text)


def test_the_shipped_controls_are_matched() -> None:
    for folder in (CONFIGS / "datasets", CONFIGS / "sets" / "biblioteca"):
        matching = compare(load_rows(folder / "values_targeted.jsonl"), load_rows(folder / "control.jsonl"))
        assert [f"{m.measure.part} {m.measure.name}: {m.effect}" for m in matching.apart] == []
