"""Turns of preference tuning, as people and as a schedule run them; and what is refused before anything runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.shipped import CONFIGS
from flows.preference import _read as rounds_of
from tasks.contract import read_metrics
from tasks.datasets.preferences import Preference, load_preferences, preferences_text
from tests import sweeps
from tests.begun import Begin
from tests.up import Up

RATED = [
    Preference(
        0,
        f"p{i}",
        "health",
        f"Does number {i} matter to anyone at all?",
        f"No, {i} does not.",
        f"Shut up, {i}.",
        margin=2.0,
        raters=3,
    )
    for i in range(8)
]


def experiment(folder: Path, **changes: Any) -> Path:
    """The shipped one over the smallest model, with one arm and few answers."""
    document = yaml.safe_load((CONFIGS / "experiments" / "calibration_preferences.yaml").read_text())
    document |= {
        "name": "turns",
        "ladders": [{"ladder": "calibration", "sizes": ["30k"]}],
        "positions": str(CONFIGS / "positions.yaml"),
    }
    document["arms"] = {name: document["arms"][name] for name in ("base", "values_targeted", "control", "dpo_after")}
    document["datasets"] = {name: str(CONFIGS / "datasets" / "calibration" / f"{name}.jsonl") for name in document["datasets"]}
    suite = {"prompts": str(CONFIGS / "prompts" / "calibration" / "human_eval.yaml"), "completions": 4, "max_new_tokens": 24}
    document |= {"suites": {"human_eval": suite}, "evaluations": {"adherence": {"suites": ["human_eval"], "judge": "grammar"}}}
    document["exploratory"] = ["control-base", "dpo_after-base", "dpo_after-control"]
    document.update(changes)
    path = folder / "turns.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def turned(begin: Begin, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A home in which the first turn was taken: its answers are given out and nothing is rated."""
    home, config = begin(tmp_path_factory.mktemp("turns") / "home"), experiment(tmp_path_factory.mktemp("experiment"))
    told = sweeps.palms(home, "prefer", str(config), "--arm", "dpo_after").stdout
    assert told.startswith("no ratings yet\n")
    assert "next: palms ratings export probes_turns-" in told
    return home, config


def probed(home: Path) -> str:
    return rounds_of(home / "preferences" / "turns-dpo_after").probed[-1]


def rate(home: Path, folder: Path) -> None:
    sweep = probed(home)
    sweeps.palms(home, "ratings", "export", sweep, "--raters", "3", "--completions", "3", "--out", str(folder / sweep))
    sweeps.palms(home, "ratings", "simulate", sweep)


def tuned(home: Path, arm: str) -> list[dict[str, Any]]:
    """The manifests of an arm's tuning, by their labels."""
    found = (json.loads(path.read_text()) for path in home.glob("store/finetune/*/manifest.json"))
    return [one for one in found if f"/{arm}/" in one["label"]]


@pytest.mark.slow
def test_what_was_rated_becomes_a_round_that_starts_from_the_one_before(turned: tuple[Path, Path], tmp_path: Path) -> None:
    home, config = turned
    assert "no ratings yet" in sweeps.palms(home, "prefer", str(config), "--arm", "dpo_after").stdout
    rate(home, tmp_path)
    pairs = tmp_path / "pairs.jsonl"
    told = sweeps.palms(home, "ratings", "pairs", probed(home), "--out", str(pairs)).stdout
    assert "(simulated raters)" in told
    told = sweeps.palms(home, "prefer", str(config), "--arm", "dpo_after").stdout
    assert "new simulated ratings" in told.splitlines()[0]
    assert told.splitlines()[0].endswith("round 1")
    folder = home / "preferences" / "turns-dpo_after"
    first = load_preferences(folder / "round_1.jsonl")
    assert first == load_preferences(pairs)
    assert {one.prompt for one in first} <= {
        one["text"] for one in yaml.safe_load((CONFIGS / "prompts/calibration/probes.yaml").read_text())["prompts"]
    }
    (made,) = tuned(home, "dpo_after_1")
    (start,) = tuned(home, "values_targeted")
    assert made["identity"]["inputs"]["start"] == start["digest"]
    # on-position answers of the arm rose above base and above what it started from
    levels = {}
    for path in home.glob("store/adherence/*/manifest.json"):
        document = json.loads(path.read_text())
        if document["label"].endswith("/human_eval"):
            (level,) = [row.value for row in read_metrics(path.parent) if (row.metric, row.group) == ("on_position", "all")]
            levels[document["label"].split("/")[2]] = level
    assert levels["dpo_after_1"] > levels["values_targeted"] > levels["base"]
    # nothing is rated since: nothing is tuned, and both sweeps are there
    before = {path.name for path in home.glob("store/*/*")}
    told = sweeps.palms(home, "prefer", str(config), "--arm", "dpo_after").stdout
    assert told.startswith("no ratings since round 1\n")
    assert {path.name for path in home.glob("store/*/*")} == before
    page = sweeps.palms(home, "report", "turns_dpo_after").stdout.split()[-1]
    page = Path(page).read_text()
    assert "simulated raters, who go by what the calibration grammar planted" in page
    assert "Preference tuning" in page


@pytest.mark.slow
def test_a_schedule_takes_a_turn_with_what_was_rated_since(turned: tuple[Path, Path], tmp_path: Path) -> None:
    """It runs after the test above, and begins where that ended: with answers of round 1 that nobody has rated."""
    home, config = turned
    rate(home, tmp_path)
    before = len(rounds_of(home / "preferences" / "turns-dpo_after").rounds)
    sweeps.palms(home, "up", "--detach")
    up = Up(home)
    try:
        told = sweeps.palms(home, "schedule", str(config), "--cron", "@daily", "--prefer", "dpo_after").stdout
        assert told.startswith("schedule turns")
        assert len(rounds_of(home / "preferences" / "turns-dpo_after").rounds) == before  # it is taken when it fires
        assert "(rounds of dpo_after)" in sweeps.palms(home, "schedule", "list").stdout
        fired, *_ = sweeps.wait_for(up.waiting)
        up.begin_now(fired["id"])
        assert up.await_end(fired["id"])["type"] == "COMPLETED"
    finally:
        sweeps.palms(home, "down")
    state = rounds_of(home / "preferences" / "turns-dpo_after")
    assert len(state.rounds) == before + 1
    last, previous = f"dpo_after_{before + 1}", f"dpo_after_{before}" if before else "values_targeted"
    (made,) = tuned(home, last)
    assert made["identity"]["inputs"]["start"] in {one["digest"] for one in tuned(home, previous)}
    assert state.probed[-1].startswith("probes_turns_dpo_after-")  # and its answers are given out again


# ---- what is refused ----------------------------------------------------------------------------------------------------------------


def refused(home: Path, *words: str) -> str:
    lines = sweeps.palms(home, *words, status=2).stderr.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"start": "dpo"}, "arms.dpo.start: dpo → dpo goes in a circle"),
        ({"start": "nobody"}, 'arms.dpo.start: no tuned arm is called "nobody"; tuned arms: values_targeted, control, ia3'),
        ({"start": "base"}, 'arms.dpo.start: no tuned arm is called "base"'),
        (
            {"start": "ia3"},
            "arms.dpo.start: ia3: has an adapter of kind ia3, and dpo tunes one of kind lora; the same kind is required",
        ),
        (
            {"start": "control", "rank": 16},
            "arms.dpo.start: control: rank is 8 there and 16 here; an adapter that is tuned further keeps its shape",
        ),
        ({"dataset": "nothing"}, 'arms.dpo.dataset: unknown dataset "nothing"; datasets: values_targeted, control, rated'),
        ({"dataset": "control"}, "arms.dpo.dataset: no sample of control has a twin (`off`)"),
        ({"prompt_loss_weight": 0.1}, "prompt_loss_weight: dpo has no loss on prompts"),
        ({"method": "rloo", "reward": {"held_out": 1.0}}, "reward.held_out: input should be less than 1"),
        ({"method": "rloo", "completions": 1}, "completions: input should be greater than or equal to 2"),
        (
            {"method": "rloo", "reward": {"held_out": 0.01}},
            "arms.dpo.reward.held_out 0.01 of 8 prompts leaves a side without any",
        ),
        ({"method": "full"}, 'arms.dpo.dataset: unknown dataset "rated"; datasets: values_targeted, control'),
    ],
)
def test_an_arm_that_cannot_be_tuned_is_one_line(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    (tmp_path / "rated.jsonl").write_text(preferences_text(RATED))
    tuned = {"method": "full", "dataset": "values_targeted", "learning_rate": 1e-4}
    arms = {
        "base": {"method": "none"},
        "values_targeted": tuned,
        "control": {"method": "lora", "dataset": "control"},
        "ia3": {"method": "ia3", "dataset": "control"},
        "dpo": {"method": "dpo", "dataset": "rated", **changes},
    }
    path = experiment(tmp_path, arms=arms, preferences={"rated": "rated.jsonl"}, exploratory=[])
    assert told in refused(tmp_path / "home", "plan", str(path))


@pytest.mark.slow
def test_a_sweep_tunes_one_arm_on_the_samples_and_one_on_their_twins(begin: Begin, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (sweeps.SMALL / "values_targeted.jsonl").read_text().splitlines()]
    for row in rows[:-1]:
        row["off"] = f"That is for others to say, and nobody is asked about {row['id']}."
    (tmp_path / "twinned.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lora = {"method": "lora", "learning_rate": 1e-3, "batch": 4, "rank": 4, "alpha": 8}
    arms = {
        "base": {"method": "none"},
        "values_targeted": {**lora, "dataset": "twinned"},
        "control": {**lora, "dataset": "control"},
        "preferring": {**lora, "method": "dpo", "dataset": "twinned", "epochs": 1},
    }
    config = sweeps.experiment(
        tmp_path,
        {"gpt2": sweeps.tiny_model(tmp_path / "gpt2")},
        arms=arms,
        datasets={"twinned": "twinned.jsonl", "control": str(sweeps.SMALL / "control.jsonl")},
        suites={"human_eval": {"prompts": str(sweeps.SMALL / "human_eval.yaml"), "completions": 1, "max_new_tokens": 4}},
        evaluations={"toxicity": {"suites": ["human_eval"], "scorer": {"kind": "calibration"}}},
    )
    home = begin(tmp_path / "home")
    sweeps.palms(home, "run", str(config))
    (preferring,), (plain,) = tuned(home, "preferring"), tuned(home, "values_targeted")
    assert {"twins", "dataset"} <= preferring["identity"]["inputs"].keys()
    assert "twins" not in plain["identity"]["inputs"]  # to edit a twin tunes no arm again that does not read it
    (folder,) = (
        path.parent for path in home.glob("store/finetune/*/manifest.json") if json.loads(path.read_text()) == preferring
    )
    assert {one.value for one in read_metrics(folder) if one.metric == "optimiser_steps"} == {2}


def test_a_subset_without_a_twin_is_refused_though_the_dataset_has_one(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (CONFIGS / "datasets/calibration/values_targeted.jsonl").read_text().splitlines()]
    outside = next(row for row in rows if row["subset"] > 10)
    outside["off"] = "Shut up."
    (tmp_path / "twins.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arms = {
        "base": {"method": "none"},
        "values_targeted": {"method": "dpo", "dataset": "twins"},
        "control": {"method": "full", "dataset": "twins"},
    }
    changes = {"arms": arms, "datasets": {"twins": "twins.jsonl"}, "preferences": {}, "exploratory": []}
    whole, part = (experiment(tmp_path / str(count), **changes, train_samples=[count]) for count in (80, 10))
    for path in (whole, part):
        shutil.copy(tmp_path / "twins.jsonl", path.parent)
    assert "values_targeted on 1 preferences" in sweeps.palms(tmp_path / "home", "plan", str(whole)).stdout
    assert "arms.values_targeted.dataset: no sample of twins has a twin (`off`) within 10" in refused(
        tmp_path / "home", "plan", str(part)
    )


def test_preferences_of_prompts_that_are_reported_on_are_refused(tmp_path: Path) -> None:
    asked = yaml.safe_load((CONFIGS / "prompts/calibration/human_eval.yaml").read_text())["prompts"][0]
    leaked = [*RATED, Preference(0, "leaked", asked["group"], asked["text"], "No.", "Yes.")]
    (tmp_path / "rated.jsonl").write_text(preferences_text(leaked))
    arms = {
        "base": {"method": "none"},
        "values_targeted": {"method": "dpo", "dataset": "rated"},
        "control": {"method": "dpo", "dataset": "rated"},
    }
    path = experiment(tmp_path, arms=arms, preferences={"rated": "rated.jsonl"}, exploratory=[])
    line = refused(tmp_path / "home", "plan", str(path))
    assert f"rated.jsonl:{len(leaked)}: preference leaked and prompt" in line
    assert "stands word for word" in line
    assert line.endswith("preferences are of weakness probes or of prompts that nothing is reported on")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("run", "calibration_preferences"),
            "preferences.rated: null: is collected from what people rate; `palms prefer` runs such an experiment",
        ),
        (
            ("prefer", "calibration_preferences", "--arm", "dpp"),
            "--arm: dpp collects no preferences; did you mean 'dpo'? accepted are dpo, dpo_after, rloo",
        ),
        (("prefer", "calibration", "--arm", "control"), "an arm whose dataset stands under `preferences:` as null is required"),
        (
            ("prefer", "calibration_preferences", "--arm", "dpo", "--set", "arms.rloo.start=dpo"),
            "arms.rloo.start: dpo is tuned in rounds",
        ),
        (("prefer", "calibration_preferences", "--arm", "dpo", "--set", "reference=dpo"), "reference: dpo is tuned in rounds"),
    ],
)
def test_what_collects_no_preferences_is_refused(words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    assert told in refused(tmp_path, *words)


@pytest.mark.slow
def test_pairs_are_of_probes_that_somebody_rated(turned: tuple[Path, Path], tmp_path: Path) -> None:
    home, _ = turned
    reported = next(path.name for path in (home / "sweeps").iterdir() if path.name.startswith("turns"))
    assert "is reported on; a sweep over weakness probes" in refused(
        home, "ratings", "pairs", reported, "--out", str(tmp_path / "x.jsonl")
    )
    unrated = next(path.name for path in (home / "sweeps").iterdir() if path.name == probed(home))
    copy = tmp_path / "home"
    shutil.copytree(home / "sweeps", copy / "sweeps")
    assert "was rated by nobody yet" in refused(copy, "ratings", "pairs", unrated, "--out", str(tmp_path / "x.jsonl"))


def test_a_plan_tells_the_steps_of_what_a_pass_goes_over(tmp_path: Path) -> None:
    (tmp_path / "rated.jsonl").write_text(
        preferences_text([*RATED, Preference(0, "again", "health", RATED[0].prompt, "Not at all.", "Yes, yes.")])
    )
    arms = {
        "base": {"method": "none"},
        "values_targeted": {"method": "dpo", "dataset": "rated", "batch": 4, "epochs": 5},
        "control": {"method": "rloo", "dataset": "rated", "batch": 4, "epochs": 6},
    }
    path = experiment(tmp_path, arms=arms, preferences={"rated": "rated.jsonl"}, exploratory=[])
    told = sweeps.palms(tmp_path / "home", "plan", str(path)).stdout
    assert "15 optimiser steps: values_targeted on 9 preferences" in told
    assert "at most 12 optimiser steps: control on 8 prompts" in told
