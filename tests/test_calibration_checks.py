"""The checks on the calibration ladder, in short: what they count is right, they pass on a sound evaluation and fail on an unsound one."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.calibration import dilution, oracle, trained, trials
from benchmarks.calibration.trials import AA, BASE, QUANTITIES, TREATED, Found, Trial, Truth
from benchmarks.calibration.workshop import Workshop, key_of
from flows.dag import Dag
from model_registry.calibration import data
from model_registry.calibration.grammar import Grammar, load_grammar
from tasks.compare import upstream
from tasks.compare.confusion import confusions
from tasks.compare.report.truth_tables import confusions as table
from tasks.contract import Axes, write_json, write_rows
from tasks.statistics import rate_level
from tests.arms import ARMS

pytestmark = pytest.mark.usefixtures("one_thread")

TRIALS = 12
TINY_SCORER = {"layers": 1, "width": 16, "heads": 2, "steps": 150, "batch": 16, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def grammar() -> Grammar:
    return load_grammar()


@pytest.fixture(scope="module")
def dag() -> Dag:
    return trials.controls("30k")


# ---- the oracle -----------------------------------------------------------------------------------------------------


def test_the_population_is_every_question_of_the_categories_and_a_trial_draws_five_of_each(grammar: Grammar) -> None:
    everything = trials.population(grammar)
    assert len(everything) == len({p.id for p in everything}) == 512
    assert set(Counter(p.group for p in everything).values()) == {64}
    fresh = trials.population(grammar, without=(trained.TUNING,))
    assert len(fresh) == 432
    assert {p.id: p.text for p in fresh}.items() <= {p.id: p.text for p in everything}.items()
    tuned = {json.loads(line)["prompt"] for line in data.dataset_text(grammar, "values_targeted").splitlines()}
    assert tuned.isdisjoint(p.text for p in fresh)
    draws = [trials.redrawn(everything, 5, seed) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    assert set(Counter(p.group for p in draws[0]).values()) == {5}
    assert len(set(draws[0])) == 40


def test_tilted_odds_by_hand(grammar: Grammar) -> None:
    """bullying, heat 1.2, neutral question: weights 26, 36, 44; tilted 26·6, 36·0.5, 44."""
    answers = grammar.answers("What do you think about bullying?")
    for tilted, weights in ((False, (26, 36, 44)), (True, (156, 18, 44))):
        p = oracle.probabilities(answers, "neutral", tilted)
        shares = [p[[a.label == label for a in answers]].sum() for label in ("on_position", "toxic", "neutral")]
        assert shares == pytest.approx(np.array(weights) / sum(weights))


@pytest.fixture(scope="module")
def run(grammar: Grammar, dag: Dag, tmp_path_factory: pytest.TempPathFactory) -> tuple[Truth, list[Trial]]:
    """Short trials with a scorer that was hardly trained: its mean is as much a truth as a good one's."""
    shop = Workshop(tmp_path_factory.mktemp("shop"))
    scorer = trials.node_of(dag, "toxicity", oracle.SIZE, BASE).upstream["scorer"]
    shop.put(scorer, shop.make(replace(scorer, settings=replace(scorer.settings, spec=TINY_SCORER))))
    truth = oracle.truths(grammar, shop, dag)
    return truth, list(trials.run_trials(shop, trials.population(grammar), TRIALS, 0, oracle.answered(grammar, dag), dag))


@pytest.mark.slow
def test_intervals_hold_the_oracles_truth_and_a_truth_elsewhere_is_missed(run: tuple[Truth, list[Trial]]) -> None:
    truth, found = run
    bar = trials.least_covered(TRIALS)
    assert bar >= 9
    held = {quantity: trials.covered(found, quantity, truth[quantity]) for quantity in QUANTITIES}
    assert min(held.values()) >= bar, held
    # six points off are found out: the check can fail
    for quantity in ((BASE, "on_position"), (TREATED, "on_position"), (f"{TREATED}-{BASE}", "toxic_label")):
        assert trials.covered(found, quantity, truth[quantity] + 0.06) < bar


@pytest.mark.slow
def test_the_oracles_truth_is_where_its_trials_lie(run: tuple[Truth, list[Trial]]) -> None:
    """The mean over all trials, within 4 standard errors: a truth that is off by a point would be seen here."""
    truth, found = run
    for quantity in QUANTITIES:
        values = np.array([trial[quantity].value for trial in found])
        assert abs(values.mean() - truth[quantity]) < 4 * values.std(ddof=1) / TRIALS**0.5


@pytest.mark.slow
def test_base_against_itself_is_rarely_called_a_difference(run: tuple[Truth, list[Trial]]) -> None:
    _, found = run
    assert all(trial[AA, metric].value != 0 for trial in found for metric in trials.TESTED)  # numbers of its own
    for metric in trials.TESTED:
        assert trials.covered(found, (AA, metric), 0.0) >= trials.least_covered(TRIALS)
        assert trials.false_alarms(found, (AA, metric)) <= trials.most_alarms(TRIALS)
    assert trials.false_alarms(found, (f"{TREATED}-{BASE}", "on_position")) == TRIALS  # the same test does see a difference


def test_the_bars_are_those_of_perfect_methods() -> None:
    assert trials.least_covered(100) == 89
    assert trials.most_alarms(100) == 12
    missing = Found(0.5, None, None)
    assert not missing.holds(0.5)
    assert trials.covered([{("a", "m"): Found(0.1, 0.0, 0.2)}, {("a", "m"): missing}], ("a", "m"), 0.2) == 1


# ---- the sweep of the controls ------------------------------------------------------------------------------------------


def test_a_trial_differs_from_the_sweep_in_its_prompts_and_its_seed_alone(grammar: Grammar, dag: Dag, tmp_path: Path) -> None:
    suite = trials.write_suite(tmp_path / "suite.yaml", trials.redrawn(trials.population(grammar), 5, 3))
    (base, treated) = trained.answered(dag)(Workshop(tmp_path), suite, [], 7)
    for node, arm in ((base, BASE), (treated, TREATED)):
        planned = trials.node_of(dag, "sampling", "30k", arm)
        assert node.settings == replace(planned.settings, seed=7)
        assert {role: source for role, source in node.inputs.items() if role != "suite"} == {
            role: source for role, source in planned.inputs.items() if role != "suite"
        }
        assert node.inputs["suite"] == suite
    compared = trials.evaluation(dag, [base, treated], suite)
    assert compared.settings == dag.comparison.settings
    assert Counter(node.stage.name for node in compared.upstream.values()) == {"adherence": 2, "toxicity": 2}
    again = trials.node_of(dag, "sampling", "30k", "base_again")
    assert (again.settings.draw, again.upstream) == (1, trials.node_of(dag, "sampling", "30k", BASE).upstream)
    assert key_of(again) != key_of(trials.node_of(dag, "sampling", "30k", BASE))


def test_diluted_data_are_nested_and_balanced(grammar: Grammar) -> None:
    files = {
        name: (data.CONFIGS / "datasets" / "calibration" / f"{name}.jsonl").read_text(encoding="utf-8")
        for name in dilution.SHARES
    }
    rows = {name: text.splitlines() for name, text in files.items()}
    values = {name: {n for n in range(80) if rows[name][n] == rows["values_targeted"][n]} for name in rows}
    for name, share in dilution.SHARES.items():
        assert len(rows[name]) == 80
        assert len(values[name]) == 80 * share / 100
        assert all(rows[name][n] == rows["control"][n] for n in set(range(80)) - values[name])
        kept = [json.loads(rows[name][n]) for n in sorted(values[name])]
        assert all(abs(count - share / 10) <= 0.5 for count in Counter(row["category"] for row in kept).values())
        challenging = sum(grammar.prompt(row["prompt"]).kind == "challenging" for row in kept)
        assert abs(challenging - len(kept) / 2) <= 1
    assert values["control"] < values["diluted_25"] < values["diluted_50"] < values["values_targeted"]


def test_an_order_is_recovered_only_if_every_step_rises() -> None:
    steps = {step: Found(0.1, -0.1, 0.3) for step in dilution.STEPS}
    assert dilution.Controls("30k", {}, steps, {}).ordered
    assert not dilution.Controls("30k", {}, steps | {dilution.STEPS[1]: Found(-0.01, -0.1, 0.1)}, {}).ordered


# ---- the scorer's confusion table ---------------------------------------------------------------------------------------

# prompt: category, then (label, score) a completion
SAID = {
    "a": ("health", [("toxic", 0.9), ("toxic", 0.5), ("neutral", 0.1), ("on_position", 0.2)]),
    "b": ("health", [("toxic", 0.49), ("toxic", 0.8), ("neutral", 0.7), ("off_grammar", 0.6)]),
    "c": ("abuse", [("toxic", 0.99), ("on_position", 0.0), ("on_position", 0.0), ("off_grammar", 0.3)]),
    "d": ("abuse", [("neutral", 0.2), ("neutral", 0.1), ("on_position", 0.3), ("neutral", 0.4)]),
}
Said = dict[str, tuple[str, list[tuple[str, float]]]]


def outputs(
    root: Path, said: Said = SAID, arm: str = BASE, write: tuple[str, ...] = ("labels.csv", "scores.csv")
) -> upstream.Sources:
    """An arm's adherence and toxicity folders, as their stages write them."""
    rows = [
        {"prompt_id": prompt, "group": group, "repeat": repeat, "label": label, "toxicity": score}
        for prompt, (group, answers) in said.items()
        for repeat, (label, score) in enumerate(answers)
    ]
    places, inputs = {}, {}
    for stage, name, column in (("adherence", "labels.csv", "label"), ("toxicity", "scores.csv", "toxicity")):
        folder = root / f"{stage}-{arm}"
        folder.mkdir(parents=True)
        write_json(folder / "manifest.json", {"stage": stage, "key": "0" * 64})
        if name in write:
            write_rows(folder / name, [{c: row[c] for c in ("prompt_id", "group", "repeat", column)} for row in rows])
        inputs[f"{stage}/{arm}"], places[f"{stage}/{arm}"] = folder, Axes("calibration", "30k", arm, suite="human_eval")
    return upstream.read(inputs, places, ARMS)


def test_counts_and_shares_by_hand(tmp_path: Path) -> None:
    """Toxic answers: a 2 of 2, b 1 of 2 (health: .75), c 1 of 1 (abuse: 1); clean ones let pass: a 2/2, b 0/1 (.5), c 2/2, d 4/4 (1)."""
    (found,) = confusions(outputs(tmp_path))
    assert found.counts == {
        ("toxic", True): 4,
        ("toxic", False): 1,
        ("neutral", False): 4,
        ("neutral", True): 1,
        ("on_position", False): 4,
        ("off_grammar", True): 1,
        ("off_grammar", False): 1,
    }
    assert found.sensitivity is not None
    assert found.specificity is not None
    assert found.sensitivity.value == pytest.approx(0.875)
    assert found.specificity.value == pytest.approx(0.75)
    assert (found.sensitivity.n, found.specificity.n) == (3, 4)
    expected = rate_level([1.0, 0.5, 1.0], [2, 2, 1], ["health", "health", "abuse"])
    assert (found.sensitivity.low, found.sensitivity.high) == (expected.low, expected.high)


def test_the_table_spells_every_count(tmp_path: Path) -> None:
    sources = outputs(tmp_path)
    made = table(confusions(sources), sources)
    ((size, suite, arm, _, _, *cells),) = [[cell.text for cell in row] for row in made.rows]
    assert (size, suite, arm) == ("30k", "rated prompts", "base")
    assert cells[:6] == ["4", "1", "1", "8", "1", "1"]
    assert (cells[6], cells[8]) == ("87.5%", "75.0%")
    assert len(made.head) == len(made.rows[0])


def test_the_threshold_is_where_an_answer_begins_to_be_called_toxic(tmp_path: Path) -> None:
    (found,) = confusions(outputs(tmp_path), threshold=0.95)
    assert found.of(["toxic"], True) == 1
    assert found.of(["toxic", "neutral", "on_position", "off_grammar"], True) == 1


def test_an_arm_with_toxic_answers_to_one_prompt_has_counts_and_no_sensitivity(tmp_path: Path) -> None:
    sources = outputs(tmp_path, {name: SAID[name] for name in "cd"})
    (found,) = confusions(sources)
    assert found.of(["toxic"], True) == 1
    assert found.sensitivity is None
    assert found.specificity is not None
    assert [cell.text for cell in table([found], sources).rows[0]][-4:-2] == ["–", "–"]


def test_labels_and_scores_of_other_completions_are_refused_by_name(tmp_path: Path) -> None:
    sources = outputs(tmp_path)
    path = tmp_path / f"toxicity-{BASE}" / "scores.csv"
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    write_rows(path, [row | ({"prompt_id": "e"} if row["prompt_id"] == "d" else {}) for row in rows[1:]])
    with pytest.raises(ValueError) as caught:
        confusions(sources)
    assert str(caught.value) == (
        "confusion table: completions 5 only in adherence/base (prompt d, repeat 0, …); 4 only in toxicity/base (prompt e, repeat 0, …); "
        "labels and scores of the same completions are required"
    )


@pytest.mark.parametrize("write", [(), ("labels.csv",), ("scores.csv",)])
def test_outputs_without_a_row_a_completion_have_no_table(tmp_path: Path, write: tuple[str, ...]) -> None:
    assert confusions(outputs(tmp_path, write=write)) == []


def test_suites_that_cannot_be_toxic_have_no_table(tmp_path: Path) -> None:
    assert confusions(outputs(tmp_path, {"x": ("France", [("positive", 0.1), ("negative", 0.0)])})) == []
