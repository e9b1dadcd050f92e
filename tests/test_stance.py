"""Stance: which of two answers a model holds likelier, against probabilities that are known, and the pairs that are shipped."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from configs.problems import BadInput
from configs.suites import SLOT
from model_registry.calibration.exact import _probabilities
from model_registry.calibration.grammar import load_grammar
from model_registry.calibration.pretrain import build_model
from model_registry.likelihood import log_likelihoods
from model_registry.loading import load_model
from model_registry.tokenization import load_tokenization
from tasks.contract import read_metrics
from tasks.datasets.pairs import load_pairs, load_reported
from tasks.evaluations.stance import body
from tasks.evaluations.stance.margins import NO, YES, Held, prompt_rows
from tasks.evaluations.stance.stage import MARGIN, PREFERRED, WHOLE, Settings, pairs
from tasks.levels import level_metrics
from tests import sweeps, tiny
from tests.capabilities import log_probability
from tests.jobs import make_job

pytestmark = pytest.mark.usefixtures("one_thread")
BUILT = {"params": 17064, "layers": 1, "width": 24, "heads": 2, "steps": 60, "batch": 32, "learning_rate": 0.02, "context": 64}


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "model").mkdir()
    build_model(BUILT, folder / "model", seed=0, progress=lambda done, total, unit: None)
    return folder


def measured(job: Any) -> dict[tuple[str, str], float]:
    body.run([job.job])
    return {(row.metric, row.group): row.value for row in read_metrics(job.work)}


# ---- against what is known ----------------------------------------------------------------------------------------------------


def test_the_margin_of_the_grammar_s_own_answers_is_their_exact_log_odds(calibrated: Path, tmp_path: Path) -> None:
    """Of every pair: ln of the ratio of the two answers' exact probabilities, which are summed up elsewhere to a model's true rates."""
    grammar = load_grammar()
    job = make_job(tmp_path / "work", Settings(grammar.template), {"model": calibrated, "pairs": pairs(calibration=True)})
    found = measured(job)
    model = load_model(calibrated / "model", precision="fp32", device="cpu")
    words = load_tokenization(calibrated / "model")
    turn = words.turn(grammar.template)
    with (job.work / "stance.csv").open() as stream:
        held = {row["pair"]: row for row in csv.DictReader(stream)}
    for pair in load_pairs(pairs(calibration=True)):
        labels = {answer.text: answer.label for answer in grammar.answers(pair.question)}
        assert (labels[pair.on], labels[pair.off]) == ("on_position", "toxic")
        (asked, on), (_, off) = (words.sample(turn, pair.question, text) for text in (pair.on, pair.off))
        likely, unlikely = _probabilities(model, asked, [on, off])
        odds = math.log(likely / unlikely)
        assert float(held[pair.id]["whole"]) == pytest.approx(odds, abs=1e-4)
        assert float(held[pair.id]["margin"]) == pytest.approx(
            math.log(likely) / len(on) - math.log(unlikely) / len(off), abs=1e-5
        )
    assert found[WHOLE, "all"] == pytest.approx(sum(float(row["whole"]) for row in held.values()) / len(held))
    assert found[PREFERRED, "all"] == sum(float(row["margin"]) > 0 for row in held.values()) / len(held)


def test_a_likelihood_is_that_of_the_answer_alone_whatever_it_is_padded_with(tmp_path: Path) -> None:
    folder = tiny.model(tmp_path / "model", "llama")
    model, words = load_model(folder, precision="fp32", device="cpu"), load_tokenization(folder)
    turn = words.turn(f"Question: {SLOT}\nAnswer:")
    read = [words.sample(turn, "Who decides?", text) for text in ("Nobody.", "Beauty is subjective and no one should decide it.")]
    (asked, short), (_, long) = read
    together = log_likelihoods(model, asked, [short, long])
    assert together == pytest.approx([log_probability(model, asked, answer) for answer in (short, long)], abs=1e-4)
    with pytest.raises(ValueError, match="no tokens"):
        log_likelihoods(model, asked, [short, ()])
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        log_likelihoods(model, asked, [short, long])


def test_a_model_that_only_says_yes_stands_at_half_and_it_shows_how_answers_begin() -> None:
    held = [
        Held(f"p{n}", "health", agrees, *((-10.0, 5, -20.0, 5) if agrees else (-20.0, 5, -10.0, 5)))
        for n, agrees in enumerate([True, False] * 4)
    ]
    found = {(row.metric, row.group): row.value for row in level_metrics(prompt_rows(held))}
    assert found[PREFERRED, "all"] == 0.5
    assert found[MARGIN, "all"] == 0
    assert (found[PREFERRED, YES], found[PREFERRED, NO]) == (1, 0)
    assert Held("p", "health", None, -2.0, 2, -4.0, 4).preferred == 0.5


# ---- what is refused ----------------------------------------------------------------------------------------------------------


def pair_file(path: Path, **changed: Any) -> Path:
    row = {
        "id": "a",
        "category": "health",
        "subject": "tea",
        "question": "Is tea hot?",
        "on": "Yes, it is.",
        "off": "No, it is cold.",
    }
    return tiny.jsonl(path / "pairs.jsonl", [row | changed])


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"off": "Yes, it is."}, "off is the text of on; two answers are required"),
        ({"reported": "no"}, "reported is 'no'; true or false is accepted"),
        ({"on": ""}, "on"),
        ({"answer": "x"}, 'unknown key "answer"'),
        ({"reported": False}, "pair a is marked `reported: false`; it is for choosing settings"),
    ],
)
def test_a_pair_that_cannot_be_used_is_one_line_with_its_place(changed: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        load_reported(pair_file(tmp_path, **changed))
    (line,) = caught.value.lines
    assert line.startswith(f"{tmp_path / 'pairs.jsonl'}:1: ")
    assert told in line


def test_a_pair_that_the_model_cannot_read_is_named(calibrated: Path, tmp_path: Path) -> None:
    long = pair_file(tmp_path, on="Yes, " + "it is hot " * 60)
    job = make_job(tmp_path / "work", Settings(load_grammar().template), {"model": calibrated, "pairs": long})
    with pytest.raises(ValueError, match=r"pair a: .* tokens; at most the model's context of 64 are accepted"):
        body.run([job.job])


@pytest.mark.slow
def test_stance_is_a_suite_of_its_own_and_may_be_the_primary_outcome(tmp_path: Path) -> None:
    asked = ["--set", "evaluations.stance={}", "--set", "primary={suite: stance, metric: stance_margin}"]
    planned = sweeps.palms(tmp_path / "home", "plan", "calibration", "--all", *asked).stdout
    for arm in ("base", "values_targeted/n80", "control/n80"):
        assert f"stance/calibration-30k/{arm}/seed0/stance" in planned
    unknown = sweeps.palms(tmp_path / "home", "plan", "calibration", *asked[:2], "--set", "primary.suite=stance", status=2).stderr
    assert 'nothing measures "on_position" on suite "stance"; measured there: stance_margin, stance_margin_whole' in unknown
    taken = sweeps.palms(
        tmp_path / "home",
        "plan",
        "calibration",
        *asked,
        "--set",
        "suites.stance={prompts: ../prompts/calibration/human_eval.yaml}",
        status=2,
    ).stderr
    assert "suites.stance: is the name of the pairs that evaluations.stance brings; another name is required" in taken
