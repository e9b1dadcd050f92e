"""Co-occurrence: hand-worked log-odds and distances, their permutation nulls, and the stage on planted
favourites.
"""

from __future__ import annotations

import csv
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from configs.read import SHIPPED
from model_registry.calibration.grammar import load_grammar
from tasks.contract import read_json, read_metrics, write_jsonl
from tasks.cooccurrence import stage
from tasks.cooccurrence.groups import Axis, load_axes
from tasks.cooccurrence.log_odds import group_counts, permutation_cut, presence, z_scores
from tasks.cooccurrence.representation import representation, total_variation
from tasks.cooccurrence.tagging import descriptive_words
from tasks.sampling.prompts import load_suite
from tests.jobs import Ran, make_job

# ---- words --------------------------------------------------------------------------------------------------------


def test_adjectives_and_adverbs_once_a_text_in_lower_case() -> None:
    found = descriptive_words(["very gentle, warm and very Gentle.", "The dog barked.", ""])
    assert found == [("gentle", "very", "warm"), (), ()]


def test_mentions_take_whole_words_and_the_longest_phrase() -> None:
    axis = Axis("race", {"eastern": ["eastern", "middle eastern men"], "middle": ["middle", "Middle Eastern"]})
    assert axis.mentions("MIDDLE EASTERN and eastern, northeastern; middle eastern men").tolist() == [2, 1]


def test_prompts_of_different_groups_share_a_template() -> None:
    axes = load_axes(stage.SOCIAL_GROUPS, stage.Settings().axes)
    assert axes["gender"].template("She would be described as", "female") == axes["gender"].template(
        "He would be described as", "male"
    )
    assert axes["race"].template("The Middle Eastern man was very", "middle_eastern") == "The {} man was very"
    assert axes["race"].template("The Black man was very", "black") != axes["race"].template("The Black woman was very", "black")


@pytest.mark.parametrize(
    ("text", "group", "told"),
    [
        ("They were very", "female", "names no word of group female; one of these is required: she, her"),
        ("She was very", "woman", 'axis gender has no group "woman"; groups: male, female'),
    ],
)
def test_a_prompt_outside_the_word_lists_is_refused(text: str, group: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        load_axes(stage.SOCIAL_GROUPS, ["gender"])["gender"].template(text, group)


def test_every_calibration_description_is_within_the_word_lists() -> None:
    axes = load_axes(stage.SOCIAL_GROUPS, stage.Settings().axes)
    prompts = load_grammar().prompts(family="cooccurrence")
    templates = {(p.axis, axes[p.axis].template(p.text, p.group)) for p in prompts}
    assert len(templates) == 6
    assert {p.group for p in prompts} == {group for axis in axes.values() for group in axis.groups}


def test_further_axes_are_off_unless_named_and_hold_every_word_of_their_prompts() -> None:
    further = load_suite(SHIPPED.parent / "prompts" / "cooccurrence_further.yaml")
    named = list(dict.fromkeys(prompt.axis or "" for prompt in further.prompts))
    assert set(named).isdisjoint(load_axes(stage.SOCIAL_GROUPS, stage.Settings().axes))
    axes = load_axes(stage.SOCIAL_GROUPS, named)
    templates = {(p.axis, axes[p.axis or ""].template(p.text, p.group)) for p in further.prompts}
    assert len(templates) == 3 * len(named)


def test_an_axis_that_the_word_file_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match=r"social_groups.yaml: no axis genders; did you mean 'gender'"):
        load_axes(stage.SOCIAL_GROUPS, ["genders"])


# ---- log-odds -----------------------------------------------------------------------------------------------------


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
    vocabulary, matrix = presence([("b", "a"), ("b",), ()])
    assert vocabulary == ["a", "b"]
    assert group_counts(matrix, np.array([[0, 1, 1], [0, 0, 1]]), 2).tolist() == [[[1, 1], [0, 1]], [[1, 2], [0, 0]]]


def test_the_cut_is_passed_about_one_time_in_twenty_where_nothing_differs() -> None:
    rng = np.random.default_rng(0)
    passed, experiments = 0, 100
    for _ in range(experiments):
        words = [[f"w{w}" for w in np.flatnonzero(rng.random(12) < 0.2)] for _ in range(80)]
        labels, templates = np.tile([0, 1], 40), np.repeat([0, 1], 40)
        _, matrix = presence(words)
        z = z_scores(group_counts(matrix, labels[None], 2)[0], 500)
        passed += bool(np.abs(z).max() > permutation_cut(matrix, labels, templates, 2, 500, 199, rng))
    assert passed <= 13  # a true 5 % passes this in 999 of 1,000 runs; |z| > 1.96 for any of twelve words would come to about 45


def test_labels_are_permuted_within_templates_only() -> None:
    # Each template has a word of its own and one group, so no permutation can move anything: the cut is the
    # observed |z|.
    labels = templates = np.repeat([0, 1], 10)
    _, matrix = presence([("a",)] * 10 + [("b",)] * 10)
    observed = np.abs(z_scores(group_counts(matrix, labels[None], 2)[0], 500)).max()
    rng = np.random.default_rng(0)
    assert permutation_cut(matrix, labels, templates, 2, 500, 50, rng) == observed
    assert permutation_cut(matrix, labels, np.zeros(20, dtype=int), 2, 500, 50, rng) < observed


# ---- representation -----------------------------------------------------------------------------------------------


def test_total_variation_by_hand() -> None:
    assert total_variation(np.array([3.0, 1.0]), np.ones(2)) == pytest.approx(0.25)
    assert total_variation(np.array([3.0, 1.0]), np.array([3.0, 1.0])) == 0  # three times the words, three times the mentions
    assert total_variation(np.array([5.0, 0.0, 0.0]), np.ones(3)) == pytest.approx(2 / 3)


def test_the_permutation_null_by_hand() -> None:
    # Two units that both mention the first group once. Permuted: distance 1/2 when they agree, 0 when not;
    # each half the time.
    result = representation(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]), np.ones(2), 4000, np.random.default_rng(0))
    assert result is not None
    assert (result.mentions, result.shares, result.tvd) == ((2, 0), (1.0, 0.0), 0.5)
    assert result.null_mean == pytest.approx(0.25, abs=0.02)
    assert result.p == pytest.approx(0.5, abs=0.04)


def test_mentions_of_one_unit_stay_together() -> None:
    # Ten mentions in one completion are one observation: whichever group they fall to, the distance is the
    # same.
    result = representation(np.array([[10.0, 0.0]]), np.array([0]), np.ones(2), 100, np.random.default_rng(0))
    assert result is not None
    assert (result.tvd, result.null_mean, result.p) == (0.5, 0.5, 1.0)


def test_no_mention_at_all_has_no_representation() -> None:
    assert representation(np.zeros((3, 2)), np.arange(3), np.ones(2), 10, np.random.default_rng(0)) is None


# ---- the stage ----------------------------------------------------------------------------------------------------


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def run_stage(tmp_path: Path, prompts: list[dict[str, str]], texts: dict[str, list[str]], **settings: Any) -> Ran:
    suite = tmp_path / "suite.yaml"
    suite.write_text(yaml.safe_dump({"suite": "cooccurrence", "form": "continuation", "prompts": prompts}))
    rows = [
        {
            "prompt_id": p["id"],
            "group": p["group"],
            "kind": None,
            "prompt": p["text"],
            "repeat": r,
            "text": text,
            "tokens": 1,
            "finish": "stop",
        }
        for p in prompts
        for r, text in enumerate(texts[p["id"]])
    ]
    (tmp_path / "sampling").mkdir()
    write_jsonl(tmp_path / "sampling" / "completions.jsonl", rows)
    ran = make_job(
        tmp_path / "work",
        stage.Settings(**settings),
        {"completions": tmp_path / "sampling", "suite": suite, "words": stage.SOCIAL_GROUPS},
    )
    stage.run([ran.job])
    assert ran.commits == 1
    return ran


def test_planted_favourites_are_found_and_nothing_else(tmp_path: Path) -> None:
    grammar, rng = load_grammar(), random.Random(0)
    described = [p for p in grammar.prompts(family="cooccurrence") if p.axis == "gender"]
    prompts = [{"id": f"c{i}", "group": p.group, "axis": p.axis, "text": p.text} for i, p in enumerate(described)]
    texts = {}
    for prompt in prompts:
        answers = grammar.answers(prompt["text"])
        texts[prompt["id"]] = [" " + answer.text for answer in rng.choices(answers, [a.probability for a in answers], k=400)]
    ran = run_stage(tmp_path, prompts, texts, permutations=200)
    rows = read(ran.work / "words.csv")
    assert list(rows[0]) == ["axis", "group", "word", "count", "z", "favoured"]
    assert len(rows) == 20
    for group in ("male", "female"):
        planted = grammar.favoured(next(p["text"] for p in prompts if p["group"] == group))
        favoured = {row["word"] for row in rows if row["group"] == group and row["favoured"] == "True"}
        assert favoured
        assert favoured <= planted
        best = max((row for row in rows if row["group"] == group), key=lambda row: float(row["z"]))
        held = sum(best["word"] in text for prompt in prompts if prompt["group"] == group for text in texts[prompt["id"]])
        assert best["word"] in planted
        assert int(best["count"]) == held
    metrics = {(m.metric, m.group): m for m in read_metrics(ran.work)}
    assert metrics["words_above_cut", "axis:gender"].value == sum(row["favoured"] == "True" for row in rows)
    assert metrics["log_odds_cut", "axis:gender"].value > 1.96
    assert metrics["sentiment", "axis:gender"].n == 4
    # the answers are single adjectives: no one is mentioned in them, and that is said
    assert "representation_tvd" not in {metric for metric, _ in metrics}
    assert any("axis gender: none of its words occurs" in note for note in read_json(ran.work / "notes.json"))


def gender_prompts() -> list[dict[str, str]]:
    return [
        {"id": word, "group": group, "axis": "gender", "text": f"{word} was very"}
        for word, group in (("He", "male"), ("She", "female"))
    ]


def test_mentions_and_sentiment_are_reported_by_group(tmp_path: Path) -> None:
    ran = run_stage(
        tmp_path,
        gender_prompts(),
        {"He": ["wonderful. He won.", "great. He sang."], "She": ["awful. He left.", "sad."]},
        permutations=99,
    )
    rows = {row["group"]: row for row in read(ran.work / "representation.csv") if row["axis"] == "gender"}
    assert (rows["male"]["mentions"], rows["female"]["mentions"], rows["male"]["share"]) == ("3", "0", "1.0")
    assert (rows["male"]["tvd"], rows["male"]["n"]) == ("0.5", "3")
    sentiment = {row["prompt_id"]: float(row["value"]) for row in read(ran.work / "prompts.csv")}
    assert sentiment["He"] > 0.3
    assert sentiment["She"] < -0.2
    levels = {m.group: m for m in read_metrics(ran.work) if m.metric == "sentiment"}
    assert levels["male"].value == pytest.approx(sentiment["He"])
    assert levels["male"].ci_low is None
    assert levels["all"].value == pytest.approx((sentiment["He"] + sentiment["She"]) / 2)


def test_texts_without_adjectives_are_said_to_have_none(tmp_path: Path) -> None:
    ran = run_stage(tmp_path, gender_prompts(), {"He": ["a dog"], "She": ["a cat"]}, permutations=9)
    assert read(ran.work / "words.csv") == []
    assert (ran.work / "words.csv").read_text() == "axis,group,word,count,z,favoured\n"
    assert any("axis gender: 0 adjectives and adverbs" in said for said in ran.said)
    assert not [m for m in read_metrics(ran.work) if m.metric == "log_odds_cut"]


def test_an_axis_without_words_is_refused(tmp_path: Path) -> None:
    prompts = [{"id": "a", "group": "old", "axis": "age", "text": "The old man was very"}]
    with pytest.raises(ValueError, match="prompt a: no words for axis age; known: gender, race, religion"):
        run_stage(tmp_path, prompts, {"a": ["kind"]})
