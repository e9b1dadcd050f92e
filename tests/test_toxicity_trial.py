"""A scorer of toxicity is tried on plainly toxic and plainly harmless sentences before it is believed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from configs.problems import BadInput
from flows import dag
from flows.experiment import read_experiment
from flows.inputs import gather
from model_registry.scorers import load_scorer
from tasks.contract import Axes, read_json, read_metrics
from tasks.evaluations.toxicity import trial
from tasks.evaluations.toxicity.sentences import HARMLESS, TOXIC, Sentence, load_sentences
from tasks.evaluations.toxicity.stage import TrialSettings, sentences
from tasks.scoring import Scorer
from tests import sweeps, tiny, tiny_scorers
from tests.jobs import Ran, make_job

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_scorers.detoxify(tmp_path_factory.mktemp("scorer") / "one")


def tried(work: Path, scorer: Path, *, turned: bool = False, primary: bool = False) -> Ran:
    """Of texts that the scorer itself sets apart: those that it scores highest are the toxic ones, or, turned, the harmless ones."""
    texts = sorted(set(tiny_scorers.some_texts()))
    scores = Scorer(load_scorer(scorer, "cpu")).score(texts, 8).column("toxicity")
    order = [texts[at] for at in np.argsort(scores)[:: 1 if turned else -1]]
    rows = [{"id": f"s{n}", "kind": TOXIC if n < len(order) // 2 else HARMLESS, "text": text} for n, text in enumerate(order)]
    file = tiny.jsonl(work / "sentences.jsonl", rows)
    return make_job(
        work / "job", TrialSettings(8, primary), {"scorer": scorer, "sentences": file}, {"scorer": Axes(name="detoxify-tiny")}
    )


def test_a_scorer_that_tells_them_apart_is_named_with_its_area(scorer: Path, tmp_path: Path) -> None:
    ran = tried(tmp_path, scorer, primary=True)
    trial.run([ran.job])
    (area,) = read_metrics(ran.work)
    assert (area.metric, area.value) == ("scorer_auc", 1.0)
    assert ran.said == [f"detoxify-tiny tells toxic from harmless sentences (AUC 1.00 [1.00, 1.00], {area.n} sentences)"]
    assert read_json(ran.work / "trial.json") == {"said": ran.said, "chance": []}


def test_one_that_has_them_the_wrong_way_round_measures_no_primary_outcome(scorer: Path, tmp_path: Path) -> None:
    beside = tried(tmp_path / "beside", scorer, turned=True)
    trial.run([beside.job])
    assert read_json(beside.work / "trial.json")["chance"] == beside.said
    refused = tried(tmp_path / "primary", scorer, turned=True, primary=True)
    with pytest.raises(
        ValueError, match=r"detoxify-tiny cannot be told from chance: .* one that can is required for a primary outcome"
    ):
        trial.run([refused.job])
    assert refused.commits == 0


def test_the_interval_of_the_area_holds_the_truth() -> None:
    from scipy.stats import norm

    rng, hits = np.random.default_rng(0), 0
    told = [Sentence(n, str(n), TOXIC if n % 3 else HARMLESS, "x") for n in range(90)]
    for _ in range(400):
        scores = rng.normal(size=90) + [1.0 if one.kind == TOXIC else 0.0 for one in told]
        found = trial.area(told, list(scores), "scorer_auc")
        assert found.ci_low is not None
        assert found.ci_high is not None
        hits += found.ci_low <= norm.cdf(1 / np.sqrt(2)) <= found.ci_high
    assert 0.92 <= hits / 400 <= 0.98


def test_the_shipped_sentences_are_as_many_of_both_kinds_and_as_long() -> None:
    held = load_sentences(sentences(calibration=False))
    lengths = {kind: [len(one.text.split()) for one in held if one.kind == kind] for kind in (TOXIC, HARMLESS)}
    assert len(lengths[TOXIC]) == len(lengths[HARMLESS]) == 40
    assert abs(np.mean(lengths[TOXIC]) - np.mean(lengths[HARMLESS])) < 1
    assert len({one.text for one in held}) == 80


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"id": "a", "kind": "rude", "text": "x"}], 'kind is "rude"; toxic or harmless is accepted'),
        ([{"id": str(n), "kind": TOXIC, "text": "x"} for n in range(3)], "0 harmless sentences; at least 2 of each kind"),
    ],
)
def test_a_file_that_tries_nothing_is_refused(rows: list[dict[str, str]], told: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        load_sentences(tiny.jsonl(tmp_path / "sentences.jsonl", rows))
    assert told in caught.value.lines[0]


def test_the_calibration_scorer_is_held_to_its_truth_instead(tmp_path: Path) -> None:
    models = {"a": tiny.model(tmp_path / "model")}
    for scorer, wanted in (({"kind": "calibration"}, False), ({"kind": "detoxify", "name": "unbiased"}, True)):
        path = sweeps.experiment(
            tmp_path / scorer["kind"], models, evaluations={"toxicity": {"suites": ["human_eval"], "scorer": scorer}}
        )
        experiment = read_experiment(path)
        built = dag.build(experiment, gather(experiment, path.parent))
        assert ("toxicity_trial/toxicity" in {node.label for node in built.shared}) is wanted
        (node, *_) = (node for node in built.nodes if node.stage.name == "toxicity")
        assert ("tried" in node.inputs) is wanted  # toxicity is the primary outcome there
