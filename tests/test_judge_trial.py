"""A judge is tried before it is believed: what it tells apart, in both orders, and what becomes of one that tells nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows import dag
from flows.experiment import read_experiment
from flows.inputs import gather
from tasks.evaluations.judge import stage, trial
from tasks.statistics import discrimination
from tests import judge_material, sweeps, tiny
from tests.jobs import Ran, make_job
from tests.judge_material import honest, material, measured, table
from tests.judge_stand_in import StandIn, says, serve

_impatient = judge_material.impatient  # for every test here


# ---- the area under the curve --------------------------------------------------------------------------------------------------


def test_the_area_is_the_share_of_all_pairs_of_scores_that_are_the_right_way_round() -> None:
    on, off = [5.0, 4.0, 4.0, 2.0], [1.0, 4.0, 3.0, 3.0]
    by_hand = np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a in on for b in off])
    assert discrimination(on, off).value == pytest.approx(by_hand)
    assert discrimination(off, on).value == pytest.approx(1 - by_hand)
    assert (discrimination([3, 4], [1, 2]).value, discrimination([1, 2], [3, 4]).value) == (1, 0)
    assert discrimination([3, 3, 3], [3, 3, 3]).value == 0.5
    for bad in (([1.0], [2.0]), ([1.0, 2.0], [1.0]), ([1.0, float("nan")], [1.0, 2.0])):
        with pytest.raises(ValueError, match=r"are required|NaN"):
            discrimination(*bad)


@pytest.mark.parametrize(("gap", "shared"), [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)])
def test_its_interval_holds_the_truth_whether_or_not_the_members_of_a_pair_go_together(gap: float, shared: float) -> None:
    from scipy.stats import norm

    rng, hits = np.random.default_rng(0), 0
    truth = float(norm.cdf(gap / np.sqrt(2 * (1 + shared**2))))
    for _ in range(400):
        common = shared * rng.normal(size=60)
        found = discrimination(gap + common + rng.normal(size=60), common + rng.normal(size=60))
        hits += found.low <= truth <= found.high
    assert 0.92 <= hits / 400 <= 0.98


# ---- the trial ----------------------------------------------------------------------------------------------------------------


def tried(folder: Path, judge: StandIn, *, primary: bool = False, answers: tuple[str, str] = ("RATE5", "RATE2")) -> Ran:
    inputs = material(folder / "in")
    rows = [
        {
            "id": f"s{n}",
            "category": ("health", "terrorism")[n % 2],
            "subject": f"s{n}",
            "question": f"Why {n}?",
            "on": f"{answers[0]} {n}",
            "off": f"{answers[1]} {n}",
        }
        for n in range(12)
    ]
    rows.append(rows[0] | {"id": "other", "category": "of no position", "subject": "other"})
    pairs = tiny.jsonl(folder / "pairs.jsonl", rows)
    settings = stage.TrialSettings(stage.Settings("endpoint", url=judge.url, model="stand-in"), primary)
    return make_job(folder / "work", settings, {"positions": inputs["positions"], "pairs": pairs})


def test_a_judge_that_reads_tells_answers_apart_in_both_orders(tmp_path: Path) -> None:
    with serve(honest) as judge:
        ran = tried(tmp_path, judge, primary=True)
        trial.run([ran.job])
        assert (
            len(judge.asked) == 12 * 2 * 2 * 2
        )  # pairs, questions, texts, orders; the pair of a category without a position is left out
    found = measured(ran)
    for group in ("all", "order:ascending", "order:descending"):
        for auc in ("judge_auc", "judge_answer_auc"):
            area = found[auc, group]
            assert (area.value, area.n, area.ci_low) == (1.0, 12, 1.0)
    assert len(table(ran.work / "trial.csv")) == 48
    assert ran.commits == 1
    assert ran.said == [
        "stand-in tells on- from off-position answers (AUC 1.00 [1.00, 1.00], 12 pairs)",
        "stand-in tells answers to a question from answers to another (AUC 1.00 [1.00, 1.00], 12 pairs)",
    ]


@pytest.mark.parametrize(("answer", "answers"), [("A", ("RATE5", "RATE2")), (None, ("RATE2", "RATE5"))])
def test_one_that_tells_nothing_or_the_wrong_way_round_is_named_and_is_no_primary_outcome(
    answer: str | None, answers: tuple[str, str], tmp_path: Path
) -> None:
    with serve(honest if answer is None else lambda asked: says(answer)) as judge:
        ran = tried(tmp_path / "beside", judge, answers=answers)
        trial.run([ran.job])
        assert ran.said[0].startswith(
            "stand-in cannot be told from chance: it does not tell on- from off-position answers (AUC 0."
        )
        refused = tried(tmp_path / "primary", judge, primary=True, answers=answers)
        with pytest.raises(ValueError, match=r"cannot be told from chance: .* one that can is required for a primary outcome"):
            trial.run([refused.job])
        assert refused.commits == 0


def test_pairs_of_which_none_has_a_position_try_nobody(tmp_path: Path) -> None:
    with serve(honest) as judge:
        ran = tried(tmp_path, judge)
        tiny.jsonl(
            tmp_path / "pairs.jsonl", [{"id": "a", "category": "other", "subject": "s", "question": "q", "on": "a", "off": "b"}]
        )
        with pytest.raises(ValueError, match=r"0 pairs are of categories that have a position; at least 2"):
            trial.run([ran.job])
        assert judge.asked == []


def test_only_what_is_primary_waits_for_the_trial(tmp_path: Path) -> None:
    judge: dict[str, Any] = {
        "suites": ["human_eval"],
        "judge": {"kind": "endpoint", "url": "http://127.0.0.1:9/v1", "model": "m"},
    }
    evaluations = {"judge": judge, "texture": {"suites": ["human_eval"], "type_token_words": 8}}
    models = {"a": tiny.model(tmp_path / "model")}

    def reads(metric: str) -> set[str]:
        path = sweeps.experiment(
            tmp_path / metric, models, evaluations=evaluations, primary={"suite": "human_eval", "metric": metric}
        )
        experiment = read_experiment(path)
        built = dag.build(experiment, gather(experiment, path.parent))
        assert "judge_trial/judge" in {node.label for node in built.shared}
        assert "judge_trial/judge" in built.comparison.inputs
        return set().union(*(node.inputs for node in built.nodes if node.stage.name == "judge"))

    assert "tried" in reads("judged_adherence")
    assert "tried" not in reads("length_words")
