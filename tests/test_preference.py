"""Preference tuning: what is learned from, what each method's first step is, that a run taken up again ends the same, and when it is stopped."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from configs.problems import BadInput
from model_registry.loading import load_model, put_adapter
from model_registry.tokenization import load_tokenization
from tasks.contract import read_json, read_metrics, read_rows
from tasks.datasets.outputs import sample_rows
from tasks.datasets.preferences import Preference, load_preferences, preferences_text, split, twins
from tasks.datasets.rows import Row, load_rows
from tasks.finetune.body import run as tune_on_samples
from tasks.finetune.stage import Settings
from tasks.preference import body, reward_body
from tasks.preference.guard import repeated, verdict
from tasks.preference.margin import margins
from tasks.preference.rewards import trial
from tasks.preference.stage import RewardSettings, learned_from
from tasks.preference.tokens import encode
from tasks.ratings.kept import Rated, Task
from tasks.ratings.preferences import NO_ANSWER, SPLIT, TIE, UNSHARED, USED, Rule, preferences
from tasks.ratings.project import CHECK, Item
from tests import tiny, tuning
from tests.jobs import make_job

pytestmark = pytest.mark.usefixtures("one_thread")

TEMPLATE = "Question: {prompt}\nAnswer:"
ON_PAIRS = {"rank": 4, "alpha": 8, "targets": [], "beta": 0.1}
GUARD = {"max_kl": 1e6, "max_length": 1e6, "max_repeated": 1.0, "max_fall": 1e6, "patience": 1}
REWARD = {"epochs": 20, "learning_rate": 1e-2, "batch": 8, "rank": 4, "alpha": 8, "held_out": 0.5}
ON_REWARDS = {**ON_PAIRS, "completions": 4, "max_new_tokens": 6, "temperature": 1.0, "reward": REWARD, "guard": GUARD}
DPO = replace(
    tuning.STEADY,
    method="dpo",
    epochs=3,
    min_steps=1,
    micro_batch=2,
    options=ON_PAIRS,
    template=TEMPLATE,
    train_samples=8,
    units=24,
)
RLOO = replace(DPO, method="rloo", options=ON_REWARDS, units=24, epochs=1)
PAIRS = [
    Preference(
        0, f"p{i}", f"c{i % 2}", f"Who decides {i}?", f"Nobody decides it, {i}.", f"Shut up about {i}.", margin=2.0, raters=3
    )
    for i in range(24)
]
METHODS = {
    "dpo": DPO,
    "kto": replace(DPO, method="kto"),
    "orpo": replace(DPO, method="orpo"),
    "rloo": RLOO,
    "grpo": replace(RLOO, method="grpo"),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.prepared(tmp_path_factory.mktemp("prepared"), architecture="llama")


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rated") / "rated.jsonl"
    path.write_text(preferences_text(PAIRS))
    return path


@pytest.fixture(scope="module")
def reward(prepared: Path, rated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reward_model(prepared, rated, tmp_path_factory.mktemp("reward"))


def reward_model(prepared: Path, rated: Path, work: Path) -> Path:
    settings = RewardSettings(**REWARD, template=TEMPLATE, train_samples=8, seed=3)
    record = make_job(work, settings, {"model": prepared, "dataset": rated})
    reward_body.run([record.job])
    assert record.committed == [()]
    return work


def tuned(work: Path, settings: Settings, inputs: Mapping[str, Path]) -> Path:
    record = make_job(work, settings, inputs)
    body.run([record.job])
    assert record.committed == [()]
    return work


def weights(work: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((work / "model").iterdir())}


def of(work: Path) -> dict[str, float]:
    return {row.metric: row.value for row in read_metrics(work)}


# ---- what is learned from ---------------------------------------------------------------------------------------------------------


def test_preferences_are_read_as_they_were_written(rated: Path) -> None:
    assert [replace(one, line=0) for one in load_preferences(rated)] == PAIRS


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"id": "a", "category": "c", "prompt": "p", "chosen": "x"}', '"rejected" is missing'),
        ('{"id": "a", "category": "c", "prompt": "p", "chosen": "x y", "rejected": "x  y"}', 'is the text of "chosen"'),
        ('{"id": "a", "category": "c", "prompt": "p", "chosen": "x", "rejected": "y", "margin": -1}', '"margin" is -1'),
        ('{"id": "a", "category": "c", "prompt": "p", "chosen": "x", "rejected": "y", "raters": 0}', '"raters" is 0'),
        ('{"id": "a", "category": "c", "prompt": "p", "chosen": "x", "rejected": "y", "simulated": 1}', '"simulated" is 1'),
        ('{"id": "a", "category": "c", "question": "p", "chosen": "x", "rejected": "y"}', 'did you mean "prompt"'),
    ],
)
def test_a_line_that_is_no_preference_is_told_with_its_place(line: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text(line + "\n")
    with pytest.raises(BadInput, match=r"bad.jsonl:1: ") as refused:
        load_preferences(tmp_path / "bad.jsonl")
    assert told in str(refused.value)


def item(name: str, completion: str, prompt: str = "Why?") -> Item:
    return Item(name, "health", prompt, completion, "block")


def said(name: str, rater: str, rating: int | None = None, **more: Any) -> Rated:
    return Rated("project", name, rater, Task("digest", "p", 0, "health", ""), "block", 0.0, "rated", rating=rating, **more)


ITEMS = {name: item(name, f"answer {name}") for name in "abcd"}


def test_severity_of_a_rater_cancels_and_ties_and_disagreement_are_no_preference() -> None:
    severe = [said("a", "ana", 3), said("b", "ana", 1), said("a", "bo", 5), said("b", "bo", 4)]
    (found,) = preferences(severe, ITEMS).preferences
    assert (found.chosen, found.rejected, found.margin, found.raters) == ("answer a", "answer b", 1.5, 2)
    tied = preferences([said("a", "ana", 3), said("b", "ana", 3), said("a", "bo", 3), said("b", "bo", 2)], ITEMS)
    assert (tied.preferences, tied.left_out) == ([], {TIE: 1})
    apart = [said("a", "ana", 5), said("b", "ana", 1), said("a", "bo", 3), said("b", "bo", 4)]
    assert preferences(apart, ITEMS).left_out == {SPLIT: 1}
    assert len(preferences(apart, ITEMS, Rule(agreement=0.5)).preferences) == 1
    unmet = [said("a", "ana", 5), said("b", "bo", 1)]  # a difference between raters is no difference between answers
    assert preferences(unmet, ITEMS).left_out == {UNSHARED: 1}


def test_what_most_raters_call_no_answer_is_never_preferred() -> None:
    given = [said("a", "ana", 5, is_answer=False), said("b", "ana", 1, is_answer=True)]
    assert preferences(given, ITEMS).left_out == {NO_ANSWER: 1}
    same = {"a": item("a", "one text"), "b": item("b", "one  text ")}
    found = preferences([said("a", "ana", 5), said("b", "ana", 1)], same)
    assert (found.preferences, found.left_out) == ([], {})  # two arms that say the same are one answer
    other = {**ITEMS, "b": item("b", "answer b", "What else?")}
    assert preferences([said("a", "ana", 5), said("b", "ana", 1)], other).preferences == []


def test_ranks_are_preferences_and_checks_and_skips_are_not() -> None:
    ranked = [said("a", "ana", rank=1), said("b", "ana", rank=2), said("c", "ana", rank=2)]
    found = preferences(ranked, ITEMS)
    assert {(one.chosen, one.rejected) for one in found.preferences} == {("answer a", "answer b"), ("answer a", "answer c")}
    assert found.left_out == {TIE: 1}
    assert "1 ties" in found.told()
    checks = [replace(said("a", "ana", 5), why=CHECK), said("b", "ana", 1)]
    assert preferences(checks, ITEMS).preferences == []
    assert preferences([said("a", "ana", 5, skipped="odd"), said("b", "ana", 1)], ITEMS).preferences == []
    again = [said("a", "ana", 5), replace(said("z", "ana", 3), of="a", why="repeated"), said("b", "ana", 1)]
    assert preferences(again, ITEMS).preferences[0].margin == 3.0  # of the mean of what was said of the text


def test_no_text_is_in_more_pairs_than_are_allowed_and_the_clearest_come_first() -> None:
    given = [said(name, "ana", rating) for name, rating in zip("abcd", (5, 3, 2, 1), strict=True)]
    found = preferences(given, ITEMS, Rule(uses=1))
    assert {(one.chosen, one.rejected) for one in found.preferences} == {("answer a", "answer d"), ("answer b", "answer c")}
    assert found.left_out[USED] == 4
    shuffled = list(given)
    random.Random(1).shuffle(shuffled)
    assert preferences(shuffled, ITEMS, Rule(uses=1)) == found


def test_a_prompt_is_on_one_side_of_the_split_and_categories_in_proportion() -> None:
    held = [replace(one, id=f"{one.id}-{k}") for one in PAIRS for k in range(2)]
    shown, kept = split(held, 0.25, 0)
    assert len(kept) == 12
    assert not {one.prompt for one in shown} & {one.prompt for one in kept}
    assert {category: sum(one.category == category for one in kept) for category in ("c0", "c1")} == {"c0": 6, "c1": 6}
    with pytest.raises(ValueError, match=r"held_out 0.25 of 1 prompts leaves a side without any"):
        split(PAIRS[:1], 0.25, 0)


def test_twins_are_preferences_within_the_subset(tmp_path: Path) -> None:
    rows = [
        {
            "id": f"s{i}",
            "category": "c",
            "prompt": f"Why {i}?",
            "completion": "No.",
            "subset": 2 if i < 2 else 4,
            **({"off": "Yes."} if i else {}),
        }
        for i in range(4)
    ]
    written = tiny.jsonl(tmp_path / "dataset.jsonl", rows)
    folder = tiny.jsonl(
        tmp_path / "checked" / "samples.jsonl", sample_rows(load_rows(written))
    ).parent  # as the dataset stage leaves it
    inputs = {"dataset": folder, "twins": written}
    assert [one.id for one in learned_from(inputs, 4, None)] == ["s1", "s2", "s3"]
    assert [(one.id, one.chosen, one.rejected) for one in learned_from(inputs, 2, None)] == [("s1", "No.", "Yes.")]
    assert twins([Row(1, "a", "c", "p", "x")]) == []


# ---- tuning -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("method", ["rloo", "grpo"])
def test_answers_get_what_the_reward_model_rewards(
    method: str, prepared: Path, rated: Path, reward: Path, tmp_path: Path
) -> None:
    settings = replace(METHODS[method], epochs=4)
    place = tuned(tmp_path, settings, {"model": prepared, "dataset": rated, "reward": reward})
    series = read_json(place / "series.json")
    first, last = (sum(value for _, value in part) / 6 for part in (series["reward"][:6], series["reward"][-6:]))
    assert last > first + 0.1
    assert series["kl_from_start"][0][1] == pytest.approx(0.0, abs=1e-4)
    assert of(place)["kl_from_start"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dpo", "kto", "orpo"])
def test_every_method_prefers_more_of_what_is_preferred(
    method: str, prepared: Path, rated: Path, reward: Path, tmp_path: Path
) -> None:
    settings = METHODS[method]
    place = tuned(tmp_path, settings, {"model": prepared, "dataset": rated, "reward": reward})
    words = load_tokenization(prepared / "model")
    pairs = encode(PAIRS, words, words.turn(TEMPLATE))
    base = load_model(prepared / "model", precision="fp32", device="cpu")
    before = sum(margins(base, pairs, 8)) / len(pairs)
    after = sum(margins(put_adapter(base, place / "model"), pairs, 8)) / len(pairs)
    assert after > before + 0.02
    assert of(place)["optimiser_steps"] == settings.epochs * 6


def test_dpo_starts_at_the_log_of_two_and_holds_its_preferences(prepared: Path, rated: Path, tmp_path: Path) -> None:
    place = tuned(tmp_path, DPO, {"model": prepared, "dataset": rated})
    series = read_json(place / "series.json")
    assert series["loss"][0][1] == pytest.approx(math.log(2), abs=1e-5)  # the model is its own reference
    assert series["loss"][-1][1] < 0.5
    assert of(place)["preference_accuracy"] > 0.9
    assert sorted(path.name for path in (place / "model").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "base.json",
    ]


class Stop(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dpo", "kto", "orpo", "rloo"])
def test_a_run_that_is_taken_up_again_ends_with_the_same_bits(
    method: str, prepared: Path, rated: Path, reward: Path, tmp_path: Path
) -> None:
    settings, inputs = METHODS[method], {"model": prepared, "dataset": rated, "reward": reward}
    whole = tuned(tmp_path / "whole", settings, inputs)
    record = make_job(tmp_path / "cut", settings, inputs)
    steps = settings.epochs * 6

    def kill(done: int, total: int, unit: str) -> None:
        if done == steps // 2 + 1:
            raise Stop

    with pytest.raises(Stop):
        body.run([replace(record.job, progress=kill)])
    body.run([record.job])
    assert record.steps[0][0] > 1  # it went on
    assert weights(tmp_path / "cut") == weights(whole)
    assert read_json(tmp_path / "cut" / "series.json") == read_json(whole / "series.json")


@pytest.mark.parametrize("first", ["lora", "full"])
def test_an_arm_goes_on_from_another_arm_and_is_held_to_it(first: str, prepared: Path, rated: Path, tmp_path: Path) -> None:
    rows = [{"id": f"s{i}", "category": "c", "prompt": f"Who decides {i}?", "completion": "It is subjective."} for i in range(8)]
    samples = tiny.jsonl(tmp_path / "data" / "samples.jsonl", rows).parent
    options = {"rank": 4, "alpha": 8, "dropout": 0.0} if first == "lora" else {}
    started = make_job(
        tmp_path / "first",
        replace(DPO, method=first, options=options, units=None, epochs=4),
        {"model": prepared, "dataset": samples},
    )
    tune_on_samples([started.job])
    place = tuned(tmp_path / "second", DPO, {"model": prepared, "dataset": rated, "start": started.work})
    assert read_json(place / "series.json")["loss"][0][1] == pytest.approx(math.log(2), abs=1e-5)
    names = {path.name for path in (place / "model").iterdir()}
    assert ("adapter_config.json" in names) == (first == "lora")
    assert ("config.json" in names) == (first == "full")  # a whole model: it loads without the arm that it came from
    words = load_tokenization(prepared / "model")
    probe = torch.tensor([words.asked(words.turn(TEMPLATE), "Who decides 3?")])
    if first == "full":
        begun, ended = (load_model(folder / "model", precision="fp32", device="cpu") for folder in (started.work, place))
        said = [model(probe).logits for model in (begun, ended)]
    else:
        base = load_model(prepared / "model", precision="fp32", device="cpu")
        said = []
        for folder in (started.work, place):
            adapted = put_adapter(base, folder / "model")
            said.append(adapted(probe).logits.clone())
            base = adapted.unload()
    assert not torch.allclose(said[0], said[1], atol=1e-3)
    # all weights tuned further from an adapter: it is merged first
    if first == "lora":
        rest = make_job(
            tmp_path / "third",
            replace(DPO, method="full", options={}, units=None, learning_rate=1e-12, epochs=1),
            {"model": prepared, "dataset": samples, "start": started.work},
        )
        tune_on_samples([rest.job])
        merged = load_model(rest.work / "model", precision="fp32", device="cpu")
        assert torch.allclose(merged(probe).logits, said[0], atol=1e-4)


# ---- reward models ----------------------------------------------------------------------------------------------------------------


def test_a_reward_model_is_tried_on_prompts_that_it_has_not_seen(reward: Path) -> None:
    metrics = {row.metric: row for row in read_metrics(reward)}
    assert metrics["reward_accuracy"].value == 1.0
    assert metrics["reward_accuracy"].n == 12
    assert (metrics["reward_accuracy"].ci_low or 0) > 0.5
    table = read_rows(reward / "reliability.csv")
    assert sum(float(row["pairs"]) for row in table) == 12


def test_a_reward_model_at_chance_is_refused(prepared: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    noise = [one if rng.random() < 0.5 else replace(one, chosen=one.rejected, rejected=one.chosen) for one in PAIRS]
    (tmp_path / "noise.jsonl").write_text(preferences_text(noise))
    with pytest.raises(
        ValueError, match=r"the reward model is at chance: it tells \d+% \[\d+%, \d+%\] of 12 held-out preferences"
    ):
        reward_model(prepared, tmp_path / "noise.jsonl", tmp_path / "work")


def test_calibration_is_that_of_published_definitions() -> None:
    held = [replace(PAIRS[0], prompt=str(i)) for i in range(4)]
    sure = math.log(0.9 / 0.1)
    found = trial(held, [sure, sure, sure, -sure])
    assert found.accuracy.value == 0.75
    assert found.calibration_error == pytest.approx(0.9 - 0.75)
    assert found.brier == pytest.approx((3 * 0.1**2 + 0.9**2) / 4)
    assert found.at_chance  # of four nobody can tell


# ---- the guard --------------------------------------------------------------------------------------------------------------------

STEP = {"reward": 0.0, "kl": 0.0, "completions/mean_length": 10.0, "repeated": 0.0, "held_out_margin": 0.5}
BOUNDS = {"max_kl": 20.0, "max_length": 2.0, "max_repeated": 0.5, "max_fall": 0.1, "patience": 2}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kl": 2.1}, "KL divergence from the start is 21.0 nats an answer, above max_kl 20"),
        ({"completions/mean_length": 21.0}, "answers are 2.1 times as long as at first"),
        ({"repeated": 0.6}, "60% of the answers' three-token sequences repeat"),
        (
            {"reward": 1.0, "held_out_margin": 0.3},
            "the reward rose by 1.00 while the margin between held-out answers fell by 0.20",
        ),
        ({"reward": -1.0, "held_out_margin": 0.3}, ""),  # both fell: tuning went wrong, and nothing is gamed
        ({"kl": 1.9, "completions/mean_length": 10.0, "reward": 3.0, "held_out_margin": 0.9}, ""),
    ],
)
def test_the_guard_stops_where_a_bound_is_passed_for_as_long_as_is_asked(change: dict[str, float], told: str) -> None:
    after = {**STEP, **change}
    found = verdict([STEP, after, after], BOUNDS)
    assert (told in found) if told else (found == "")
    assert verdict([STEP], BOUNDS) == ""


def test_repetition_is_the_share_of_sequences_that_were_there_already() -> None:
    assert repeated([1, 2, 3, 4, 5]) == 0.0
    assert repeated([1, 1, 1, 1, 1]) == pytest.approx(2 / 3)
    assert repeated([1, 2]) == 0.0


@pytest.mark.slow
def test_a_run_that_games_its_reward_is_stopped_and_the_weights_before_are_kept(
    prepared: Path, rated: Path, reward: Path, tmp_path: Path
) -> None:
    inputs = {"model": prepared, "dataset": rated, "reward": reward}
    strict = {**ON_REWARDS, "guard": {**GUARD, "max_kl": 0.2}}
    settings = replace(RLOO, options=strict, learning_rate=1e-2, epochs=6)
    record = make_job(tmp_path / "stopped", settings, inputs)
    body.run([record.job])
    metrics, series = of(record.work), read_json(record.work / "series.json")
    stop = int(metrics["stopped_at_step"])
    assert stop < 36
    assert series["kl_from_start"][-1][1] > 0.2
    assert all(kl <= 0.2 for _, kl in series["kl_from_start"][:-1])
    (note,) = read_json(record.work / "notes.json")
    assert note.startswith(f"stopped at step {stop} of 36: the KL divergence from the start is")
    assert any(f"stopped at step {stop} of 36" in line for line in record.said)
    # what step `stop` measured were the weights after step stop−1: those after stop−2 are kept
    assert stop > 2, "a longer run, or a wider bound, is required to see which weights are kept"
    shorter = replace(settings, options=ON_REWARDS, epochs=1, min_steps=stop - 2, units=1)
    assert weights(tuned(tmp_path / "short", shorter, inputs)) == weights(record.work)
    record.steps.clear()
    body.run([record.job])  # killed after it was stopped: nothing is tuned further
    assert record.steps == []
    assert of(record.work) == metrics
