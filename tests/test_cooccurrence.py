"""The co-occurrence stage: planted favourites, what it reports by group and axis, and completions that it refuses."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.suites import load_suite
from model_registry.calibration.grammar import load_grammar
from tasks.contract import read_json, read_jsonl, read_metrics, write_jsonl
from tasks.evaluations.cooccurrence import body, measures, stage
from tasks.evaluations.cooccurrence.groups import load_axes
from tests import defaults
from tests.jobs import Ran, make_job


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
        defaults.settings(stage, **settings),
        {"completions": tmp_path / "sampling", "suite": suite, "words": stage.SOCIAL_GROUPS, "targets": stage.TARGETS},
    )
    body.run([ran.job])
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


def test_association_is_reported_by_axis_and_list(tmp_path: Path) -> None:
    texts = {"He": ["kind. He is a doctor, and he is kind.", "tall."], "She": ["kind. She sang.", "sad."]}
    ran = run_stage(tmp_path, gender_prompts(), texts, permutations=99)
    rows = read(ran.work / "association.csv")
    assert [
        (r["axis"], r["list"], r["target"], r["group"], r["count"], r["tvd"]) for r in rows if r["list"] == "professions"
    ] == [
        ("gender", "professions", "doctor", "male", "2", "0.5"),
        ("gender", "professions", "doctor", "female", "0", "0.5"),
    ]
    kind = {r["group"]: (r["count"], float(r["share"])) for r in rows if r["target"] == "kind"}
    assert kind == {"male": ("4", 0.8), "female": ("1", 0.2)}
    levels = {m.metric: m for m in read_metrics(ran.work) if m.group == "axis:gender"}
    assert levels["association_adjectives_tvd"].value == pytest.approx(0.3)
    assert levels["association_adjectives_tvd"].n == 1
    assert levels["association_professions_tvd"].value == 0.5
    assert levels["association_professions_tvd_null"].value == 0.5  # one unit: whoever it falls to, the distance is the same
    assert levels["association_professions_p"].value == 1
    assert "axis religion: none of the adjectives occurs in a completion that names a group; no association to report" in ran.said
    assert not [m for m in read_metrics(ran.work) if m.metric.startswith("association") and m.group == "axis:religion"]


def test_sentiment_of_an_axis_and_a_group_has_an_interval_from_two_prompts_on(tmp_path: Path) -> None:
    prompts = [
        {**p, "id": f"{p['id']}{n}", "text": text.format(p["id"])}
        for p in gender_prompts()
        for n, text in enumerate(["{} was", "{} is"])
    ]
    texts = {"He0": ["good"], "He1": ["wonderful"], "She0": ["a house"], "She1": ["awful"]}
    levels = {
        m.group: m for m in read_metrics(run_stage(tmp_path, prompts, texts, permutations=9).work) if m.metric == "sentiment"
    }
    for group, n in (("male", 2), ("female", 2), ("axis:gender", 4)):
        level = levels[group]
        assert level.n == n
        assert level.ci_low is not None
        assert level.ci_high is not None
        assert level.ci_low < level.value < level.ci_high


def test_a_group_that_never_occurs_has_the_share_nothing(tmp_path: Path) -> None:
    ran = run_stage(tmp_path, gender_prompts(), {"He": ["the Muslims", "a Hindu"], "She": ["a Hindu.", "x"]}, permutations=9)
    rows = {row["group"]: row for row in read(ran.work / "representation.csv") if row["axis"] == "religion"}
    assert (rows["judaism"]["mentions"], rows["judaism"]["share"]) == ("0", "0.0")
    assert sum(float(row["share"]) for row in rows.values()) == pytest.approx(1)


def test_empty_texts_have_stated_results_and_no_more(tmp_path: Path) -> None:
    ran = run_stage(tmp_path, gender_prompts(), {"He": ["", " "], "She": ["", "\n"]}, permutations=9)
    assert {(m.metric, m.value) for m in read_metrics(ran.work)} == {("sentiment", 0.0)}
    notes = read_json(ran.work / "notes.json")
    assert notes == ran.said
    assert [sum(word in note for note in notes) for word in ("adjectives and adverbs", "representation", "association")] == [
        1,
        3,
        6,
    ]


def test_one_group_has_nothing_to_contrast(tmp_path: Path) -> None:
    ran = run_stage(tmp_path, gender_prompts()[:1], {"He": ["very kind", "he is kindly"]}, permutations=9)
    assert read(ran.work / "words.csv") == []
    assert "axis gender: 2 adjectives and adverbs in 1 group(s); two of each are needed to tell favoured words" in ran.said
    assert {m.metric for m in read_metrics(ran.work)} >= {"sentiment", "representation_tvd"}


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda rows: rows[:-1], r"prompt She has the repeats \[0\]; 0 to 1, each once, are required"),
        (lambda rows: rows[:3] + rows[2:3], r"prompt She has the repeats \[0, 0\]"),
        (
            lambda rows: [{**row, "prompt_id": "They"} for row in rows],
            "a completion of prompt They, which suite cooccurrence does not have",
        ),
        (lambda rows: [], "no completions; at least one a prompt is required"),
    ],
)
def test_missing_and_foreign_completions_are_refused(tmp_path: Path, spoil: Any, told: str) -> None:
    run_stage(tmp_path, gender_prompts(), {"He": ["a", "b"], "She": ["c", "d"]}, permutations=9)
    path = tmp_path / "sampling" / "completions.jsonl"
    write_jsonl(path, spoil(read_jsonl(path)))
    axes = load_axes(stage.SOCIAL_GROUPS, ["gender"])
    with pytest.raises(ValueError, match=told):
        measures.read(tmp_path / "sampling", load_suite(tmp_path / "suite.yaml"), axes, {})


def test_the_order_of_completions_and_the_size_of_batches_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"He": ["kind he", "very tall", "sad, she"], "She": ["nice she", "so sad he", "tall"]}
    ran = run_stage(tmp_path, gender_prompts(), texts, permutations=19)
    path = tmp_path / "sampling" / "completions.jsonl"
    write_jsonl(path, list(reversed(read_jsonl(path))))
    monkeypatch.setattr(measures, "_BATCH", 2)
    again = make_job(tmp_path / "again", ran.job.settings, ran.job.inputs)
    body.run([again.job])
    for name in ("words.csv", "representation.csv", "association.csv", "prompts.csv", "metrics.json"):
        assert (again.work / name).read_bytes() == (ran.work / name).read_bytes()


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
