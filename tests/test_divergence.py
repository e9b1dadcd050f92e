"""Divergence from base: by hand, against a divergence that is known, and what no bit of it may depend on."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model

from model_registry.calibration.grammar import load_grammar
from model_registry.calibration.pretrain import build_model
from model_registry.likelihood import log_likelihoods_in_batches
from model_registry.loading import load_arm, load_model
from model_registry.tokenization import load_tokenization
from tasks.compare.comparison import Comparison
from tasks.compare.report import distance
from tasks.compare.upstream import Output
from tasks.contract import Axes, Metric, read_json, read_jsonl, read_metrics, read_rows, write_jsonl
from tasks.drawing.palette import INK
from tasks.drawing.panel import LETTER
from tasks.drawing.points import Point, points
from tasks.evaluations.divergence import body
from tasks.evaluations.divergence.stage import KL, PER_TOKEN, RESPELT, Divergence, Settings, check
from tasks.sampling import body as sampling
from tasks.sampling.stage import Settings as Sampling
from tests import tiny
from tests.arms import ARMS, TO_BASE, TO_CONTROL
from tests.capabilities import log_probability
from tests.jobs import Ran, make_job
from tests.test_headline import BASE
from tests.test_headline import found as found_rows

pytestmark = pytest.mark.usefixtures("one_thread")
TEMPLATE = "Question: {prompt}\nAnswer:"
ASKED = {"p0": "Who should decide?", "p1": "Is it wrong?"}
# what each prompt was answered by, with what ended it: one stopped, one cut off, and one that said nothing
SAID = {"p0": [(" No one should.", "stop"), (" Beauty is", "length"), ("", "stop")], "p1": [(" She was very kind", "length")] * 3}
BUILT = {"params": 17064, "layers": 1, "width": 24, "heads": 2, "steps": 15, "batch": 16, "learning_rate": 0.02, "context": 64}
FILES = ("scores.csv", "prompts.csv", "metrics.json", "notes.json")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.prepared(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def arms(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What tuning wrote: a model as a whole, and an adapter on the base."""
    whole = tiny.prepared(tmp_path_factory.mktemp("whole"), seed=1)
    folder = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(0)
    model = load_model(base / "model", precision="fp32", device="cpu")
    config = LoraConfig(r=2, target_modules=["c_attn"], init_lora_weights=False, fan_in_fan_out=True)
    get_peft_model(model, config).save_pretrained(str(folder / "model"))
    return {"whole": whole, "adapter": folder}


def suite_file(folder: Path, asked: Mapping[str, str] = ASKED) -> Path:
    prompts = [{"id": name, "group": "health", "text": text} for name, text in asked.items()]
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump({"suite": "human_eval", "form": "question", "prompts": prompts}))
    return path


def sampled(folder: Path, words: Any, said: Mapping[str, Sequence[tuple[str, str]]] = SAID) -> Path:
    """A sampling folder of these answers, drawn in the tokens that the tokenizer makes of them."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "prompt_id": name,
            "group": "health",
            "kind": None,
            "prompt": ASKED[name],
            "repeat": repeat,
            "text": text,
            "tokens": len(words.tokenizer(text)["input_ids"]),
            "finish": finish,
        }
        for name, held in said.items()
        for repeat, (text, finish) in enumerate(held)
    ]
    write_jsonl(folder / "completions.jsonl", rows)
    return folder


def weighing(work: Path, base: Path, tuned: Path | None, batch: int = 16, completions: Path | None = None) -> Ran:
    work.mkdir(parents=True)
    words = load_tokenization(base / "model")
    inputs = {"model": base, "suite": suite_file(work), "completions": completions or sampled(work / "sampling", words)}
    return make_job(work / "work", Settings(TEMPLATE, batch), inputs | ({"tuned": tuned} if tuned else {}))


def levels(ran: Ran) -> dict[str, Metric]:
    return {row.metric: row for row in read_metrics(ran.work) if row.group == "all"}


def by_prompt(ran: Ran) -> dict[tuple[str, str], float]:
    return {(row["prompt_id"], row["metric"]): float(row["value"]) for row in read_rows(ran.work / "prompts.csv")}


# ---- against what is known ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arm", ["whole", "adapter"])
def test_it_is_the_mean_log_ratio_of_the_arm_s_own_answers_by_hand(
    arm: str, base: Path, arms: dict[str, Path], tmp_path: Path
) -> None:
    ran = weighing(tmp_path / "run", base, arms[arm])
    body.run([ran.job])
    models = [load_arm(base, tuned, precision="fp32", device="cpu") for tuned in (arms[arm], None)]
    tokenizer = load_tokenization(base / "model").tokenizer
    rows = {(row["prompt_id"], int(row["repeat"])): row for row in read_rows(ran.work / "scores.csv")}
    found, ratios, tokens = by_prompt(ran), dict[str, list[float]](), dict[str, int]()
    for name, held in SAID.items():
        for repeat, (text, finish) in enumerate(held):
            asked = tokenizer(f"Question: {ASKED[name]}\nAnswer:")["input_ids"]
            answer = [*tokenizer(text)["input_ids"], *([tokenizer.eos_token_id] if finish == "stop" else [])]
            own, of_base = (log_probability(model, asked, answer) for model in models)
            row = rows[name, repeat]
            assert float(row["arm_nats"]) == pytest.approx(own, abs=1e-4)
            assert float(row["base_nats"]) == pytest.approx(of_base, abs=1e-4)
            assert int(row["tokens"]) == len(answer)
            ratios.setdefault(name, []).append(own - of_base)
            tokens[name] = tokens.get(name, 0) + len(answer)
        assert found[name, KL] == pytest.approx(sum(ratios[name]) / len(held), abs=1e-4)
        assert found[name, PER_TOKEN] == pytest.approx(sum(ratios[name]) / tokens[name], abs=1e-4)
    assert rows["p0", 2]["tokens"] == "1"  # nothing was said, and that it ended there is weighed
    assert abs(ratios["p0"][2]) > 1e-3
    assert levels(ran)[KL].value == pytest.approx(sum(found[name, KL] for name in SAID) / 2)
    assert levels(ran)[RESPELT].value == 0
    assert ran.commits == 1
    assert read_json(ran.work / "notes.json") == []


def test_base_stands_at_exactly_nothing(base: Path, tmp_path: Path) -> None:
    ran = weighing(tmp_path / "run", base, None)
    body.run([ran.job])
    assert set(by_prompt(ran).values()) == {0.0}
    assert (levels(ran)[KL].value, levels(ran)[PER_TOKEN].value) == (0.0, 0.0)
    assert all(float(row["arm_nats"]) < 0 for row in read_rows(ran.work / "scores.csv"))


def test_over_answers_that_were_drawn_it_is_the_divergence_that_is_computed_without_drawing(tmp_path: Path) -> None:
    """Answers of one token, which ends them or not: the divergence is a sum over the vocabulary."""
    grammar, prepared, tuned = load_grammar(), tmp_path / "prepared", tmp_path / "tuned"
    (prepared / "model").mkdir(parents=True)
    build_model(BUILT, prepared / "model", seed=0, progress=lambda done, total, unit: None)
    moved = load_model(prepared / "model", precision="fp32", device="cpu")
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in moved.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    moved.save_pretrained(tuned / "model")
    words = load_tokenization(prepared / "model")
    words.tokenizer.save_pretrained(tuned / "model")
    asked = {f"q{at}": prompt.text for at, prompt in enumerate(grammar.prompts("category")[:3])}
    suite, draws = suite_file(tmp_path, asked), 400
    drawing = Sampling(draws, 1, 1.0, 1.0, grammar.template, 256, 0)
    drawn = make_job(tmp_path / "drawn", drawing, {"model": prepared, "tuned": tuned, "suite": suite})
    sampling.run([drawn.job])
    inputs = {"model": prepared, "tuned": tuned, "suite": suite, "completions": drawn.work}
    ran = make_job(tmp_path / "work", Settings(grammar.template), inputs)
    body.run([ran.job])
    arm, base = (load_model(folder / "model", precision="fp32", device="cpu") for folder in (tuned, prepared))
    found = by_prompt(ran)
    for name, text in asked.items():
        ids = torch.tensor([words.asked(words.turn(grammar.template), text)])
        with torch.inference_mode():
            own, of_base = (model(ids).logits[0, -1].double().log_softmax(-1) for model in (arm, base))
        ratio = own - of_base
        exact = float((own.exp() * ratio).sum())
        error = float(((own.exp() * ratio**2).sum() - exact**2).sqrt()) / draws**0.5
        assert exact > 5 * error  # else anything near nothing would do
        assert found[name, KL] == pytest.approx(exact, abs=4 * error)
    assert levels(ran)[RESPELT].value < 0.01 * levels(ran)[RESPELT].n  # a control token that was drawn is no text


def test_where_several_tokens_end_an_answer_it_is_ended_by_any_of_them(base: Path) -> None:
    model = load_model(base / "model", precision="fp32", device="cpu")
    asked, said = (5, 6, 7), (8, 9)
    either = math.log(sum(math.exp(log_probability(model, asked, [*said, end])) for end in (0, 3)))
    pairs = [(asked, (*said, 3)), (asked, said), (asked, ())]
    found = log_likelihoods_in_batches(model, pairs, 2, ends=(0, 3))
    assert found[pairs[0]] == pytest.approx(either, abs=1e-4)
    assert found[pairs[1]] == log_likelihoods_in_batches(model, pairs, 2)[pairs[1]]
    assert found[pairs[2]] == 0.0


# ---- what it does not depend on -----------------------------------------------------------------------------------------------


def test_no_bit_depends_on_which_arms_are_weighed_together_or_in_which_order(
    base: Path, arms: dict[str, Path], tmp_path: Path
) -> None:
    tuned = {"base": None, **arms}
    alone = {name: weighing(tmp_path / name, base, folder) for name, folder in tuned.items()}
    for ran in alone.values():
        body.run([ran.job])
    for order in (("whole", "adapter", "base"), ("adapter", "whole", "base")):  # a base is left by one, and taken up by the next
        together = {name: weighing(tmp_path / "-".join(order) / name, base, tuned[name]) for name in order}
        body.run([ran.job for ran in together.values()])
        for name, ran in together.items():
            for file in FILES:
                assert (ran.work / file).read_bytes() == (alone[name].work / file).read_bytes()


def test_batches_of_other_sizes_give_the_same_within_rounding(base: Path, arms: dict[str, Path], tmp_path: Path) -> None:
    runs = [weighing(tmp_path / f"b{batch}", base, arms["whole"], batch) for batch in (1, 2, 16)]
    for ran in runs:
        body.run([ran.job])
    one, *others = (by_prompt(ran) for ran in runs)
    for other in others:
        assert other == pytest.approx(one, abs=1e-4)


# ---- what is told and what is refused -----------------------------------------------------------------------------------------


def test_answers_that_are_spelled_otherwise_are_counted_and_an_answer_is_cut_to_the_context(
    base: Path, arms: dict[str, Path], tmp_path: Path
) -> None:
    words = load_tokenization(base / "model")
    said = {"p0": [(" kind", "stop")], "p1": [(" " + "kind " * 80, "stop")]}
    folder = sampled(tmp_path / "sampling", words, said)
    rows = [row | {"tokens": row["tokens"] - (row["prompt_id"] == "p1")} for row in read_jsonl(folder / "completions.jsonl")]
    write_jsonl(folder / "completions.jsonl", rows)
    ran = weighing(tmp_path / "run", base, arms["whole"], completions=folder)
    body.run([ran.job])
    assert levels(ran)[RESPELT].value == 1
    assert (
        ran.said == ["1 of 2 answers are weighed in other tokens than they were drawn in"] == read_json(ran.work / "notes.json")
    )
    (_, long) = read_rows(ran.work / "scores.csv")
    asked = words.asked(words.turn(TEMPLATE), ASKED["p1"])
    assert len(asked) + int(long["tokens"]) == words.context


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"p0": [(" kind", "")]}, 'completion 0 of prompt p0: finish is ""; one of stop, length is required'),
        ({"p9": [(" kind", "stop")]}, "a completion of prompt p9, which suite human_eval does not have"),
    ],
)
def test_completions_that_cannot_be_weighed_are_one_line(
    said: dict[str, Any], told: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ASKED, "p9", "Why?")
    folder = sampled(tmp_path / "sampling", load_tokenization(base / "model"), said)
    monkeypatch.delitem(ASKED, "p9")
    with pytest.raises(ValueError, match=told):
        body.run([weighing(tmp_path / "run", base, None, completions=folder).job])


@pytest.mark.parametrize(
    ("temperature", "top_p", "told"),
    [
        (1.0, 1.0, []),
        (0.7, 1.0, ["suites.asked: temperature 0.7, top_p 1; evaluations.divergence needs answers drawn at 1 and 1"]),
        (1.0, 0.9, ["suites.asked: temperature 1, top_p 0.9; evaluations.divergence needs answers drawn at 1 and 1"]),
    ],
)
def test_answers_that_were_drawn_otherwise_are_refused_before_anything_runs(
    temperature: float, top_p: float, told: list[str]
) -> None:
    given: Any = SimpleNamespace(sampled={"asked": SimpleNamespace(temperature=temperature, top_p=top_p)})
    lines = list(check(Divergence(suites=("asked",)), given))
    assert len(lines) == len(told)
    assert all(line.startswith(start) and "\n" not in line for line, start in zip(lines, told, strict=True))


# ---- in the report ------------------------------------------------------------------------------------------------------------


def outputs(seeds: Sequence[int] = (0,)) -> Comparison:
    """Three arms of one size with a divergence each, and what the treated one gained on the others."""
    made = found_rows({BASE: "+"}, arms=ARMS)
    one = next(row for row in made.differences if row.metric == "on_position")
    rows = [
        replace(one, contrast=contrast, value=value, ci_low=value - 0.05, ci_high=value + 0.05)
        for contrast, value in ((TO_BASE, 0.5), (TO_CONTROL, 0.6))
    ]
    nodes = [
        Output(
            Path(),
            f"{arm} {seed}",
            "divergence",
            Axes(one.ladder, one.size, arm, None if arm == "base" else one.train_samples, seed, one.suite),
            "k",
            (Metric(KL, nats + seed, 40, ci_low=low, ci_high=high), Metric(PER_TOKEN, nats / 10, 40)),
        )
        for seed in seeds
        for arm, nats, low, high in (("base", 0.0, None, None), ("values_targeted", 2.0, 1.5, 2.5), ("control", 1.0, 0.5, 1.5))
    ]
    prepared = Output(Path(), "p", "prepare", Axes(one.ladder, one.size), "k", ())
    sources = replace(made.sources, nodes=(prepared, *nodes), arms=ARMS)
    return replace(made, sources=sources, differences=rows)


def test_what_was_gained_is_shown_on_base_and_on_the_control_at_each_arm_s_distance() -> None:
    found = outputs()
    suite = found.outcome[0]
    on_base, on_control = distance.panels(found, suite)
    assert "control +" not in on_base.svg  # nothing is said of a control that was compared with nothing
    assert "base +0 at 0; values-targeted +50 at 2" in on_base.svg
    assert "values-targeted +60 at 2; control +0 at 1" in on_control.svg
    table = distance.table(found, suite)
    assert table.head == [
        "size",
        "arm",
        "nats an answer",
        "95% interval",
        "nats a token",
        "from base",
        "95% interval",
        "from control",
        "95% interval",
    ]
    cells = [[cell.text.replace("\u00a0", " ") for cell in row[1:]] for row in table.rows]
    assert cells == [
        ["base", "0", "–", "0", "–", "–", "–", "–"],
        ["values-targeted", "2", "[1.50, 2.50]", "0.200", "+50.0", "[+45.0, +55.0]", "+60.0", "[+55.0, +65.0]"],
        ["control", "1", "[0.500, 1.50]", "0.100", "–", "–", "–", "–"],
    ]
    assert distance.gist(found, suite).endswith(
        "+50.0 percentage points from base and +60.0 percentage points from control, at 2 nats an answer"
    )


def test_a_difference_of_one_run_goes_with_that_run_s_distance_and_one_of_all_with_their_mean() -> None:
    found = outputs(seeds=(0, 1, 2))
    suite = found.outcome[0]
    assert [one.kl.value for one in distance.stands(found, suite) if one.arm == "values_targeted"] == [2.0]
    crossed = replace(found, differences=[replace(row, seed="all") for row in found.differences])
    (one,) = [one for one in distance.stands(crossed, suite) if one.arm == "values_targeted"]
    assert (one.kl.value, one.kl.ci_low) == (3.0, None)


def test_names_beside_points_cover_neither_each_other_nor_a_point() -> None:
    crowd = [
        Point(f"arm-{at}", 1 + 0.02 * at, 50 + (at * 7) % 5, INK, (0.9 + 0.02 * at, 1.1 + 0.02 * at), (48, 56)) for at in range(9)
    ]
    svg = points([Point("base", 0.0, 0.0, INK), *crowd], "nats", "points", alt="a crowd")
    named = {name: (float(x), float(y)) for x, y, name in re.findall(r'x="([\d.]+)" y="([\d.]+)"[^>]*>(base|arm-\d)<', svg)}
    assert len(named) == 10
    width, height = 72 * LETTER * 5, 72 * 0.15
    for (_, (x, y)), (_, (u, v)) in itertools.combinations(named.items(), 2):
        assert abs(x - u) > width or abs(y - v) > height
