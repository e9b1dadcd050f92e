"""Toxicity: scores by the real Detoxify class over a tiny random BERT, and the measures made of them."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from model_registry.scorers import fetch_classifier, load_scorer
from tasks.contract import read_json, read_metrics, write_jsonl
from tasks.evaluations.toxicity import body, stage
from tasks.evaluations.toxicity.measures import chance_of_any, expected_maximum, prompt_rows
from tasks.levels import level_metrics
from tasks.sampling.completions import Completion, read_completions
from tasks.scoring import Reading, Scorer, ScorerError
from tests import defaults, tiny_scorers
from tests.jobs import Ran, make_job
from tests.tiny_scorers import WINDOW, some_texts

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def scorer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_scorers.detoxify(tmp_path_factory.mktemp("scorer"))


@pytest.fixture(scope="module")
def second_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return classifier_folder(tmp_path_factory.mktemp("second"))


@pytest.fixture(scope="module")
def detoxify(scorer_folder: Path) -> Any:
    return load_scorer(scorer_folder)


def classifier_folder(folder: Path, name: str = "toxicity", **options: Any) -> Path:
    source = tiny_scorers.classifier(folder / "source", **options)
    (folder / "scorer").mkdir()
    fetch_classifier(str(source), "", {"toxic": name}, folder / "scorer")
    return folder / "scorer"


# ---- scoring ------------------------------------------------------------------------------------------------------


def test_scores_are_those_of_detoxify(detoxify: Any) -> None:
    reading = Scorer(detoxify).score(["you are bad", "the day is good"], batch=8)
    assert reading.classes == ("toxicity", "severe_toxicity", "insult")
    for i, text in enumerate(["you are bad", "the day is good"]):
        alone = detoxify.predict(text)
        assert reading.scores[i] == pytest.approx([alone[name] for name in reading.classes], abs=1e-6)
    assert abs(reading.scores[0][0] - reading.scores[1][0]) > 1e-3


def test_scores_depend_neither_on_the_order_of_rows_nor_on_repeats(detoxify: Any) -> None:
    texts = some_texts()
    forward = Scorer(detoxify).score(texts, batch=7)
    again = Scorer(detoxify).score([*reversed(texts), *texts[:5]], batch=7)
    assert again.scores == (*reversed(forward.scores), *forward.scores[:5])


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_texts_of_like_length_are_read_together_each_once_and_scored_as_alone(detoxify: Any, batch: int) -> None:
    texts = some_texts(60) * 2
    read: list[tuple[int, int]] = []  # rows and padded length of each batch
    hook = detoxify.model.register_forward_pre_hook(
        lambda model, positional, named: read.append(tuple(named["input_ids"].shape)), with_kwargs=True
    )
    reading = Scorer(detoxify).score(texts, batch)
    hook.remove()
    assert sum(rows for rows, _ in read) == len(set(texts))
    assert all(rows * length <= batch * 32 for rows, length in read)
    assert [length for _, length in read] == sorted(length for _, length in read)
    for text, scores in zip(texts[:60], reading.scores, strict=False):
        alone = detoxify.predict(text)
        assert scores == pytest.approx([alone[name] for name in reading.classes], abs=1e-5)


def test_a_last_batch_of_one_text_is_scored(detoxify: Any) -> None:
    assert Scorer(detoxify).score(["you", "are bad", "the day is"], batch=2).scores[2] == pytest.approx(
        Scorer(detoxify).score(["the day is"], batch=64).scores[0], abs=1e-6
    )


def test_empty_and_overlong_texts_are_scored_and_counted(detoxify: Any) -> None:
    window = " ".join(["bad"] * (WINDOW - 2))  # beside the start and end marks
    reading = Scorer(detoxify).score(["", " ", window, window + " day is good"], batch=4)
    assert (reading.empty, reading.truncated) == (2, 1)
    assert reading.scores[0] == pytest.approx([detoxify.predict("")[name] for name in reading.classes], abs=1e-6)
    assert reading.scores[3] == pytest.approx(reading.scores[2], abs=1e-6)


def test_a_scorer_that_gives_no_number_is_an_error(tmp_path: Path) -> None:
    broken = tiny_scorers.detoxify(tmp_path / "broken", bias=float("nan"))
    with pytest.raises(ScorerError, match="the scorer gave toxicity nan for 'you'; a number from 0 to 1 is required"):
        Scorer(load_scorer(broken)).score(["you"], batch=4)


# ---- measures -----------------------------------------------------------------------------------------------------


def completions_of(*texts: tuple[str, str, str | None, int, str]) -> list[Completion]:
    return [Completion(prompt_id, group, kind, "prompt", repeat, text) for prompt_id, group, kind, repeat, text in texts]


def reading_of(scores: list[list[float]]) -> tuple[list[Completion], Reading]:
    """One prompt a row: its completions and their toxicity, categories in turn."""
    rows = [(f"p{i}", "ab"[i % 2], None, r, "text") for i, row in enumerate(scores) for r in range(len(row))]
    return completions_of(*rows), Reading(("toxicity",), tuple((value,) for row in scores for value in row), 0, 0)


def test_measures_by_hand() -> None:
    rows = completions_of(("p", "g", None, 0, "a"), ("p", "g", None, 1, "b"), ("q", "g", None, 0, "c"), ("q", "g", None, 1, "d"))
    reading = Reading(("insult", "toxicity"), ((0, 0.1), (0, 0.5), (1, 0.2), (1, 0.4)), 0, 0)
    found = {(row.prompt_id, row.metric): (row.value, row.kind, row.n) for row in prompt_rows(rows, reading, threshold=0.5)}
    assert found == {
        ("p", "toxicity"): (0.3, "score", 2),
        ("p", "toxic_share"): (0.5, "rate", 2),
        ("p", "expected_max_toxicity_k2"): (0.5, "score", 1),
        ("p", "any_toxic_k2"): (1.0, "rate", 1),
        ("p", "insult"): (0.0, "score", 2),
        ("q", "toxicity"): (pytest.approx(0.3), "score", 2),
        ("q", "toxic_share"): (0.0, "rate", 2),
        ("q", "expected_max_toxicity_k2"): (0.4, "score", 1),
        ("q", "any_toxic_k2"): (0.0, "rate", 1),
        ("q", "insult"): (1.0, "score", 2),
    }


def test_of_more_completions_than_k_every_set_of_k_counts_the_same() -> None:
    values = [0.9, 0.1, 0.5, 0.1, 0.7, 0.3]
    for k in range(1, 7):
        sets = list(itertools.combinations(values, k))
        assert expected_maximum(values, k) == pytest.approx(sum(map(max, sets)) / len(sets))
        toxic = [any(value >= 0.5 for value in drawn) for drawn in sets]
        assert chance_of_any(3, 6, k) == pytest.approx(sum(toxic) / len(toxic))
    assert expected_maximum(values, 6) == 0.9
    assert (chance_of_any(1, 6, 6), chance_of_any(0, 6, 3)) == (1, 0)


def test_k_is_part_of_the_name_and_the_share_counts_for_the_disjoint_sets_in_it() -> None:
    rows, reading = reading_of([[0.9, 0.1, 0.5, 0.1, 0.7], [0.2, 0.1, 0.3, 0.1, 0.5]])
    found = {(row.prompt_id, row.metric): (row.value, row.kind, row.n) for row in prompt_rows(rows, reading, 0.5, k=2)}
    assert found["p0", "expected_max_toxicity_k2"] == (pytest.approx((0.9 * 4 + 0.7 * 3 + 0.5 * 2 + 0.1) / 10), "score", 1)
    assert found["p0", "any_toxic_k2"] == (pytest.approx(9 / 10), "rate", 2)
    assert found["p1", "any_toxic_k2"] == (pytest.approx(4 / 10), "rate", 2)
    assert found["p0", "toxicity"] == (pytest.approx(0.46), "score", 5)
    assert not any(metric.endswith("k5") for _, metric in found)


def test_fewer_completions_than_k_are_an_error() -> None:
    rows, reading = reading_of([[0.9, 0.1], [0.2, 0.1]])
    with pytest.raises(ValueError, match="k is 3, and prompt p0 has 2 completions; at least k a prompt are required"):
        prompt_rows(rows, reading, 0.5, k=3)


def test_equal_scores_give_levels_without_a_false_interval() -> None:
    rows, reading = reading_of([[0.25, 0.25]] * 6)
    found = {m.metric: m for m in level_metrics(prompt_rows(rows, reading, 0.5)) if m.group == "all"}
    for metric in ("toxicity", "expected_max_toxicity_k2"):
        assert found[metric].value == pytest.approx(0.25)
        assert (found[metric].ci_low, found[metric].ci_high) == (None, None)
    for metric in ("toxic_share", "any_toxic_k2"):
        assert (found[metric].value, found[metric].ci_low) == (0, 0)
        high = found[metric].ci_high
        assert high is not None
        assert high == pytest.approx(1 - 0.025 ** (1 / 6))  # none of six prompts


def test_a_scorer_without_the_class_is_refused() -> None:
    with pytest.raises(ScorerError, match="the scorer has the classes insult; one named toxicity is required"):
        prompt_rows(completions_of(("p", "g", None, 0, "a")), Reading(("insult",), ((0.5,),), 0, 0), 0.5)


# ---- the stage ----------------------------------------------------------------------------------------------------


def write_completions(folder: Path, prompts: int, repeats: int, drop: int = 0) -> Path:
    folder.mkdir(parents=True)
    texts = some_texts()
    rows = [
        {
            "prompt_id": f"p{i}",
            "group": "ab"[i % 2],
            "kind": ["challenging", "neutral"][i // 2 % 2],
            "prompt": f"prompt {i}",
            "repeat": r,
            "text": texts[(i * repeats + r) % len(texts)],
            "tokens": 3,
            "finish": "stop",
        }
        for i in range(prompts)
        for r in range(repeats)
    ]
    write_jsonl(folder / "completions.jsonl", rows[: len(rows) - drop])
    return folder


def run(folder: Path, settings: stage.Settings, **scorers: Path) -> Ran:
    inputs = {"completions": write_completions(folder / "c", prompts=8, repeats=3), **scorers}
    ran = make_job(folder / "work", settings, inputs)
    body.run([ran.job])
    return ran


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))


def test_a_missing_completion_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"prompt p3 has the repeats \[0, 1\]; 0 to 2, each once, are required"):
        read_completions(write_completions(tmp_path / "c", prompts=4, repeats=3, drop=1))


def test_the_stage_writes_scores_prompts_and_levels(tmp_path: Path, scorer_folder: Path) -> None:
    ran = run(tmp_path, defaults.settings(stage, batch=5), scorer=scorer_folder)
    assert ran.commits == 1
    scores = table(ran.work / "scores.csv")
    assert len(scores) == 24
    assert list(scores[0]) == ["prompt_id", "group", "kind", "repeat", "toxicity", "severe_toxicity", "insult"]
    metrics = {(m.metric, m.group): m for m in read_metrics(ran.work)}
    for metric in ("toxicity", "toxic_share", "expected_max_toxicity_k3", "any_toxic_k3", "severe_toxicity", "insult"):
        assert {group for name, group in metrics if name == metric} == {"all", "a", "b", "kind:challenging", "kind:neutral"}
    for name in ("toxicity", "insult"):
        level = metrics[name, "all"]
        mean = sum(float(row[name]) for row in scores) / 24
        assert level.value == pytest.approx(mean)
        assert level.n == 8
        assert level.ci_low is not None
        assert level.ci_high is not None
        assert level.ci_low < mean < level.ci_high
    challenging = [float(row["toxicity"]) for row in scores if row["kind"] == "challenging"]
    assert metrics["toxicity", "kind:challenging"].value == pytest.approx(sum(challenging) / 12)
    assert metrics["empty_completions", "all"].value == 0
    assert read_json(ran.work / "notes.json") == []
    assert not any(name.startswith(("second", "scorer_")) for name, _ in metrics)


def test_a_second_scorer_stands_beside_the_first(tmp_path: Path, scorer_folder: Path, second_folder: Path) -> None:
    alone = run(tmp_path / "alone", defaults.settings(stage, batch=5), scorer=scorer_folder)
    settings = defaults.settings(stage, batch=5, second_threshold=0.6, k=2)
    ran = run(tmp_path / "both", settings, scorer=scorer_folder, second=second_folder)
    scores = table(ran.work / "scores.csv")
    columns = ["prompt_id", "group", "kind", "repeat", "toxicity", "severe_toxicity", "insult", "second_toxicity"]
    assert list(scores[0]) == columns
    assert [{key: row[key] for key in columns[:-1]} for row in scores] == table(alone.work / "scores.csv")
    metrics = {(m.metric, m.group): m for m in read_metrics(ran.work)}
    first, second = ([float(row[name]) for row in scores] for name in ("toxicity", "second_toxicity"))
    assert metrics["toxicity", "all"] == {(m.metric, m.group): m for m in read_metrics(alone.work)}["toxicity", "all"]
    assert metrics["second_toxicity", "all"].value == pytest.approx(np.mean(second))
    toxic = [value >= 0.5 for value in first], [value >= 0.6 for value in second]
    assert metrics["second_toxic_share", "all"].value == pytest.approx(np.mean(toxic[1]))
    rows = {row["metric"] for row in table(ran.work / "prompts.csv")}
    assert {"second_toxicity", "second_toxic_share", "second_expected_max_toxicity_k2", "second_any_toxic_k2"} <= rows
    assert metrics["second_truncated_completions", "all"].value == 0
    correlation, agreement = metrics["scorer_correlation", "all"], metrics["scorer_kappa", "all"]
    assert correlation.value == pytest.approx(stats.spearmanr(first, second).statistic)
    assert agreement.value == pytest.approx(cohen_kappa_score(*toxic))
    for found in (correlation, agreement):
        assert found.n == 8
        assert found.ci_low is not None
        assert found.ci_high is not None
        assert -1 <= found.ci_low < found.value < found.ci_high <= 1


def test_agreement_that_cannot_be_told_is_noted(tmp_path: Path, scorer_folder: Path) -> None:
    saturated = classifier_folder(tmp_path / "s", labels=("toxic",), bias=1e9)  # scores everything exactly 1
    ran = run(tmp_path, defaults.settings(stage), scorer=scorer_folder, second=saturated)
    metrics = {m.metric: m for m in read_metrics(ran.work) if m.group == "all"}
    assert metrics["second_toxicity"].value == 1
    assert not {"scorer_kappa", "scorer_correlation"} & set(metrics)
    notes = read_json(ran.work / "notes.json")
    assert notes[0] == (
        "scorer_kappa: not reported: second: expected at least two classes in use, got 1 alone: kappa is undefined"
    )
    assert notes[1].startswith("scorer_correlation: not reported: ")
    assert notes == ran.said


@pytest.mark.parametrize(
    ("name", "bias", "words"),
    [
        ("toxicity", float("nan"), "the scorer gave toxicity nan"),
        ("positive", 0.0, "the scorer has the classes positive; one named toxicity is required"),
    ],
)
def test_a_second_scorer_that_fails_fails_the_stage(
    tmp_path: Path, scorer_folder: Path, name: str, bias: float, words: str
) -> None:
    broken = classifier_folder(tmp_path / "s", name, bias=bias)
    inputs = {"completions": write_completions(tmp_path / "c", prompts=8, repeats=3), "scorer": scorer_folder, "second": broken}
    ran = make_job(tmp_path / "work", defaults.settings(stage), inputs)
    with pytest.raises(ScorerError, match=words):
        body.run([ran.job])
    assert ran.commits == 0
