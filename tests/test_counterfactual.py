"""The stage of counterfactual sentiment: against scipy and what the grammar planted, its arms, notes, and a classifier."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from configs.suites import Suite, load_suite
from model_registry.calibration.grammar import load_grammar
from model_registry.loading import load_model
from model_registry.scorers import fetch_classifier, load_scorer
from tasks.contract import read_json
from tasks.sampling.completions import Completion
from tasks.scoring import Scorer, ScorerError
from tasks.sentiment import vader
from tests import counterfactuals, tiny
from tests.counterfactuals import CALIBRATION, TWO_BY_TWO, completions, directly, levels, opened, read, run_stage, suite_file
from tests.jobs import Ran

pytestmark = pytest.mark.usefixtures("one_thread")

base = counterfactuals.base


@pytest.fixture(scope="module")
def drawn_from_the_grammar() -> tuple[Suite, list[Completion]]:
    grammar, rng, suite = load_grammar(), random.Random(0), load_suite(CALIBRATION)

    def drawn(text: str, repeat: int) -> str:
        answers = grammar.answers(text)
        return " " + rng.choices(answers, [answer.probability for answer in answers])[0].text

    return suite, completions(suite, drawn, 300)


@pytest.fixture(scope="module")
def calibration(
    drawn_from_the_grammar: tuple[Suite, list[Completion]], base: Path, tmp_path_factory: pytest.TempPathFactory
) -> Ran:
    folder = tmp_path_factory.mktemp("calibration")
    return run_stage(folder, CALIBRATION, drawn_from_the_grammar[1], {"model": base}, permutations=49, scored=1, others=1)


def test_fairness_of_the_stage_is_that_of_scipy_over_all_pairs(calibration: Ran) -> None:
    suite = load_suite(CALIBRATION)
    scores: dict[str, list[float]] = {}
    for row in read(calibration.work / "scores.csv"):
        scores.setdefault(row["prompt_id"], []).append(float(row["sentiment"]))
    rows = {(row["axis"], row["measure"]): row for row in read(calibration.work / "fairness.csv")}
    for axis in ("country", "occupation", "name"):
        prompts = [p for p in suite.prompts if p.axis == axis]
        texts = list(dict.fromkeys(p.text.replace(p.group, "{}") for p in prompts))
        values = list(dict.fromkeys(p.group for p in prompts))
        of = {(p.text.replace(p.group, "{}"), p.group): scores[p.id] for p in prompts}
        individual = np.mean(
            [stats.wasserstein_distance(of[text, a], of[text, b]) for text in texts for a, b in itertools.combinations(values, 2)]
        )
        everyone = np.concatenate(list(of.values()))
        group = np.mean([stats.wasserstein_distance(np.concatenate([of[text, a] for text in texts]), everyone) for a in values])
        assert float(rows[axis, "individual_fairness"]["value"]) == pytest.approx(individual, abs=1e-9)
        assert float(rows[axis, "group_fairness"]["value"]) == pytest.approx(group, abs=1e-9)
        for measure in ("individual_fairness", "group_fairness"):
            row, metric = rows[axis, measure], levels(calibration)[measure, f"axis:{axis}"]
            assert (row["n"], row["values"], row["templates"]) == ("300", "10", "4")
            assert (metric.value, metric.n, metric.ci_low) == (float(row["value"]), 300, None)
            assert levels(calibration)[measure + "_null", f"axis:{axis}"].value == float(row["null_mean"])
            assert levels(calibration)[measure + "_p", f"axis:{axis}"].value == float(row["p"])


def test_what_the_grammar_planted_is_found(calibration: Ran) -> None:
    grammar = load_grammar()
    for axis in ("country", "occupation", "name"):
        prompts = [p for p in grammar.prompts("counterfactual") if p.axis == axis]
        # sentiment does not depend on the template, so one tells the distance, and the unbiased distance is 2∫(F − G)²
        texts = [answer.text for answer in grammar.answers(prompts[0].text)]  # the same of every prompt
        score = dict(zip(texts, vader(texts), strict=True))
        exact = {p.group: [(1 + score[a.text]) / 2 for a in grammar.answers(p.text)] for p in prompts}
        weights = {p.group: [a.probability for a in grammar.answers(p.text)] for p in prompts}

        def between(distance: Callable[..., float], a: str, b: str, exact: Any = exact, weights: Any = weights) -> float:
            return float(distance(exact[a], exact[b], weights[a], weights[b]))

        pairs = list(itertools.combinations(exact, 2))
        individual = np.mean([between(stats.wasserstein_distance, a, b) for a, b in pairs])
        everyone = ([x for a in exact for x in exact[a]], [w for a in exact for w in weights[a]])
        group = np.mean([stats.wasserstein_distance(exact[a], everyone[0], weights[a], everyone[1]) for a in exact])
        disparity = np.mean([between(stats.energy_distance, a, b) ** 2 for a, b in pairs])
        assert individual > 0.07
        found = levels(calibration)
        for measure, planted in (("individual_fairness", individual), ("group_fairness", group)):
            assert found[measure, f"axis:{axis}"].value == pytest.approx(planted, abs=0.015)
            assert found[measure + "_null", f"axis:{axis}"].value < planted / 2
            assert found[measure + "_p", f"axis:{axis}"].value == 0.02
        assert found["sentiment_disparity", axis].value == pytest.approx(disparity, rel=0.15)
        assert found["mean_sentiment", axis].value == pytest.approx(np.average(everyone[0], weights=everyone[1]), abs=0.01)


def test_completions_dealt_out_at_random_are_no_evidence(
    drawn_from_the_grammar: tuple[Suite, list[Completion]], base: Path, tmp_path: Path
) -> None:
    suite, rows = drawn_from_the_grammar
    rng, texts = random.Random(1), {}
    for axis in ("country", "occupation", "name"):
        ids = {p.id for p in suite.prompts if p.axis == axis}
        members = [(row.prompt_id, row.repeat) for row in rows if row.prompt_id in ids and row.repeat < 60]
        said = [row.text for row in rows if row.prompt_id in ids and row.repeat < 60]
        rng.shuffle(said)
        texts |= dict(zip(members, said, strict=True))
    dealt = [
        Completion(row.prompt_id, row.group, None, row.prompt, row.repeat, texts[row.prompt_id, row.repeat])
        for row in rows
        if row.repeat < 60
    ]
    ran = run_stage(tmp_path, CALIBRATION, dealt, {"model": base}, permutations=99, scored=1, others=1)
    rows_of = read(ran.work / "fairness.csv")
    assert min(float(row["p"]) for row in rows_of) * len(rows_of) > 0.05
    for row in rows_of:
        assert float(row["value"]) == pytest.approx(float(row["null_mean"]), rel=0.3)
    level = levels(ran)["sentiment_disparity", "all"]
    assert level.ci_low is not None
    assert level.ci_high is not None
    assert level.ci_low < 0 < level.ci_high


def test_each_template_has_its_row_for_the_comparison_of_arms(calibration: Ran) -> None:
    rows = read(calibration.work / "prompts.csv")
    ids = [f"{axis}-{n}" for axis in ("country", "occupation", "name") for n in range(1, 5)]
    counts = {"sentiment_disparity": "300", "mean_sentiment": "3000", "relevance": "10", "completion_nats": "10"}
    for metric, n in counts.items():
        found = [row for row in rows if row["metric"] == metric]
        assert sorted(row["prompt_id"] for row in found) == sorted(ids)
        assert {(row["kind"], row["n"]) for row in found} == {("score", n)}
        assert all(row["prompt_id"].startswith(row["group"] + "-") for row in found)
    found = levels(calibration)
    assert found["sentiment_disparity", "all"].n == 12
    inside = found["completion_nats", "country"]
    outside = found["perplexity", "country"]
    assert inside.ci_low is not None
    assert (outside.value, outside.ci_low) == (math.exp(inside.value), math.exp(inside.ci_low))
    assert read_json(calibration.work / "notes.json") == []


def some_words(text: str, repeat: int) -> str:
    words = random.Random(f"{text} {repeat}").choices(["kind", "loud", "wrong", "wonderful", "sad", "calm"], k=4)
    return " " + " ".join(words)


def test_equal_inputs_give_equal_bytes(base: Path, tmp_path: Path) -> None:
    path = suite_file(tmp_path, TWO_BY_TWO)
    rows = completions(load_suite(path), some_words, 6)
    first, again = (run_stage(tmp_path / name, path, rows, {"model": base}, permutations=20) for name in ("a", "b"))
    for name in ("fairness.csv", "scores.csv", "prompts.csv", "metrics.json", "notes.json"):
        assert (first.work / name).read_bytes() == (again.work / name).read_bytes()
    assert first.steps[-1][:2] == (first.steps[-1][1], first.steps[-1][1])


@pytest.fixture(scope="module")
def arms(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model tuned as a whole, and one with an adapter on the base."""
    import torch
    from peft import LoraConfig, get_peft_model

    whole = tiny.prepared(tmp_path_factory.mktemp("whole"), seed=1)
    folder = tmp_path_factory.mktemp("adapter")
    model, _ = opened(base)
    torch.manual_seed(0)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["c_attn"], init_lora_weights=False, fan_in_fan_out=True))
    adapted.save_pretrained(str(folder / "model"))
    return {"whole": whole, "adapter": folder}


@pytest.mark.parametrize("arm", ["whole", "adapter"])
def test_relevance_is_of_the_arm_and_perplexity_of_its_base(arm: str, base: Path, arms: dict[str, Path], tmp_path: Path) -> None:
    path = suite_file(tmp_path, TWO_BY_TWO)
    rows = completions(load_suite(path), some_words, 3)
    ran = run_stage(tmp_path / "run", path, rows, {"model": base, "tuned": arms[arm]}, permutations=5, scored=2, others=5)
    untuned, words = opened(base)
    adapter = arms[arm] / "model" if arm == "adapter" else None
    weights = base if arm == "adapter" else arms[arm]
    tuned = load_model(weights / "model", precision="fp32", device="cpu", adapter=adapter)

    def told(model: Any, before: str, text: str) -> float:
        return directly(model, (tuple(words.tokenizer(before)["input_ids"]), tuple(words.tokenizer(text)["input_ids"])))

    found = {(row["prompt_id"], row["metric"]): float(row["value"]) for row in read(ran.work / "prompts.csv")}
    for number, pair in enumerate([TWO_BY_TWO[:2], TWO_BY_TWO[2:]], start=1):
        other = {pair[0]["text"]: pair[1]["text"], pair[1]["text"]: pair[0]["text"]}
        members = [row for row in rows if row.prompt in other and row.repeat < 2]
        tokens = sum(len(words.tokenizer(row.text)["input_ids"]) for row in members)
        gained, base_gained = (
            sum(told(model, row.prompt, row.text) - told(model, other[row.prompt], row.text) for row in members) / tokens
            for model in (tuned, untuned)
        )
        surprise = -sum(told(untuned, row.prompt, row.text) for row in members) / tokens
        assert found[f"country-{number}", "relevance"] == pytest.approx(gained, abs=1e-4)
        assert found[f"country-{number}", "completion_nats"] == pytest.approx(surprise, abs=1e-4)
        assert abs(gained - base_gained) > 1e-3  # else the model of the two could not be told


def test_empty_completions_are_counted_scored_and_left_out_of_perplexity(base: Path, tmp_path: Path) -> None:
    path = suite_file(tmp_path, TWO_BY_TWO)

    def texts(text: str, repeat: int) -> str:
        return "" if "train" in text else some_words(text, repeat)

    ran = run_stage(tmp_path / "run", path, completions(load_suite(path), texts, 3), {"model": base}, permutations=5)
    assert levels(ran)["empty_completions", "all"].value == 6
    assert read_json(ran.work / "notes.json") == [
        "6 of 12 completions are empty: scored like any other, left out of relevance and perplexity",
        "template country-2: all completions are empty; no relevance and no perplexity to report",
    ]
    assert ran.said == read_json(ran.work / "notes.json")
    rows = {(row["prompt_id"], row["metric"]): float(row["value"]) for row in read(ran.work / "prompts.csv")}
    assert rows["country-2", "mean_sentiment"] == 0.5
    assert rows["country-2", "sentiment_disparity"] == 0
    assert ("country-1", "relevance") in rows
    assert ("country-2", "relevance") not in rows


def test_one_completion_a_value_has_no_disparity_and_says_so(base: Path, tmp_path: Path) -> None:
    path = suite_file(tmp_path, TWO_BY_TWO)
    ran = run_stage(tmp_path / "run", path, completions(load_suite(path), some_words, 1), {"model": base}, permutations=5)
    assert "sentiment_disparity" not in {row["metric"] for row in read(ran.work / "prompts.csv")}
    assert "template country-1: one completion a value; two are needed for sentiment_disparity" in ran.said


# ---- a classifier instead of the lexicon --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Prepares a small random BERT whose label 1 is given a name."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    source = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "kind", "loud", "wrong", "wonderful", "sad", "calm"]
    (source / "vocab.txt").write_text("\n".join(words) + "\n")
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 16,
    }
    model = BertForSequenceClassification(BertConfig(vocab_size=len(words), num_labels=2, **sizes))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(20)
    model.save_pretrained(source)
    BertTokenizerFast(str(source / "vocab.txt")).save_pretrained(source)

    def prepare(name: str) -> Path:
        folder = tmp_path_factory.mktemp("classifier")
        fetch_classifier(str(source), "", {"LABEL_1": name}, folder)
        return folder

    return prepare


def test_a_classifier_scores_by_its_class_positive(classifier: Callable[[str], Path], base: Path, tmp_path: Path) -> None:
    path, folder = suite_file(tmp_path, TWO_BY_TWO), classifier("positive")
    rows = completions(load_suite(path), lambda text, repeat: some_words(text, repeat) * (5 if repeat == 3 else 1), 4)
    ran = run_stage(tmp_path / "run", path, rows, {"model": base, "classifier": folder}, permutations=5, sentiment="classifier")
    scores = [float(row["sentiment"]) for row in read(ran.work / "scores.csv")]
    assert scores == Scorer(load_scorer(folder)).score([row.text for row in rows], batch=16).column("positive")
    assert max(scores) - min(scores) > 0.01
    assert levels(ran)["truncated_completions", "all"].value == 4
    assert ran.said == ["4 of 16 completions are longer than the classifier's window and were cut"]


def test_a_classifier_without_that_class_or_that_is_not_asked_for_is_refused(
    classifier: Callable[[str], Path], base: Path, tmp_path: Path
) -> None:
    path = suite_file(tmp_path, TWO_BY_TWO)
    rows = completions(load_suite(path), some_words, 2)
    inputs = {"model": base, "classifier": classifier("toxicity")}
    with pytest.raises(ScorerError, match="the scorer has the classes toxicity; one named positive is required"):
        run_stage(tmp_path / "a", path, rows, inputs, sentiment="classifier")
    with pytest.raises(ValueError, match="sentiment 'vader' with a classifier; both or none is required"):
        run_stage(tmp_path / "b", path, rows, inputs)
    with pytest.raises(ValueError, match="sentiment 'classifier' without a classifier; both or none is required"):
        run_stage(tmp_path / "c", path, rows, {"model": base}, sentiment="classifier")
    with pytest.raises(ValueError, match="sentiment 'textblob'; vader or classifier is accepted"):
        run_stage(tmp_path / "d", path, rows, {"model": base}, sentiment="textblob")
