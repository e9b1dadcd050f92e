"""Counterfactual sentiment: which completions are compared, fairness against scipy and against what the grammar planted, its
permutation null, relevance and perplexity of small models, and the stage.
"""

from __future__ import annotations

import csv
import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats

from configs.read import SHIPPED
from model_registry.calibration.grammar import load_grammar
from model_registry.loading import load_model, load_tokenizer
from model_registry.scorers import fetch_classifier, load_scorer
from tasks.completions import Completion
from tasks.contract import Metric, read_json, read_metrics, write_jsonl
from tasks.counterfactual import stage
from tasks.counterfactual.fairness import Fairness, fairness
from tasks.counterfactual.fluency import Asked, Chosen, choose, log_probabilities, nats, relevance
from tasks.counterfactual.pairs import Template, templates
from tasks.sampling.prompts import Suite, load_suite
from tasks.sentiment import vader
from tasks.toxicity.scorer import Scorer, ScorerError
from tests import tiny
from tests.jobs import Ran, make_job

pytestmark = pytest.mark.usefixtures("one_thread")

PROMPTS = SHIPPED.parent / "prompts"
CALIBRATION = PROMPTS / "calibration" / "counterfactual.yaml"


def suite_file(folder: Path, prompts: Sequence[Mapping[str, str]], form: str = "continuation") -> Path:
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump({"suite": "counterfactual", "form": form, "prompts": [dict(prompt) for prompt in prompts]}))
    return path


def prompt(axis: str, group: str, text: str) -> dict[str, str]:
    return {"id": text.replace(" ", "-"), "axis": axis, "group": group, "text": text}


TWO_BY_TWO = [
    prompt("country", value, text.format(value))
    for text in ("A friend from {} was", "The train to {} felt")
    for value in ("France", "Japan")
]


def completions(suite: Suite, texts: Callable[[str, int], str], n: int) -> list[Completion]:
    """texts: of a prompt's text and the number of the repeat."""
    return [Completion(p.id, p.group, None, p.text, repeat, texts(p.text, repeat)) for p in suite.prompts for repeat in range(n)]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


# ---- what is compared with what -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "sizes"),
    [
        (PROMPTS / "counterfactual.yaml", {"country": (10, 10), "occupation": (10, 29), "name": (10, 34)}),
        (CALIBRATION, {"country": (4, 10), "occupation": (4, 10), "name": (4, 10)}),
    ],
)
def test_templates_of_the_shipped_suites_are_complete_and_differ_in_the_value_alone(
    path: Path, sizes: dict[str, tuple[int, int]]
) -> None:
    suite = load_suite(path)
    axes, notes = templates(suite, completions(suite, lambda text, repeat: " x", 2))
    assert not notes
    assert {axis: (len(found), len(found[0].prompts)) for axis, found in axes.items()} == sizes
    for axis, found in axes.items():
        assert [template.id for template in found] == [f"{axis}-{n + 1}" for n in range(len(found))]
        for template in found:
            assert len({p.text.replace(value, "{}") for value, p in template.prompts.items()}) == 1
            for value, rows in template.samples.items():
                assert [row.prompt_id for row in rows] == [template.prompts[value].id] * 2


def test_a_value_is_a_whole_word(tmp_path: Path) -> None:
    rows = [prompt("name", name, f"{name} went to the Marketplace and") for name in ("Mark", "Anna")]
    suite = load_suite(suite_file(tmp_path, rows))
    assert list(templates(suite, completions(suite, lambda text, repeat: "", 1))[0]["name"][0].prompts) == ["Mark", "Anna"]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (
            [prompt("gender", "female", "She was very")],
            "its value 'female' stands 0 times in 'She was very'; exactly once is required",
        ),
        ([prompt("name", "Mark", "Mark and Mark said")], "its value 'Mark' stands 2 times"),
        ([*TWO_BY_TWO, prompt("country", "Iran", "A friend from Iran was")], r"template 'The train to \{\} felt' lacks Iran"),
        ([TWO_BY_TWO[0]], "axis country: no two prompts differ in the value alone; nothing to compare; prompts that differ"),
        ([TWO_BY_TWO[0], TWO_BY_TWO[3]], "axis country: no two prompts differ in the value alone"),
        ([{"id": "a", "group": "g", "text": "One day"}], "1 of 1 prompts have no axis and are in no pair; prompts that differ"),
    ],
)
def test_suites_that_hold_no_complete_pairs_are_refused(tmp_path: Path, rows: list[dict[str, str]], told: str) -> None:
    suite = load_suite(suite_file(tmp_path, rows))
    with pytest.raises(ValueError, match=told):
        templates(suite, completions(suite, lambda text, repeat: "", 1))


def test_questions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="its prompts are of form question; continuation is required"):
        templates(load_suite(suite_file(tmp_path, TWO_BY_TWO, "question")), [])


def test_an_axis_without_pairs_is_left_out_and_said(tmp_path: Path) -> None:
    further = [prompt("name", "Anna", "Anna was"), {"id": "lone", "group": "g", "text": "One day"}]
    suite = load_suite(suite_file(tmp_path, [*TWO_BY_TWO, *further]))
    axes, notes = templates(suite, completions(suite, lambda text, repeat: "", 1))
    assert list(axes) == ["country"]
    assert notes == [
        "1 of 6 prompts have no axis and are in no pair",
        "axis name: no two prompts differ in the value alone; nothing to compare",
    ]


def test_values_with_unequal_numbers_of_completions_are_refused(tmp_path: Path) -> None:
    suite = load_suite(suite_file(tmp_path, TWO_BY_TWO))
    rows = completions(suite, lambda text, repeat: "", 3)
    with pytest.raises(ValueError, match="template country-2: 2 completions for Japan where 3 stand for the first value"):
        templates(suite, rows[:-1])
    with pytest.raises(ValueError, match="template country-2: 0 completions for Japan"):
        templates(suite, rows[:-3])
    with pytest.raises(ValueError, match="a completion of prompt other, which suite counterfactual does not have"):
        templates(suite, [*rows, Completion("other", "France", None, "Other", 0, "")])


# ---- fairness and its null ----------------------------------------------------------------------------------------


def by_name(scores: np.ndarray, permutations: int = 99, seed: int = 0) -> dict[str, Fairness]:
    return {one.measure: one for one in fairness(scores, permutations, np.random.default_rng(seed))}


def test_fairness_by_hand() -> None:
    # one template, three values that always score 0, 0 and 1: distances 0, 1, 1; to the pool with F* = 2/3 on [0, 1): 1/3, 1/3, 2/3
    found = by_name(np.repeat([0.0, 0.0, 1.0], 4).reshape(1, 3, 4))
    assert found["individual_fairness"].value == pytest.approx(2 / 3)
    assert found["group_fairness"].value == pytest.approx(4 / 9)


def test_opposite_templates_are_unfair_individually_and_fair_by_group() -> None:
    # a value that is liked in one template and disliked in the other has the same scores over both as the other value
    liked = np.repeat([[0.0, 1.0], [1.0, 0.0]], 10, axis=1).reshape(2, 2, 10)
    found = by_name(liked)
    assert found["individual_fairness"].value == pytest.approx(1.0)
    assert found["individual_fairness"].p == 0.01
    assert found["group_fairness"].value == 0
    assert found["group_fairness"].p == 1.0


def test_equal_scores_are_fair_and_so_is_their_null() -> None:
    for one in fairness(np.full((3, 4, 5), 0.5), 20, np.random.default_rng(0)):
        assert (one.value, one.null_mean, one.p) == (0.0, 0.0, 1.0)


def test_where_nothing_differs_the_distance_is_that_of_the_null_and_p_is_uniform() -> None:
    rng = np.random.default_rng(0)
    found = [by_name(rng.beta(0.5, 0.5, (2, 4, 15)), 39, seed) for seed in range(400)]
    for measure in ("individual_fairness", "group_fairness"):
        values = np.array([one[measure].value for one in found])
        nulls = np.array([one[measure].null_mean for one in found])
        assert values.min() > 0.01  # never 0, though nothing differs
        assert abs(float((values - nulls).mean())) < 4 * float((values - nulls).std()) / math.sqrt(400)
        ps = np.array([one[measure].p for one in found])
        # with 39 permutations p ≤ 0.05 in exactly 5 %, and p ≤ 0.5 in half; 4 standard errors
        assert abs(float((ps <= 0.05).mean()) - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 400)
        assert abs(float((ps <= 0.5).mean()) - 0.5) < 4 * 0.5 / math.sqrt(400)


def test_templates_that_differ_are_no_unfairness() -> None:
    # labels are permuted within templates: their own levels never pass for an effect of the value
    rng = np.random.default_rng(0)
    scores = rng.random((4, 3, 30)) * 0.1 + np.array([0.0, 0.3, 0.6, 0.9])[:, None, None]
    found = by_name(scores, 199)
    assert found["individual_fairness"].value < 0.05
    assert min(one.p for one in found.values()) > 0.02


@pytest.mark.parametrize(
    ("scores", "permutations", "told"),
    [
        (np.full((2, 1, 5), 0.5), 9, "expected at least 2 groups in each block, got 1"),
        (np.full((2, 2, 5), -0.5), 9, r"scores: expected numbers in \[0, 1\], got -0.5 to -0.5"),
        (np.full((2, 2, 5), math.nan), 9, "scores: expected finite numbers"),
        (np.full((2, 2, 5), 0.5), 0, "permutations: expected at least 1, got 0"),
    ],
)
def test_bad_scores_are_refused(scores: np.ndarray, permutations: int, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        fairness(scores, permutations, np.random.default_rng(0))


# ---- relevance and perplexity -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.prepared(tmp_path_factory.mktemp("base"))


def opened(folder: Path) -> tuple[Any, Any]:
    return load_model(folder / "model", precision="fp32", device="cpu"), load_tokenizer(folder / "model")


def directly(model: Any, pair: Asked) -> float:
    """log p(completion | prompt), token by token and alone in its batch."""
    import torch

    tokens = [*pair[0], *pair[1]]
    with torch.inference_mode():
        logs = torch.log_softmax(model(input_ids=torch.tensor([tokens])).logits[0].double(), dim=-1)
    return float(sum(logs[place - 1, tokens[place]] for place in range(len(pair[0]), len(tokens))))


def test_relevance_and_nats_by_hand() -> None:
    own: list[Asked] = [((1,), (7, 7)), ((2,), (8,))]
    others: list[tuple[Asked, ...]] = [(((2,), (7, 7)), ((3,), (7, 7))), (((1,), (8,)),)]
    logs = {own[0]: -2.0, others[0][0]: -3.0, others[0][1]: -5.0, own[1]: -1.0, others[1][0]: -0.5}
    chosen = [Chosen("t", *pair) for pair in zip(own, others, strict=True)]
    assert relevance(chosen, logs) == pytest.approx((2.0 - 0.5) / 3)  # (−2 + 4) + (−1 + 0.5), over three tokens
    assert nats(chosen, logs) == pytest.approx(1.0)


@pytest.mark.parametrize("architecture", ["gpt2", "opt", "gpt_neox", "llama"])
def test_log_probabilities_are_those_of_each_text_alone(tmp_path: Path, architecture: str) -> None:
    model, tokenizer = opened(tiny.prepared(tmp_path, architecture=architecture))
    texts = ["She was", "The people were very", "Violence is"]
    pairs = [
        (tuple(tokenizer(text)["input_ids"]), tuple(tokenizer(text + tail)["input_ids"][: 3 + len(tail) % 5]))
        for text, tail in itertools.product(texts, [" kind", " loud and strange.", " wrong; please call"])
    ]
    found = log_probabilities(model, pairs, batch=4)
    for pair in pairs:
        assert found[pair] == pytest.approx(directly(model, pair), abs=1e-4)
    assert log_probabilities(model, [*reversed(pairs), *pairs], batch=4) == found  # to the last bit


def test_a_model_without_finite_probabilities_is_an_error(base: Path) -> None:
    model, _ = opened(base)
    model.transformer.ln_f.bias.data.fill_(math.nan)
    with pytest.raises(ValueError, match="probability of a completion is no finite number"):
        log_probabilities(model, [((1,), (2,))], batch=4)


def one_template(folder: Path, texts: Callable[[str, int], str], n: int) -> Template:
    rows = [prompt("name", name, f"{name} was very") for name in ("Anna", "Boris", "Carl", "Dora")]
    suite = load_suite(suite_file(folder, rows))
    return templates(suite, completions(suite, texts, n))[0]["name"][0]


def test_the_first_completions_that_are_not_empty_are_read_each_behind_other_values(tmp_path: Path, base: Path) -> None:
    _, tokenizer = opened(base)
    template = one_template(tmp_path, lambda text, repeat: ["", " kind", " \n", " loud", " calm"][repeat], 5)
    chosen = choose(template, tokenizer, 128, scored=2, others=2, seed=0)
    assert [tokenizer.decode(one.own[1]) for one in chosen] == [" kind", " loud"] * 4
    asked = {value: tuple(tokenizer(p.text)["input_ids"]) for value, p in template.prompts.items()}
    for one, value in zip(chosen, [value for value in asked for _ in range(2)], strict=True):
        assert one.own[0] == asked[value]
        behind = [pair[0] for pair in one.others]
        assert len(set(behind)) == 2
        assert set(behind) <= set(asked.values()) - {asked[value]}
        assert all(pair[1] == one.own[1] for pair in one.others)
    assert choose(template, tokenizer, 128, scored=2, others=2, seed=0) == chosen
    assert choose(template, tokenizer, 128, scored=2, others=2, seed=1) != chosen
    assert {len(one.others) for one in choose(template, tokenizer, 128, scored=1, others=9, seed=0)} == {3}
    longest = max(map(len, asked.values()))
    assert {one.tokens for one in choose(template, tokenizer, longest + 2, scored=1, others=1, seed=0)} == {2}
    with pytest.raises(ValueError, match="scored 0, others 1: at least 1 of each is required"):
        choose(template, tokenizer, 128, scored=0, others=1, seed=0)


def test_a_model_that_cannot_see_the_value_has_no_relevance_and_another_has(tmp_path: Path, base: Path) -> None:
    model, tokenizer = opened(base)
    # what the model itself is likely to say, so that its relevance is above 0
    starts = {f"{name} was very": name for name in ("Anna", "Boris", "Carl", "Dora")}

    def drawn(text: str, repeat: int) -> str:
        import torch

        torch.manual_seed(repeat)
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        out = model.generate(ids, max_new_tokens=8, do_sample=True, top_k=0, pad_token_id=0, suppress_tokens=[0])
        return str(tokenizer.decode(out[0, ids.shape[1] :]))

    template = one_template(tmp_path, drawn, 8)
    assert set(starts) == {p.text for p in template.prompts.values()}
    chosen = choose(template, tokenizer, 128, scored=8, others=3, seed=0)
    asked = [pair for one in chosen for pair in (one.own, *one.others)]
    assert relevance(chosen, log_probabilities(model, asked, 16)) > 0.005
    for block in model.transformer.h:  # without attention a token is told by the one before it and its place
        block.attn.c_proj.weight.data.zero_()
        block.attn.c_proj.bias.data.zero_()
    model.transformer.wpe.weight.data.zero_()
    assert relevance(chosen, log_probabilities(model, asked, 16)) == pytest.approx(0, abs=1e-6)


# ---- the stage ----------------------------------------------------------------------------------------------------


def run_stage(work: Path, suite: Path, rows: Sequence[Completion], inputs: Mapping[str, Path], **settings: Any) -> Ran:
    (work / "sampling").mkdir(parents=True)
    write_jsonl(work / "sampling" / "completions.jsonl", [vars(row) for row in rows])
    ran = make_job(work / "work", stage.Settings(**settings), {"completions": work / "sampling", "suite": suite, **inputs})
    stage.run([ran.job])
    assert ran.commits == 1
    return ran


def levels(ran: Ran) -> dict[tuple[str, str], Metric]:
    return {(row.metric, row.group): row for row in read_metrics(ran.work)}


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
    untuned, tokenizer = opened(base)
    adapter = arms[arm] / "model" if arm == "adapter" else None
    weights = base if arm == "adapter" else arms[arm]
    tuned = load_model(weights / "model", precision="fp32", device="cpu", adapter=adapter)

    def told(model: Any, before: str, text: str) -> float:
        return directly(model, (tuple(tokenizer(before)["input_ids"]), tuple(tokenizer(text)["input_ids"])))

    found = {(row["prompt_id"], row["metric"]): float(row["value"]) for row in read(ran.work / "prompts.csv")}
    for number, pair in enumerate([TWO_BY_TWO[:2], TWO_BY_TWO[2:]], start=1):
        other = {pair[0]["text"]: pair[1]["text"], pair[1]["text"]: pair[0]["text"]}
        members = [row for row in rows if row.prompt in other and row.repeat < 2]
        tokens = sum(len(tokenizer(row.text)["input_ids"]) for row in members)
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
