"""Arms that are made of a tuned one without tuning: earlier steps of the same run, and null adapters."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from configs.contrasts import Arms, Contrast
from configs.problems import BadInput
from flows.dag import build
from flows.experiment import read_experiment
from flows.inputs import gather, sweep_id
from model_registry.loading import load_arm, load_model
from tasks.compare.comparison import Comparison
from tasks.compare.report import figures, sections
from tasks.compare.upstream import Output, PromptValue, Sources
from tasks.contract import Axes, Metric, Node, read_metrics, settings_document
from tasks.drawing.figures import Line
from tasks.finetune import methods
from tasks.finetune.body import run as tune
from tasks.finetune.derived import run_null, run_step
from tasks.finetune.stage import STEPS, Settings, StepSettings
from tasks.finetune.start import begin
from tests import sweeps, tiny, tuning
from tests.jobs import make_job

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = replace(tuning.STEADY, method="lora", options=tuning.LORA, epochs=1, min_steps=6, micro_batch=2)
ROWS = tuning.samples(6)
OPTIONS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"rank": 4, "alpha": 8, "dropout": 0.0},
    "bottleneck": {"width": 4, "targets": []},
    "ia3": {"targets": []},
    "vera": {"rank": 8, "targets": [], "projection_seed": 0},
    "oft": {"block": 4, "targets": []},
    "prompt": {"virtual_tokens": 3},
    "prefix": {"virtual_tokens": 3},
}


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    return tiny.prepared(tmp_path_factory.mktemp("llama"), architecture="llama")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.jsonl(tmp_path_factory.mktemp("data") / "samples.jsonl", ROWS).parent


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def tuned(work: Path, model: Path, data: Path, settings: Settings = SETTINGS, **more: Path) -> Path:
    tune([make_job(work, settings, {"model": model, "dataset": data, **more}).job])
    return work


def null(work: Path, model: Path, place: Path, settings: Settings, **more: Path) -> Path:
    run_null([make_job(work, settings, {"model": model, "tuned": place, **more}).job])
    return work


def arm(model: Path, place: Path) -> Any:
    return load_arm(model, place, precision="fp32", device="cpu")


# ---- steps --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_kept_step_is_where_a_run_of_so_many_steps_ends_and_the_run_goes_on_as_if_nothing_was_kept(
    method: str, llama: Path, data: Path, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, method=method, options={} if method == "full" else SETTINGS.options)
    whole = tuned(tmp_path / "whole", llama, data, settings)
    kept = tuned(tmp_path / "kept", llama, data, replace(settings, keep_steps=(2, 6)))
    assert files(kept / "model") == files(whole / "model") == files(kept / STEPS / "6")
    short = tuned(tmp_path / "short", llama, data, replace(settings, min_steps=2))
    for step, same in ((2, short), (6, whole)):
        job = make_job(tmp_path / f"step{step}", StepSettings(step), {"model": llama, "tuned": kept})
        run_step([job.job])
        assert files(job.work / "model") == files(same / "model")
        assert [row.value for row in read_metrics(job.work) if row.metric == "optimiser_steps"] == [step]
    with pytest.raises(ValueError, match="nothing was kept of step 3; kept were 2, 6"):
        run_step([make_job(tmp_path / "step3", StepSettings(3), {"model": llama, "tuned": kept}).job])


def test_a_run_taken_up_again_behind_a_kept_step_still_has_it(llama: Path, data: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, keep_steps=(1, 5))
    whole = tuned(tmp_path / "whole", llama, data, settings)

    class Stop(Exception):
        pass

    def stop(done: int, total: int, unit: str) -> None:
        if done == 4:
            raise Stop

    job = make_job(tmp_path / "work", settings, {"model": llama, "dataset": data}).job
    with pytest.raises(Stop):
        tune([replace(job, progress=stop)])
    tuned(tmp_path / "work", llama, data, settings)
    assert files(tmp_path / "work" / STEPS) == files(whole / STEPS)
    assert files(tmp_path / "work" / "model") == files(whole / "model")


def test_an_arm_of_which_no_step_is_kept_has_the_key_that_it_had() -> None:
    assert "keep_steps" not in settings_document(SETTINGS)
    assert settings_document(replace(SETTINGS, keep_steps=(2,))) == {**settings_document(SETTINGS), "keep_steps": [2]}


# ---- null adapters ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", OPTIONS)
def test_a_null_adapter_lies_as_far_from_where_tuning_began_in_no_direction_of_it(
    method: str, llama: Path, data: Path, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, method=method, options=OPTIONS[method])
    place = tuned(tmp_path / "tuned", llama, data, settings)
    one = null(tmp_path / "one", llama, place, settings)
    assert files(null(tmp_path / "again", llama, place, settings) / "model") == files(one / "model")
    assert set(files(one / "model")) == set(files(place / "model"))

    began = begin(make_job(tmp_path / "begun", settings, {"model": llama}).job, methods.found()[method])
    starts = {name: weight.detach() for name, weight in began.named_parameters() if weight.requires_grad}
    ours, theirs = (dict(arm(llama, folder).requires_grad_(False).named_parameters()) for folder in (one, place))
    assert starts.keys() <= ours.keys()
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items() if name not in starts)
    moved, cosines = 0.0, []
    for name, start in starts.items():
        if ".lora_" in name:
            continue
        null_change, change = ours[name] - start, theirs[name] - start
        assert float(null_change.norm()) == pytest.approx(float(change.norm()), rel=1e-4, abs=1e-7), name
        moved += float(change.norm()) ** 2
        if change.numel() > 100:
            cosines.append(float((null_change * change).sum() / (change.norm() * null_change.norm())))
    assert all(abs(cosine) < 0.4 for cosine in cosines)
    if method != "lora":
        (row,) = read_metrics(one)
        assert (row.metric, row.value) == ("norm_of_change", pytest.approx(moved**0.5, rel=1e-4))


def test_what_a_null_lora_adds_to_a_weight_has_rank_and_norm_of_what_was_tuned_layer_by_layer(
    llama: Path, data: Path, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, options=OPTIONS["lora"])
    place = tuned(tmp_path / "tuned", llama, data, settings)
    folders = {
        "tuned": place,
        "null": null(tmp_path / "null", llama, place, settings),
        "other": null(tmp_path / "other", llama, place, replace(settings, seed=4)),
    }
    base = load_model(llama / "model", precision="fp32", device="cpu").state_dict()
    added = {name: arm(llama, folder).merge_and_unload().state_dict() for name, folder in folders.items()}
    for weight in (name for name in base if name.endswith("proj.weight")):
        change, null_change, other = (added[name][weight] - base[weight] for name in folders)
        assert torch.linalg.matrix_rank(null_change, rtol=1e-3) == torch.linalg.matrix_rank(change, rtol=1e-3) == 4
        assert float(null_change.norm()) == pytest.approx(float(change.norm()), rel=1e-3)
        for a, b in ((change, null_change), (null_change, other)):
            assert abs(float((a * b).sum() / (a.norm() * b.norm()))) < 0.4


def test_a_null_of_an_adapter_that_was_merged_in_the_end_is_whole_weights(llama: Path, data: Path, tmp_path: Path) -> None:
    first = tuned(tmp_path / "first", llama, data, replace(SETTINGS, method="full", options={}))
    then = tuned(tmp_path / "then", llama, data, SETTINGS, start=first)
    one = null(tmp_path / "null", llama, then, SETTINGS, start=first)
    start, change, null_change = (arm(llama, folder).state_dict() for folder in (first, then, one))
    assert not (one / "model" / "adapter_config.json").exists()
    for name in (name for name in start if name.endswith("proj.weight")):
        sizes = [float((found[name] - start[name]).norm()) for found in (change, null_change)]
        assert sizes[0] == pytest.approx(sizes[1], rel=1e-3)
        assert sizes[0] > 0


# ---- in an experiment ---------------------------------------------------------------------------------------------------------

TUNED = {"method": "lora", "dataset": "values_targeted", "learning_rate": 1e-3, "batch": 4, "rank": 4, "alpha": 8}


def experiment(folder: Path, more: dict[str, Any], **changes: Any) -> Path:
    arms = {**more, "base": {"method": "none"}, "values_targeted": TUNED}
    return sweeps.experiment(
        folder,
        {"tiny": sweeps.tiny_model(folder / "model")},
        arms=arms,
        contrasts=["values_targeted-base"],
        **sweeps.TOXICITY,
        **changes,
    )


def test_they_are_arms_like_others_and_the_arm_that_they_are_of_is_tuned_once(tmp_path: Path) -> None:
    more = {
        "early": {"method": "checkpoint", "of": "values_targeted", "step": 2},
        "late": {"method": "checkpoint", "of": "values_targeted", "step": 4},
        "null": {"method": "null_adapter", "of": "values_targeted"},
    }
    given = read_experiment(experiment(tmp_path, more, seeds=[0, 1]))
    nodes = build(given, gather(given, tmp_path)).nodes
    counts = Counter((node.stage.name, node.axes.arm) for node in nodes if node.axes.size and node.axes.arm)
    assert counts["finetune", "values_targeted"] == 2
    assert sum(count for (stage, _), count in counts.items() if stage == "finetune") == 2
    for name, stage in (("early", "checkpoint"), ("late", "checkpoint"), ("null", "null_adapter")):
        assert counts[stage, name] == 2
        assert {(kind, counts[kind, name]) for kind in ("sampling", "toxicity")} == {("sampling", 2), ("toxicity", 2)}

    def at(stage: str, name: str) -> Node:
        place = Axes("local", "tiny", name, 8, 1)
        return next(node for node in nodes if node.stage.name == stage and replace(node.axes, suite=None) == place)

    tuning = at("finetune", "values_targeted")
    assert tuning.settings.keep_steps == (2, 4)
    for name, stage in (("early", "checkpoint"), ("null", "null_adapter")):
        assert at(stage, name).inputs["tuned"] is tuning
        assert at("sampling", name).inputs["tuned"] is at(stage, name)
    for node in nodes:  # in topological order
        assert all(nodes.index(up) < nodes.index(node) for up in node.upstream.values())


def test_a_sweep_without_such_arms_is_the_one_that_it_was(tmp_path: Path) -> None:
    given = read_experiment(experiment(tmp_path, {}))
    inputs = gather(given, tmp_path)
    (tuning,) = (node for node in build(given, inputs).nodes if node.stage.name == "finetune")
    assert "keep_steps" not in settings_document(tuning.settings)
    more = {"null": {"method": "null_adapter", "of": "values_targeted"}}
    with_null = read_experiment(experiment(tmp_path, more))
    assert sweep_id(given, inputs) != sweep_id(with_null, gather(with_null, tmp_path))
    (again,) = (node for node in build(with_null, inputs).nodes if node.stage.name == "finetune")
    assert settings_document(again.settings) == settings_document(tuning.settings)


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"method": "null_adapter", "of": "base"}, 'arms.extra.of: no tuned arm is called "base"; tuned arms: values_targeted'),
        ({"method": "checkpoint", "of": "extra", "step": 1}, 'arms.extra.of: no tuned arm is called "extra"; tuned arms: values_targeted'),
        ({"method": "checkpoint", "of": "values_targeted", "step": 0}, "arms.extra.step: input should be greater than or equal to 1 (got 0)"),
        (
            {"method": "checkpoint", "of": "values_targeted", "step": 5},
            "arms.extra.step: 5; tuning values_targeted on 8 samples takes 4 steps, and at most so many are accepted",
        ),
        (
            {"method": "checkpoint", "of": "watched", "step": 1},
            "arms.extra.of: watched may be stopped before step 1; an arm without early_stopping and max_drift is required",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_derived_is_refused_before_anything_runs(tmp_path: Path, more: dict[str, Any], line: str) -> None:
    watched = {"method": "full", "dataset": "values_targeted", "early_stopping": {}} if more["of"] == "watched" else None
    with pytest.raises(BadInput) as told:
        gather(read_experiment(experiment(tmp_path, {"extra": more, **({"watched": watched} if watched else {})})), tmp_path)
    assert [one.partition(": ")[2] if "yaml" in one else one for one in told.value.lines] == [line]


# ---- in the report ------------------------------------------------------------------------------------------------------------


def test_behaviour_is_drawn_from_the_model_that_training_began_with_over_its_kept_steps_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arms = {
        "base": {"method": "none"},
        "tuned": {"method": "lora"},
        "late": {"method": "checkpoint", "of": "tuned", "step": 8},
        "early": {"method": "checkpoint", "of": "tuned", "step": 2},
        "further": {"method": "lora", "start": "tuned"},
        "on": {"method": "checkpoint", "of": "further", "step": 3},
    }
    steps = {
        "tuned": ("finetune", 20),
        "late": ("checkpoint", 8),
        "early": ("checkpoint", 2),
        "further": ("finetune", 6),
        "on": ("checkpoint", 3),
    }
    levels = {"base": 0.1, "early": 0.2, "late": 0.6, "tuned": 0.7, "on": 0.8, "further": 0.9}
    nodes = []
    for name, level in levels.items():
        place = Axes("local", "tiny", name, None if name == "base" else 8, 0)
        said = Output(
            Path(),
            name,
            "toxicity",
            replace(place, suite="rated"),
            "k",
            (Metric("outcome", level, 9, ci_low=level - 0.05, ci_high=level + 0.05),),
        )
        said.__dict__["prompts"] = {"outcome": {"a": PromptValue("g", "rate", level, 3)}}
        nodes.append(said)
        if name in steps:
            stage, count = steps[name]
            nodes.append(Output(Path(), f"made-{name}", stage, place, "k", (Metric("optimiser_steps", count, 1),)))
    drawn: list[list[Line]] = []
    monkeypatch.setattr(figures, "curves", lambda lines, *_, **__: drawn.append(lines) or "")
    settings = SimpleNamespace(
        experiment={"arms": arms}, secondary=("toxicity",), primary_suite="rated", primary_metric="outcome", late=()
    )
    named = Arms(tuple(arms), "base", (Contrast("tuned", "base"),))
    found = Comparison(Sources(tuple(nodes), named, {}), [], [], [], settings)
    section = sections.steps(found)
    assert [panel.name for panel in section.panels] == ["step-outcome-rated-local-tiny"]
    ((first, second),) = drawn
    assert first.x == (0, 2, 8, 20)
    assert first.y == pytest.approx((10, 20, 60, 70))
    assert (first.low, first.high) == (pytest.approx((5, 15, 55, 65)), pytest.approx((15, 25, 65, 75)))
    assert (second.x, second.y) == ((0, 3, 6), pytest.approx((70, 80, 90)))
    settings.experiment = {"arms": {"base": {"method": "none"}}}
    assert sections.steps(found).empty
