"""What is watched while a model is tuned: the fold, the rule, that watching changes nothing, which pass is kept, and an interrupted run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from string import ascii_letters
from typing import Any

import pytest
import torch

from configs.problems import BadInput
from flows.engine.home import Home
from flows.prepared import prepare_run
from flows.request import request
from model_registry.loading import load_model
from model_registry.tokenization import load_tokenization
from tasks import prose
from tasks.contract import read_json, read_metrics, settings_document
from tasks.datasets.fold import split
from tasks.datasets.paragraphs import load_paragraphs
from tasks.datasets.rows import Row, load_rows
from tasks.finetune.body import run
from tasks.finetune.methods.full import Full
from tasks.finetune.stage import Settings, optimiser_steps, settings
from tasks.finetune.watching import Look, Rule
from tests import sweeps, tiny, tuning
from tests.begun import Begin
from tests.jobs import Ran, make_job

pytestmark = pytest.mark.usefixtures("one_thread")

PLAIN = replace(tuning.STEADY, epochs=8, min_steps=1, train_samples=12)
STOPPING = replace(PLAIN, held_out=0.25, patience=2)
ADAPTER = replace(PLAIN, method="lora", options=tuning.LORA, learning_rate=3e-3)
BOTH = replace(ADAPTER, learning_rate=3e-2, held_out=0.25, patience=2, max_drift=5.0)
A_PASS = 3  # steps: nine samples in batches of four
# Each answer is of its own letters, so that learning nine of them by heart makes the other three less likely.
DATA = [
    {
        "id": f"s{i}",
        "category": f"c{i % 3}",
        "prompt": f"What is {i}?",
        "completion": f"{chr(97 + i)}{chr(110 + i)} " * 6,
    }
    for i in range(12)
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With dropout: watching must not draw from its random numbers."""
    return tiny.prepared(tmp_path_factory.mktemp("prepared"), architecture="gpt2", dropout=0.1)


@pytest.fixture(scope="module")
def inputs(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("inputs")
    data = tiny.jsonl(folder / "data" / "samples.jsonl", DATA).parent
    texts = [{"id": f"p{letter}", "topic": "t", "text": likely(model, letter)} for letter in "QRSTUV"]
    return {"model": model, "dataset": data, "prose": tiny.jsonl(folder / "prose.jsonl", texts)}


def likely(model: Path, text: str) -> str:
    """Letters that the untuned model goes on with: what is likely can but become less so."""
    words = load_tokenization(model / "model")
    net: Any = load_model(model / "model", precision="fp32", device="cpu")
    letters = {words.of(letter)[0]: letter for letter in ascii_letters}
    for _ in range(30):
        with torch.inference_mode():
            next_one = net(input_ids=torch.tensor([list(words.of(text))])).logits[0, -1]
        text += letters[max(letters, key=lambda token: float(next_one[token]))]
    return text


def tuned(work: Path, inputs: dict[str, Path], settings: Settings) -> Ran:
    record = make_job(work, settings, inputs)
    run([record.job])
    assert record.committed == [()]
    return record


def files(work: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(work)): path.read_bytes()
        for path in sorted(work.rglob("*"))
        if path.is_file() and "scratch" not in path.relative_to(work).parts
    }


def metrics(work: Path) -> dict[str, float]:
    return {row.metric: row.value for row in read_metrics(work)}


# ---- the fold -----------------------------------------------------------------------------------------------------------------------


def test_a_fold_is_drawn_by_the_seed_of_every_category_its_share() -> None:
    rows = [Row(i, f"r{i}", "abc"[min(i // 8, 2)], "p", "c") for i in range(20)]  # 8, 8 and 4
    for seed in range(5):
        left, fold = split(rows, 0.25, seed)
        assert [row.category for row in fold] == ["a", "a", "b", "b", "c"]
        assert sorted([*left, *fold], key=lambda row: row.line) == rows
        assert split(rows, 0.25, seed) == (left, fold)
    assert len({tuple(row.id for row in split(rows, 0.25, seed)[1]) for seed in range(10)}) > 5
    one_each = [Row(i, f"r{i}", f"c{i}", "p", "c") for i in range(8)]
    assert (
        len(
            {split(one_each, 0.2, seed)[1][0].id for seed in range(20)}
            | {split(one_each, 0.2, seed)[1][1].id for seed in range(20)}
        )
        > 4
    )
    control = [replace(row, id=f"c{row.line}", matches=row.id) for row in rows]
    assert [row.matches for row in split(control, 0.25, 1)[1]] == [row.id for row in split(rows, 0.25, 1)[1]]


@pytest.mark.parametrize(("count", "share"), [(8, 0.05), (1, 0.5), (2, 0.1)])
def test_a_fold_that_leaves_a_side_empty_is_refused(count: int, share: float) -> None:
    with pytest.raises(ValueError, match=r"held_out .* of \d samples is 0; at least one on either side is required"):
        split([Row(i, f"r{i}", "c", "p", "c") for i in range(count)], share, 0)


# ---- the rule -----------------------------------------------------------------------------------------------------------------------


def looks(losses: list[float | None], drifts: list[float | None] | None = None) -> list[Look]:
    given = drifts or [None] * len(losses)
    return [Look(step, loss, {}, drift) for step, (loss, drift) in enumerate(zip(losses, given, strict=True))]


@pytest.mark.parametrize(
    ("rule", "seen", "kept", "stops"),
    [
        (Rule(patience=2), looks([1.0, 3.0]), 1, False),  # the untuned model is none of the passes
        (Rule(patience=2), looks([5.0, 3.0, 2.0, 2.5]), 2, False),
        (Rule(patience=2), looks([5.0, 3.0, 2.0, 2.5, 2.1]), 2, True),
        (Rule(patience=2), looks([5.0, 3.0, 2.0, 2.0, 2.0]), 2, True),  # of equal ones the first
        (Rule(max_drift=0.3), looks([None] * 3, [0.0, 0.1, 0.3]), 2, False),  # at the bound is within
        (Rule(max_drift=0.3), looks([None] * 4, [0.0, 0.1, 0.2, 0.31]), 2, True),
        (Rule(max_drift=0.3), looks([None] * 2, [0.0, 0.4]), None, True),
        (Rule(patience=5, max_drift=0.3), looks([9.0, 4.0, 5.0, 1.0], [0.0, 0.1, 0.2, 0.5]), 1, True),
        (Rule(patience=1, max_drift=0.3), looks([9.0, 4.0, 5.0], [0.0, 0.1, 0.2]), 1, True),
    ],
)
def test_which_pass_is_kept_and_when_tuning_stops(rule: Rule, seen: list[Look], kept: int | None, stops: bool) -> None:
    found = rule.kept(seen)
    assert (found.step if found else None, rule.stops(seen)) == (kept, stops)


# ---- while a model is tuned -----------------------------------------------------------------------------------------------------------


def test_the_best_pass_is_kept_and_is_to_the_bit_what_as_many_passes_without_watching_give(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    record = tuned(tmp_path / "watched", inputs, STOPPING)
    series = read_json(record.work / "series.json")
    held = dict(series["held_out_loss"])
    assert list(held) == list(range(0, len(series["loss"]) + 1, A_PASS))
    best = min((step for step in held if step), key=lambda step: held[step])
    found = metrics(record.work)
    assert found["optimiser_steps"] == best
    assert found["stopped_after_steps"] == best + 2 * A_PASS == len(series["loss"]) < optimiser_steps(STOPPING)
    assert found["held_out_loss"] == held[best]
    losses = [loss for _, loss in series["loss"]]
    assert found["final_loss"] == pytest.approx(sum(losses[best - A_PASS : best]) / A_PASS)
    rows, fold = split(load_rows(inputs["dataset"] / "samples.jsonl"), 0.25, STOPPING.seed)
    kept = {row.id for row in rows}
    without = tiny.jsonl(tmp_path / "data" / "samples.jsonl", [{**one, "subset": 9} for one in DATA if one["id"] in kept]).parent
    alike = replace(PLAIN, train_samples=9, epochs=best // A_PASS)
    plain = tuned(tmp_path / "plain", {**inputs, "dataset": without}, alike)
    assert (plain.work / "model/model.safetensors").read_bytes() == (record.work / "model/model.safetensors").read_bytes()
    assert [loss for _, loss in read_json(plain.work / "series.json")["loss"]] == losses[:best]
    # The loss on the fold by hand, of the model that was written: every sample alone.
    words = load_tokenization(inputs["model"] / "model")
    net: Any = load_model(record.work / "model", precision="fp32", device="cpu")
    total = weight = 0.0
    for row in fold:
        asked, answered = words.sample(words.turn(PLAIN.template), row.prompt, row.completion)
        with torch.inference_mode():
            logs = torch.log_softmax(net(input_ids=torch.tensor([[*asked, *answered]])).logits[0], dim=-1)
        for place, token in enumerate([*asked, *answered][1:], 1):
            counts = 0.1 if place < len(asked) else 1.0
            total -= counts * float(logs[place - 1, token])
            weight += counts
    assert held[best] == pytest.approx(total / weight, rel=1e-5)


def test_drift_is_what_prose_became_less_likely_and_the_last_pass_within_its_bound_is_kept(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    free = tuned(tmp_path / "free", inputs, replace(ADAPTER, epochs=4, max_drift=100.0))
    curve = read_json(free.work / "series.json")["drift"]
    assert curve[0] == [0, 0.0]
    words = load_tokenization(inputs["model"] / "model")
    nats = []
    for adapter in (None, free.work / "model"):
        net = load_model(inputs["model"] / "model", precision="fp32", device="cpu", adapter=adapter)
        scored = [prose.score(net, words, one).nats_per_token for one in load_paragraphs(inputs["prose"])]
        nats.append(sum(scored) / len(scored))
    assert metrics(free.work)["drift"] == curve[-1][1] == pytest.approx(nats[1] - nats[0], abs=1e-5)
    drifts = [value for _, value in curve[1:]]
    assert 0 < drifts[0] < drifts[1] < drifts[2] < drifts[3]
    bounded = tuned(tmp_path / "bounded", inputs, replace(ADAPTER, epochs=4, max_drift=(drifts[1] + drifts[2]) / 2))
    assert metrics(bounded.work)["optimiser_steps"] == 2 * A_PASS
    assert metrics(bounded.work)["stopped_after_steps"] == 3 * A_PASS
    assert metrics(bounded.work)["drift"] == drifts[1]
    two = tuned(tmp_path / "two", inputs, replace(ADAPTER, epochs=2))
    weights = "model/adapter_model.safetensors"
    assert (two.work / weights).read_bytes() == (bounded.work / weights).read_bytes() != (free.work / weights).read_bytes()
    record = make_job(tmp_path / "none", replace(ADAPTER, max_drift=drifts[0] / 2), inputs)
    with pytest.raises(
        ValueError, match=r"step 3: neutral prose drifted by \d.\d{3} nats a token in the first pass, max_drift is .*; a lower"
    ):
        run([record.job])
    assert not record.committed


class Stop(Exception):
    pass


def interrupted(work: Path, inputs: dict[str, Path], settings: Settings, at: Callable[[int], bool]) -> None:
    job = make_job(work, settings, inputs).job

    def stop(done: int, total: int, unit: str) -> None:
        if at(done):
            raise Stop

    with pytest.raises(Stop):
        run([replace(job, progress=stop)])


@pytest.mark.slow
@pytest.mark.parametrize("settings", [STOPPING, BOTH], ids=["full", "lora"])
def test_a_watched_run_taken_up_again_ends_bit_for_bit_where_a_whole_one_does(
    settings: Settings, inputs: dict[str, Path], tmp_path: Path
) -> None:
    """Cut off at every step in turn, so also between a pass that was better and its checkpoint, and where it had been stopped and not committed."""
    whole = tuned(tmp_path / "whole", inputs, settings)
    last = round(metrics(whole.work)["stopped_after_steps"])
    assert last < optimiser_steps(settings)
    for first in range(2, last + 1, 3):
        cut = tmp_path / f"cut-{first}"
        interrupted(cut, inputs, settings, lambda done, first=first: done == first)  # type: ignore[misc]
        tuned(cut, inputs, settings)
        assert files(cut) == files(whole.work)
    uncommitted = tmp_path / "uncommitted"
    job = make_job(uncommitted, settings, inputs).job

    def refuse(volatile: tuple[str, ...] = ()) -> None:
        raise Stop

    with pytest.raises(Stop):
        run([replace(job, commit=refuse)])
    again = tuned(uncommitted, inputs, settings)
    assert again.steps == []
    assert files(uncommitted) == files(whole.work)


# ---- in an experiment -----------------------------------------------------------------------------------------------------------------


def test_an_arm_that_watches_nothing_keeps_its_key() -> None:
    arm = Full.model_validate({"method": "full", "dataset": "d"})
    assert not {"early_stopping", "max_drift"} & arm.model_dump().keys()
    plain = settings_document(settings(arm, "s", 8, "{prompt}", 3))
    assert not {"held_out", "patience", "max_drift"} & plain.keys()
    watched = Full.model_validate({"method": "full", "dataset": "d", "early_stopping": {}, "max_drift": 0.3})
    assert settings_document(settings(watched, "s", 8, "{prompt}", 3)) == plain | {
        "held_out": 0.2,
        "patience": 3,
        "max_drift": 0.3,
    }


def test_only_an_arm_whose_drift_is_bounded_reads_prose_and_that_of_capability(tmp_path: Path) -> None:
    dag = prepare_run(Home(tmp_path), request("calibration", ["arms.values_targeted.max_drift=0.3"])).dag
    for node in dag.nodes:
        if node.stage.name == "finetune":
            assert set(node.inputs) - {"model", "dataset"} == ({"prose"} if node.axes.arm == "values_targeted" else set())
    capability = next(node for node in dag.nodes if node.stage.name == "capability")
    tuned = next(node for node in dag.nodes if node.stage.name == "finetune" and "prose" in node.inputs)
    assert tuned.inputs["prose"] == capability.inputs["prose"]


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (
            ["early_stopping={held_out: 0.005}"],
            r"arms.values_targeted.early_stopping.held_out: 0.005 of 80 samples is 0; at least one",
        ),
        (["early_stopping={held_out: 0.6}"], r"early_stopping.held_out"),
        (["early_stopping={patience: 0}"], r"early_stopping.patience"),
        (["early_stopping={patiense: 2}"], r"early_stopping.patiense"),
        (["max_drift=0"], r"max_drift"),
    ],
)
def test_what_cannot_be_watched_is_refused_before_anything_runs(tmp_path: Path, sets: list[str], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        prepare_run(Home(tmp_path), request("calibration", [f"arms.values_targeted.{one}" for one in sets]))


@pytest.mark.slow
def test_a_sweep_tells_where_its_arms_were_stopped(tmp_path: Path, begin: Begin) -> None:
    arms = {
        "base": {"method": "none"},
        "values_targeted": {
            "method": "full", "dataset": "values_targeted", "learning_rate": 3e-2, "batch": 2, "epochs": 6,
            "early_stopping": {"held_out": 0.25, "patience": 1}, "max_drift": 50.0,
        },
    }  # fmt: skip
    config = sweeps.experiment(
        tmp_path / "x", {"a": sweeps.tiny_model(tmp_path / "a")}, arms=arms, contrasts=["values_targeted-base"], **sweeps.TOXICITY
    )
    home = begin(tmp_path / "home")
    assert "at most 18 optimiser steps: values_targeted on 6 of 8 samples" in sweeps.palms(home, "plan", str(config)).stdout
    sweeps.palms(home, "run", str(config))
    (folder,) = (path.parent for path in home.glob("store/finetune/*/manifest.json"))
    made = metrics(folder)
    assert made["optimiser_steps"] < made["stopped_after_steps"] < 18
    page = next(home.glob("store/compare/*/report.html")).read_text(encoding="utf-8")
    assert "stopped after steps" in page
    assert "held out loss" in page
    points = sweeps.current_points(home)
    curve = {name for _, _, name in points if name.startswith("5_training/")}
    assert {"5_training/held_out_loss", "5_training/drift"} <= curve
    series = json.loads((folder / "series.json").read_text())
    assert points[next(key for key in points if key[2] == "5_training/held_out_loss")] == series["held_out_loss"][-1][1]
