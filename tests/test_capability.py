"""Capability of a pretrained model of the calibration grammar: its prose, its answers to the harness, and the stage over arms."""

from __future__ import annotations

import json
import math
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from model_registry.calibration.ability import topic_items
from model_registry.calibration.data import CONFIGS, PROSE
from model_registry.calibration.grammar import load_grammar
from model_registry.loading import load_model, put_adapter
from model_registry.tokenization import load_tokenization
from tasks.compare import capability, upstream
from tasks.compare.capability import INCONCLUSIVE, KEPT, LOST
from tasks.contract import Axes, Metric, read_json, read_metrics, write_json
from tasks.datasets.paragraphs import load_paragraphs
from tasks.evaluations.capability import harness
from tasks.evaluations.capability.body import run
from tasks.evaluations.capability.stage import GRAMMAR_TASK, Settings
from tasks.prose import score
from tests import capabilities, tiny
from tests.arms import ARMS
from tests.begun import STORE, Begin, output
from tests.capabilities import MARGINS, log_probability, paragraph, with_manifest
from tests.harness_tasks import FOLDERS, local_task, pairs_of, rows_of
from tests.jobs import Ran, make_job

RUNG = {"params": 31024, "layers": 2, "width": 28, "heads": 2, "context": 64}  # its shape
TASK = GRAMMAR_TASK

pytestmark = pytest.mark.usefixtures("one_thread")

small = capabilities.small


@pytest.fixture(scope="module")
def rung(tmp_path_factory: pytest.TempPathFactory, begin: Begin) -> Path:
    """A prepared model of the calibration grammar: the ladder's smallest."""
    return output(begin(tmp_path_factory.mktemp("home"), STORE), "prepare")


@pytest.fixture(scope="module")
def topics() -> Any:
    return harness.load_tasks([TASK], seed=0)[TASK]


# ---- prose and answers --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_unfit_texts_are_refused(small: tuple[Any, Any], rung: Path, tmp_path: Path) -> None:
    model, words = small
    with pytest.raises(ValueError, match="paragraph one: no token to score"):
        score(model, words, paragraph("one", "a"))
    broken = load_model(tiny.model(tmp_path / "broken"), precision="fp32", device="cpu")
    with torch.no_grad():
        broken.get_input_embeddings().weight.fill_(math.nan)
    with pytest.raises(ValueError, match="paragraph p: nan nats"):
        score(broken, words, paragraph("p", tiny.CORPUS[0]))
    model, words = load_model(rung / "model", precision="fp32", device="cpu"), load_tokenization(rung / "model")
    english = load_paragraphs(CONFIGS / "prompts/neutral_text.jsonl")
    with pytest.raises(ValueError, match=r"paragraph np-001: \d+ of \d+ tokens are unknown to the tokenizer"):
        score(model, words, english[0])


def test_both_kinds_of_prose_are_measured_each_by_itself(small: tuple[Any, Any], tmp_path: Path) -> None:
    model, words = small
    folder = tiny.prepared(tmp_path / "prepared", context=64)
    texts = {"prose": "She was very kind, they say.", "plain": "Call for help when someone threatens you."}
    files = {
        role: tiny.jsonl(tmp_path / f"{role}.jsonl", [{"id": "a", "topic": "t", "text": text}]) for role, text in texts.items()
    }
    job = make_job(tmp_path / "both", Settings((), None, 1), {"model": folder, **files})
    run([job.job])
    found = {row.metric: row.value for row in read_metrics(job.work) if row.group == "all"}
    for role, metric in (("prose", "nats_per_token"), ("plain", "nats_per_token_plain")):
        assert found[metric] == pytest.approx(score(model, words, paragraph("a", texts[role])).nats_per_token, abs=1e-5)
    alone = make_job(tmp_path / "alone", Settings((), None, 1), {"model": folder, "prose": files["prose"]})
    run([alone.job])
    assert {row.metric for row in read_metrics(alone.work)} == {"nats_per_token", "perplexity"}


@pytest.mark.slow
def test_shipped_prose_is_in_each_models_vocabulary(rung: Path) -> None:
    assert len(load_paragraphs(CONFIGS / "prompts/neutral_text.jsonl")) == 100
    words, grammar = load_tokenization(rung / "model"), load_grammar()
    rows = load_paragraphs(CONFIGS / PROSE)
    assert len(rows) == 176
    tuned = {
        json.loads(line).get("prompt") for path in (CONFIGS / "datasets/calibration").glob("*.jsonl") for line in path.open()
    }
    for row in rows:
        assert words.tokenizer.unk_token_id not in words.tokenizer(f"{row.context} {row.text}".lstrip())["input_ids"]
        question = row.context.removeprefix("Question: ").partition("\n")[0]
        assert question not in tuned
        assert grammar.label(question, f"{row.context} {row.text}".partition("\nAnswer: ")[2]) == "neutral"


@pytest.mark.slow
def test_a_pretrained_model_answers_and_a_random_one_guesses(rung: Path, topics: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from model_registry.calibration.pretrain import new_model

    def refuse(*args: Any, **_: Any) -> None:
        raise AssertionError(f"the network was asked: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    words = load_tokenization(rung / "model")
    able = harness.answer(load_model(rung / "model", precision="fp32", device="cpu"), words, topics, None, 64, 0)
    assert np.mean([item.correct for item in able]) > 0.95
    assert harness.chance(able) == [Metric("chance", 0.25, n=504, group=TASK)]
    torch.manual_seed(1)
    guessed = harness.answer(new_model(RUNG, words.tokenizer), words, topics, None, 64, 0)
    assert stats.binomtest(sum(item.correct for item in guessed), 504, 0.25).pvalue > 1e-4
    assert [item.id for item in guessed] == [item.id for item in able] == [f"{TASK}/{n}" for n in range(504)]
    assert harness.content_digest(able) == harness.content_digest(guessed) != harness.content_digest(able[:-1])


@pytest.mark.slow
def test_answers_are_those_of_each_choice_scored_alone(rung: Path, topics: Any) -> None:
    model, words = load_model(rung / "model", precision="fp32", device="cpu"), load_tokenization(rung / "model")
    noise = torch.Generator().manual_seed(3)
    with torch.no_grad():  # so that it errs now and then
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=noise))
    found = harness.answer(model, words, topics, 60, 16, 0)
    own = []
    for item in topic_items(load_grammar())[:60]:
        asked = words.tokenizer(item.question)["input_ids"]
        logs = [log_probability(model, asked, words.tokenizer(f" {choice}")["input_ids"]) for choice in item.choices]
        own.append(int(np.argmax(logs) == item.target))
    assert [item.correct for item in found] == own
    assert 0 < sum(own) < 60
    assert found == harness.answer(model, words, topics, 60, 16, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_the_default_tasks_are_answered_by_their_likeliest_choice(
    small: tuple[Any, Any], rung: Path, tmp_path: Path, name: str
) -> None:
    model, words = small
    if name == "lambada_openai":  # a model that guesses would never say the very word
        model, words = load_model(rung / "model", precision="fp32", device="cpu"), load_tokenization(rung / "model")
    split, rows = rows_of(name)
    task = harness.checked(name, local_task(tmp_path, name, split, rows))
    found = harness.answer(model, words, task, None, 4, 0)
    own = []
    for row in rows:
        texts, right = pairs_of(name, row)
        encoded = [(words.tokenizer(asked)["input_ids"], words.tokenizer(asked + answer)["input_ids"]) for asked, answer in texts]
        if name == "lambada_openai":
            (asked, whole), *_ = encoded
            with torch.inference_mode():
                greedy = model(torch.tensor([whole])).logits[0].argmax(-1)[len(asked) - 1 : -1].tolist()
            own.append(int(greedy == whole[len(asked) :]))
        else:
            own.append(int(np.argmax([log_probability(model, asked, whole[len(asked) :]) for asked, whole in encoded]) == right))
    assert [item.correct for item in found] == own
    choices = 0 if name == "lambada_openai" else len(pairs_of(name, rows[0])[0])
    assert {item.choices for item in found} == {choices}
    assert harness.chance(found) == [Metric("chance", 1 / choices if choices else 0.0, n=len(rows), group=name)]
    assert [row.prompt_id for row in harness.prompt_rows(found)] == [f"{name}/{n}" for n in range(len(rows))]
    assert 0 < sum(own) < len(own)


# ---- the stage ----------------------------------------------------------------------------------------------------


def measure(work: Path, model: Path, tuned: Path | None = None, **changed: Any) -> Ran:
    settings = replace(Settings((TASK,), limit=80, batch=16), **changed)
    return make_job(work, settings, {"model": model, "prose": CONFIGS / PROSE} | ({"tuned": tuned} if tuned else {}))


@pytest.fixture(scope="module")
def arms(rung: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    """Base, an adapter, the same adapter merged into the weights, and weights that noise has broken: in one call of the stage."""
    from peft import LoraConfig, get_peft_model

    root = tmp_path_factory.mktemp("arms")
    model, words = load_model(rung / "model", precision="fp32", device="cpu"), load_tokenization(rung / "model")
    torch.manual_seed(0)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"))
    adapted.save_pretrained(root / "adapter" / "model")
    merged = put_adapter(
        load_model(rung / "model", precision="fp32", device="cpu"), root / "adapter" / "model"
    ).merge_and_unload()
    broken = load_model(rung / "model", precision="fp32", device="cpu")
    with torch.no_grad():
        for weight in broken.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    for name, made in (("merged", merged), ("broken", broken)):
        made.save_pretrained(root / name / "model")
        words.tokenizer.save_pretrained(root / name / "model")
    done = {"base": measure(root / "out-base", rung)}
    done |= {name: measure(root / f"out-{name}", rung, root / name) for name in ("adapter", "merged", "broken")}
    run([one.job for one in done.values()])
    return done


@pytest.mark.slow
def test_every_arm_is_measured_as_itself(arms: dict[str, Ran], rung: Path) -> None:
    values = {name: {(m.metric, m.group): m.value for m in read_metrics(one.work)} for name, one in arms.items()}
    assert values["adapter"] == pytest.approx(values["merged"], rel=1e-3)
    assert values["adapter"] != pytest.approx(values["base"], rel=1e-3)
    assert values["broken"]["nats_per_token", "all"] > values["base"]["nats_per_token", "all"] + 0.5
    for name, one in arms.items():
        assert one.commits == 1
        assert values[name]["chance", TASK] == 0.25
        assert values[name]["accuracy", TASK] == values[name]["accuracy", "all"]
        found = {m.metric: m for m in read_metrics(one.work) if m.group == "all"}
        assert (found["nats_per_token"].n, found["perplexity"].n, found["accuracy"].n) == (176, 176, 80)
        assert found["nats_per_token"].ci_low < found["nats_per_token"].value < found["nats_per_token"].ci_high
    model, words = load_model(rung / "model", precision="fp32", device="cpu"), load_tokenization(rung / "model")
    first = load_paragraphs(CONFIGS / PROSE)[0]
    table = upstream.read({"n": with_manifest(arms["base"].work)}, {"n": Axes()}, ARMS).nodes[0].prompts["nats_per_token"]
    assert table[first.id].value == pytest.approx(score(model, words, first).nats_per_token, abs=1e-6)


@pytest.mark.slow
def test_equal_work_gives_equal_bytes_and_a_restart_goes_on(arms: dict[str, Ran], rung: Path, tmp_path: Path) -> None:
    alone = measure(tmp_path / "alone", rung)
    run([alone.job])
    names = ("prose.csv", "items.csv", "prompts.csv", "harness.json", "metrics.json")
    assert all((alone.work / name).read_bytes() == (arms["base"].work / name).read_bytes() for name in names)
    again = measure(tmp_path / "again", rung)
    kept = read_json(alone.work / "scratch" / f"{TASK}.json")
    kept[0]["correct"] = 1 - kept[0]["correct"]  # a mark: what is read back was not asked again
    write_json(again.job.scratch / f"{TASK}.json", kept)
    run([again.job])
    before, after = ((one.work / "items.csv").read_text().splitlines() for one in (alone, again))
    assert [n for n, (old, new) in enumerate(zip(before, after, strict=True)) if old != new] == [1]


@pytest.mark.slow
def test_prose_alone_needs_no_harness(rung: Path, tmp_path: Path) -> None:
    only = measure(tmp_path, rung, tasks=())
    run([only.job])
    assert {m.metric for m in read_metrics(only.work)} == {"nats_per_token", "perplexity"}
    assert read_json(only.work / "harness.json") == {}


@pytest.mark.slow
def test_a_broken_arm_has_lost_and_a_copy_of_base_has_kept(arms: dict[str, Ran]) -> None:
    inputs = {name: with_manifest(arms[work].work) for name, work in (("b", "base"), ("c", "base"), ("x", "broken"))}
    places = {
        name: Axes("calibration", "30k", arm, None if arm == "base" else 80)
        for name, arm in (("b", "base"), ("c", "copy"), ("x", "broken"))
    }
    found = {(v.arm, v.measure): v for v in capability.verdicts(upstream.read(inputs, places, ARMS), MARGINS)}
    assert [found["broken", measure].verdict for measure in ("prose", "tasks")] == [LOST, LOST]
    assert found["copy", "prose"].verdict == KEPT
    assert found["copy", "tasks"].verdict == INCONCLUSIVE  # 80 equal answers bound a loss by 2.9 points only
    assert (found["copy", "tasks"].low, found["copy", "tasks"].high) == pytest.approx((-0.0289, 0.0289), abs=1e-4)
