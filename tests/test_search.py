"""Search of rate × epochs: what is tried and what is refused, what is best within the allowed drift, and one as somebody types it."""

from __future__ import annotations

import csv
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.problems import BadInput
from configs.read import override
from configs.shipped import CONFIGS, EXPERIMENTS
from flows.engine.home import Home
from flows.experiment import read_experiment
from flows.prepared import Run, prepare_run
from flows.probing import PROBES
from flows.request import request
from flows.search import BASE, Found, Grid, Trial, require_different, trial_name, write_search
from tasks.finetune.rates import STATED, stated
from tests.begun import Begin
from tests.sweeps import palms

GRID = Grid((1e-4, 3e-4), (1, 4))


def run_of(folder: Path, *sets: str) -> Run:
    return prepare_run(Home(folder), request("calibration", list(sets)))


def trial(rate: float, epochs: int, outcome: float, drift: float, size: str = "30k", **more: Any) -> Trial:
    given = {"steps": 10 * epochs, "outcomes": (outcome,), "low": outcome - 0.03, "high": outcome + 0.03, "seconds": 1.0}
    return Trial(size, rate, epochs, drift=drift, **{**given, **more})


# ---- what is tried ------------------------------------------------------------------------------------------------------------------


def test_a_trial_is_the_arm_at_another_setting_over_probes_alone_and_by_seeds_that_are_not_reported(tmp_path: Path) -> None:
    run = run_of(tmp_path, "seeds=[0,1]")
    path = write_search(run, "values_targeted", GRID)
    sweep = prepare_run(Home(tmp_path), request(str(path)))
    assert not sweep.experiment.reported
    tuned = {node.axes.arm: node.settings for node in sweep.dag.nodes if node.stage.name == "finetune"}
    assert set(tuned) == {trial_name(rate, epochs) for rate, epochs in GRID.settings}
    own = next(node.settings for node in run.dag.nodes if node.stage.name == "finetune" and node.axes.arm == "values_targeted")
    for name, settings in tuned.items():
        assert name == trial_name(settings.learning_rate, settings.epochs)
        assert (settings.batch, settings.schedule, settings.template) == (own.batch, own.schedule, own.template)
    assert sweep.experiment.seeds == (1000, 1001)
    assert {node.axes.size for node in sweep.dag.nodes if node.axes.arm} == {"30k", "100k", "300k"}
    assert {node.axes.suite for node in sweep.dag.nodes} == {None, PROBES}
    assert sweep.dag.comparison.settings.arms.confirmatory == ()  # nothing that chooses settings is tested
    drift = [node for node in sweep.dag.nodes if node.stage.name == "capability" and node.axes.arm == BASE]
    assert drift
    assert all(node.settings.tasks == () for node in drift)


def test_a_trial_of_an_arm_that_starts_from_another_starts_there_too(tmp_path: Path) -> None:
    further = "{method: full, dataset: control, start: values_targeted, learning_rate: 1.0e-4}"
    path = write_search(run_of(tmp_path, f"arms.further={further}"), "further", GRID, sizes=["30k"])
    dag = prepare_run(Home(tmp_path), request(str(path))).dag
    started = {node.axes.arm: node.inputs["start"].axes.arm for node in dag.nodes if "start" in node.inputs}
    assert started == {trial_name(rate, epochs): "values_targeted" for rate, epochs in GRID.settings}


def test_names_of_trials_tell_their_settings_and_are_names_of_arms() -> None:
    assert trial_name(3e-4, 2) == "rate_3e_4_epochs_2"
    assert trial_name(0.00015, 16) == "rate_1_5e_4_epochs_16"
    assert trial_name(1.0, 1) == "rate_1e0_epochs_1"


def test_a_real_model_is_chosen_for_by_pairs_that_are_not_reported_on(tmp_path: Path) -> None:
    """SmolLM2's experiment measures stance alone, by pairs that are reported: the search takes those that are for choosing."""
    from flows.search import _primary

    assert _primary({"stance": {}, "capability": {}}, None) == {"suite": "stance", "metric": "stance_margin"}
    document = yaml.safe_load((EXPERIMENTS / "calibration.yaml").read_text())
    document |= {"reported": False, "evaluations": {"stance": {"pairs": str(CONFIGS / "prompts/stance.jsonl")}}}
    document |= {"primary": {"suite": "stance", "metric": "stance_margin"}, "contrasts": [], "positions": None}
    document["datasets"] = {name: str(EXPERIMENTS / place) for name, place in document["datasets"].items()}
    document["suites"] = {
        "probes": {"prompts": str(CONFIGS / "prompts/calibration/probes.yaml"), "completions": 2, "max_new_tokens": 8}
    }
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in document.items() if value is not None}))
    with pytest.raises(
        BadInput, match=r"stance.jsonl:1: pair .* is reported on; .* chooses .* pairs marked `reported: false` are required"
    ):
        prepare_run(Home(tmp_path), request(str(path)))
    path.write_text(path.read_text().replace("stance.jsonl", "stance_search.jsonl"))
    prepare_run(Home(tmp_path), request(str(path)))


# ---- what is refused ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rates", "epochs", "told"),
    [
        ("", "1", "--rates: nothing; rates above 0 and up to 1 are accepted"),
        ("0", "1", "--rates: 0; rates above 0 and up to 1 are accepted"),
        ("nan", "1", "--rates: nan; rates above 0"),
        ("-1e-4", "1", "--rates: -1e-4; rates above 0"),
        ("fast", "1", "--rates: fast; rates above 0"),
        ("1e-4,1e-3,0.0001", "1", "--rates: 0.0001 stands there twice"),
        ("1e-4", "0", "--epochs: 0; whole numbers from 1"),
        ("1e-4", "1.5", "--epochs: 1.5; whole numbers"),
        ("1e-4", "1,,2", "--epochs: nothing; whole numbers"),
        ("1e-4", "2,2", "--epochs: 2 stands there twice"),
    ],
)
def test_a_grid_that_is_none_is_refused(rates: str, epochs: str, told: str) -> None:
    with pytest.raises(BadInput, match=re.escape(told)):
        Grid.of(rates, epochs)


def test_what_cannot_be_searched_is_refused_before_anything_runs(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    with pytest.raises(BadInput, match=r"human_eval.yaml: is reported on; what data or settings are chosen by has to be marked"):
        write_search(run, "values_targeted", GRID, probes=CONFIGS / "prompts/calibration/human_eval.yaml")
    with pytest.raises(BadInput, match=r"--size: 31k; did you mean '30k'"):
        write_search(run, "values_targeted", GRID, sizes=["31k"])
    with pytest.raises(BadInput, match=r"--primary: on_positon; did you mean 'on_position'"):
        write_search(run, "values_targeted", GRID, primary="on_positon")
    blind = {"capability": {"tasks": ["calibration_topics"]}, "texture": {"suites": ["human_eval"], "type_token_words": 8}}
    unscored = run_of(tmp_path, f"evaluations={json.dumps(blind)}", 'primary={"suite": "human_eval", "metric": "length_words"}')
    with pytest.raises(BadInput, match="evaluations: none of these tells a better answer"):
        write_search(unscored, "values_targeted", GRID)
    of_probes = prepare_run(Home(tmp_path), request(str(write_search(run, "values_targeted", GRID))))
    with pytest.raises(BadInput, match="is over probes itself"):
        write_search(of_probes, trial_name(1e-4, 1), GRID)


def test_numbers_of_epochs_that_take_the_same_steps_are_one_setting_whatever_a_pass_goes_over(tmp_path: Path) -> None:
    """Of samples, and of an arm that prefers: forty twins in batches of eight are five steps, whatever train_samples says."""
    rows = [json.loads(line) for line in (CONFIGS / "datasets/calibration/values_targeted.jsonl").open()]
    twins = tmp_path / "twins.jsonl"
    twins.write_text(
        "".join(json.dumps(row | ({"off": f"No. {row['prompt']}"} if at % 2 else {})) + "\n" for at, row in enumerate(rows))
    )
    preferring = (f"datasets.twins={twins}", "arms.preferring={method: dpo, dataset: twins, min_steps: %d}")
    for arm, sets, told in (
        (
            "values_targeted",
            ("arms.values_targeted.min_steps=40",),
            "1 and 4 both take 40 steps, by arms.values_targeted.min_steps",
        ),
        ("values_targeted", ("arms.values_targeted.min_steps=39",), None),
        ("preferring", (preferring[0], preferring[1] % 20), "1 and 4 both take 20 steps, by arms.preferring.min_steps"),
        ("preferring", (preferring[0], preferring[1] % 19), None),
    ):
        path = write_search(run_of(tmp_path, *sets), arm, GRID, sizes=["30k"])
        sweep = prepare_run(Home(tmp_path), request(str(path)))
        if told is None:
            require_different(sweep, arm, GRID)
        else:
            with pytest.raises(BadInput, match=told):
                require_different(sweep, arm, GRID)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--arm", "base"), "--arm: base is tuned on no dataset"),
        (("--max-drift", "0"), "--max-drift: 0; a number above 0 is accepted"),
    ],
)
def test_the_command_refuses_in_one_line(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    done = palms(tmp_path, "search", "calibration", "--rates", "1e-4", "--epochs", "1", *arguments, status=2)
    assert done.stderr.startswith(f"error: {told}")
    assert done.stderr.count("\n") == 1


# ---- what is best -------------------------------------------------------------------------------------------------------------------


def test_the_best_is_the_furthest_within_the_drift_that_is_allowed_and_of_equals_the_one_that_drifted_less() -> None:
    trials = (trial(1e-4, 1, 0.5, 0.01), trial(1e-3, 1, 0.8, 0.04), trial(1e-2, 1, 0.9, 0.2), trial(1e-3, 2, 0.8, 0.03))
    gave = Found("s", "a", "on_position", 0.05, trials)
    assert gave.best("30k") is trials[3]
    assert gave.beside(trials[3]) == 1
    assert Found("s", "a", "on_position", 0.3, trials).best("30k") is trials[2]
    assert Found("s", "a", "toxicity", 0.05, trials).best("30k") is trials[0]
    nothing = Found("s", "a", "on_position", 0.001, trials)
    assert nothing.best("30k") is None
    assert nothing.yaml() == ""


def test_an_arm_takes_one_number_of_epochs_and_a_rate_a_size() -> None:
    """Each size's own best have different epochs: taken is the number that is best for both together, and for one that not all can have, none."""
    trials = (
        *(trial(1e-3, 2, 0.7, 0.0), trial(1e-2, 4, 0.9, 0.0)),
        *(trial(1e-4, 2, 0.8, 0.0, "1m"), trial(1e-3, 2, 0.6, 0.0, "1m"), trial(1e-4, 4, 0.7, 0.0, "1m")),
    )
    gave = Found("s", "values", "on_position", 0.05, trials)
    assert yaml.safe_load(gave.yaml()) == {"arms": {"values": {"learning_rate": {"30k": 0.01, "1m": 0.0001}, "epochs": 4}}}
    drifting = (*trials[:4], trial(1e-4, 4, 0.7, 0.9, "1m"))
    assert yaml.safe_load(Found("s", "values", "on_position", 0.05, drifting).yaml())["arms"]["values"]["epochs"] == 2


def test_over_seeds_the_mean_counts_and_the_seeds_tell_how_sure_it_is() -> None:
    several = {"low": None, "high": None}
    trials = (
        trial(1e-4, 1, 0.0, 0.0, outcomes=(0.5, 0.7), **several),
        trial(1e-3, 1, 0.0, 0.0, outcomes=(0.65, 0.65), **several),
        trial(1e-2, 1, 0.0, 0.0, outcomes=(0.64, 0.67), **several),
    )
    gave = Found("s", "a", "on_position", 0.05, trials)
    assert gave.best("30k") is trials[2]
    assert gave.beside(trials[2]) == 1
    assert trials[0].row()["outcomes"] == "0.5 0.7"


# ---- where to begin ---------------------------------------------------------------------------------------------------------------------


def test_a_plan_says_which_rate_is_taken_where_none_is_given_and_where_a_search_may_begin(tmp_path: Path) -> None:
    arm = "arms.values_targeted={dataset: values_targeted, method: %s}"
    given = palms(tmp_path, "plan", "calibration").stdout
    assert "without a learning_rate" not in given
    told = palms(tmp_path, "plan", "calibration", "--set", arm % "full").stdout
    assert "values_targeted without a learning_rate: 1e-05 is taken; for calibration-30k and full: " in told
    assert told.count("measured here, calibration ladder") == 3


def test_rates_are_stated_with_their_source_and_an_adapter_takes_ten_times_as_much() -> None:
    assert [one.params for one in STATED] == sorted(one.params for one in STATED)
    assert all(one.low <= one.high and one.source.startswith(("measured here", "stated")) for one in STATED)
    small = stated(135_000_000)
    assert small is not None
    assert small.told(all_weights=True).startswith("1e-4 to 3e-4 (measured here, SmolLM2-135M")
    assert small.told(all_weights=False).startswith("1e-3 to 3e-3 (ten times what tuned all weights: measured here")
    assert stated(10**12) is None


# ---- as somebody types it -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_search_finds_a_setting_is_tracked_a_run_a_trial_and_costs_nothing_again(tmp_path: Path, begin: Begin) -> None:
    home = begin(tmp_path / "home")
    command = ("search", "calibration", "--arm", "values_targeted", "--rates", "1e-4,1e-3", "--epochs", "1,2", "--size", "30k")
    told = palms(home, *command).stdout
    (folder,) = (path for path in home.glob("search/*") if path.is_dir())
    rows = list(csv.DictReader((folder / "trials.csv").open()))
    assert [(row["rate"], row["epochs"], row["steps"]) for row in rows] == [
        *(("0.0001", "1", "10"), ("0.0001", "2", "20"), ("0.001", "1", "10"), ("0.001", "2", "20"))
    ]
    best = max(rows, key=lambda row: float(row["outcome"]))
    assert (best["rate"], best["epochs"]) == ("0.001", "2")
    assert "learning_rate: {30k: 0.001}\n    epochs: 2\n" in told
    assert len(re.findall(r">drift [+-]", (folder / "search-30k.svg").read_text())) == 4
    taken = read_experiment(EXPERIMENTS / "calibration.yaml", ["ladders=[{ladder: calibration, sizes: [30k]}]"])
    assert taken.arms["values_targeted"].rate_for("30k") == 3e-4
    (given,) = re.findall(r"^arms:\n(?: .*\n)+", told, re.MULTILINE)
    document = yaml.safe_load((EXPERIMENTS / "calibration.yaml").read_text())
    for key, value in yaml.safe_load(given)["arms"]["values_targeted"].items():
        override(document, f"arms.values_targeted.{key}={json.dumps(value)}")
    assert document["arms"]["values_targeted"]["learning_rate"] == {"30k": 0.001}
    with sqlite3.connect(home / "mlflow/mlflow.db") as database:
        params = database.execute(
            "select run_uuid, key, value from params where key in ('learning_rate', 'epochs', 'arm')"
        ).fetchall()
        (chosen,) = database.execute("select value from tags where key = 'search.chosen'").fetchone()
        parents = database.execute("select distinct value from tags where key = 'mlflow.parentRunId'").fetchall()
    tried = {tuple(value for run, key, value in sorted(params) if run == one and key != "arm") for one, _, _ in params}
    assert tried >= {("1", "0.0001"), ("2", "0.0001"), ("1", "0.001"), ("2", "0.001")}
    assert len(parents) == 1
    assert chosen == given
    assert len(list(home.glob("mlflow/**/search/trials.csv"))) == 1
    before = sorted(home.glob("store/finetune/*/manifest.json"))
    again = palms(home, *command).stdout
    assert ": 0 stages of " in again
    assert again.partition("\n")[2] in told
    assert sorted(home.glob("store/finetune/*/manifest.json")) == before
