"""`palms plan --fit`: what stages need, measured or by the stated formulas, and that what does not fit is refused before a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from configs.suites import load_suite
from flows.commands.fit import Need, needs, unfitting
from flows.cost import devices
from flows.cost.devices import one_thread
from flows.cost.work import PASS_LAYER_S, START_S, TUNING_LAYER_S
from flows.dag import OVERHEAD_GIB
from flows.engine.home import Home
from flows.prepared import Run, planned, prepare_run
from flows.request import request
from tasks.contract import Node, read_json
from tasks.finetune import methods
from tasks.finetune.stage import MICRO_TOKENS
from tests import sweeps, toy

ADAPTERS = {
    "lora": {"method": "lora", "rank": 4, "alpha": 8},
    "dora": {"method": "lora", "rank": 4, "alpha": 8, "dora": True},
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"a": sweeps.tiny_model(tmp_path_factory.mktemp("models") / "a")}


def prepared(folder: Path, models: dict[str, Path], *sets: str) -> tuple[Run, list[Node]]:
    """A run and what of it is not made."""
    tuned = {"dataset": "values_targeted", "learning_rate": 1e-3, "batch": 4}
    arms = {"base": {"method": "none"}, "values_targeted": {"method": "full", **tuned}}
    arms |= {name: {**tuned, **given} for name, given in ADAPTERS.items()}
    config = sweeps.experiment(folder / "x", models, arms=arms, contrasts=["values_targeted-base"], **sweeps.TOXICITY)
    run = prepare_run(Home(folder / "home"), request(str(config), list(sets)))
    rows = planned(run)
    return run, [node for node, row in zip(run.dag.nodes, rows, strict=True) if row.state != "cached"]


def of(found: Sequence[Need], label: str) -> Need:
    return next(one for one in found if one.label == label)


def test_the_speed_is_that_of_the_best_of_a_few_products() -> None:
    ticks = iter([0.0, 4.0, 4.0, 6.0, 6.0, 9.0, 9.0, 14.0, 14.0, 18.0])
    assert one_thread.__wrapped__(lambda: next(ticks)) == 2 * 1024**3 / 2.0
    assert one_thread.__wrapped__(lambda clock=count(): float(next(clock))) == 2 * 1024**3


def test_what_nothing_is_known_of_is_estimated_by_the_stated_formulas(
    tmp_path: Path, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "one_thread", lambda: 1e6)  # a machine so slow that overhead is nothing
    run, nodes = prepared(tmp_path, models)
    found = needs(run, nodes)
    params = run.inputs.models[0].at_most
    assert params
    config = read_json(models["a"] / "config.json")
    lengths = [
        len(f"{row['prompt']} {row['completion']}".split())
        for row in map(json.loads, (sweeps.SMALL / "values_targeted.jsonl").open())
    ]
    tokens = max(lengths) * 4 / 3
    each = 2 * config["n_layer"] * (34 * config["n_embd"] + 5 * config["n_head"] * tokens) + 8 * config["vocab_size"]
    full = of(found, "finetune local-a full")
    assert full.memory_gib == pytest.approx(OVERHEAD_GIB + (20 * params + min(4 * tokens, MICRO_TOKENS) * each) / 2**30)
    assert full.memory_from.startswith(f"estimated: 0.8 GiB + 20 bytes × {params:,} parameters + ")
    mean = sum(lengths) / len(lengths) * 4 / 3
    layers = config["n_layer"]
    assert full.seconds == pytest.approx(START_S + 4 * (layers * TUNING_LAYER_S + 6 * params * mean * 4 / (0.4 * 1e6)))
    assert full.seconds_from == "estimated: formula, not measured yet on cpu"
    adapter = of(found, "finetune local-a lora")
    assert adapter.seconds == pytest.approx(2 * (START_S + 4 * (layers * TUNING_LAYER_S + 4 * params * mean * 4 / (0.4 * 1e6))))
    sampling = of(found, "sampling local-a")
    assert sampling.nodes == 4
    around = len(run.experiment.around.replace("{prompt}", "").split())
    read = sum(len(prompt.text.split()) + around for prompt in load_suite(sweeps.SMALL / "human_eval.yaml").prompts) * 4 / 3
    tokens = 64 * 8 + read  # of one batch: sixteen questions, three answers each
    assert sampling.seconds == pytest.approx(4 * (START_S + 8 * layers * PASS_LAYER_S + 2 * params * tokens / (0.4 * 1e6)))
    assert of(found, "datasets").seconds is None
    assert of(found, "datasets").seconds_from.startswith("not known")


def test_lora_arms_of_a_size_are_sampled_together_and_wait_for_nothing_else(tmp_path: Path, models: dict[str, Path]) -> None:
    _, nodes = prepared(tmp_path, models, "arms.lora_too={method: lora, dataset: values_targeted, learning_rate: 1e-3, rank: 2}")
    together = {node.axes.arm: node.together for node in nodes if node.stage.name == "sampling"}
    assert together["lora"] == together["lora_too"] is not None
    assert {arm for arm, place in together.items() if place is None} == {"base", "values_targeted", "dora"}


def test_dora_is_held_more_memory_for_than_lora(tmp_path: Path, models: dict[str, Path]) -> None:
    _, nodes = prepared(tmp_path, models)
    held = {node.axes.arm: node.resources.memory_gib - OVERHEAD_GIB for node in nodes if node.stage.name == "finetune"}
    assert held["dora"] / held["lora"] == pytest.approx(15 / 6)
    lora = methods.found()["lora"]
    assert lora.bytes_for({"dora": False}) == lora.bytes_for({}) == 6


def test_what_the_store_has_measured_is_told_as_measured_and_scaled_to_other_steps(
    tmp_path: Path, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for speed in ("one_thread", "copied"):
        monkeypatch.setattr(devices, speed, lambda: 1e18)  # a machine so fast that all is overhead
    _, nodes = prepared(tmp_path, models)
    made = [
        node
        for node in nodes
        if node.stage.name in ("datasets", "leakage", "prepare", "finetune") and node.axes.arm in (None, "values_targeted")
    ]
    session = toy.session(tmp_path / "home", made)
    for node in made:
        toy.make(session, node)
    (output,) = (session.store.find("finetune", path.name) for path in (tmp_path / "home/store/finetune").glob("[0-9a-f]*"))
    again, nodes = prepared(tmp_path, models, "arms.values_targeted.epochs=6")
    full = of(needs(again, nodes), "finetune local-a full")
    assert full.memory_gib == output.facts["peak_memory_gib"]  # type: ignore[union-attr]
    assert full.memory_from == "measured, 1 earlier"
    layer = read_json(models["a"] / "config.json")["n_layer"] * TUNING_LAYER_S  # and it has 12 steps where 4 were made
    longer = (START_S + 12 * layer) / (START_S + 4 * layer)
    assert full.seconds == pytest.approx(longer * output.facts["seconds"])  # type: ignore[union-attr]
    assert full.seconds_from == "measured"
    assert of(needs(again, nodes), "finetune local-a lora").seconds_from.startswith("estimated")
    # On another machine its memory is as much, and its time is not.
    manifest = output.folder / "manifest.json"  # type: ignore[union-attr]
    document = json.loads(manifest.read_text())
    document["facts"]["host"] = "elsewhere"
    del document["whole"]
    manifest.write_text(json.dumps(document))
    moved = of(needs(again, nodes), "finetune local-a full")
    assert moved.memory_from == "measured, 1 earlier"
    assert moved.seconds_from.startswith("estimated")


def test_what_does_not_fit_is_one_line_a_stage() -> None:
    one = Need("finetune", "gpt2-1.5b", "full", 3, 29.8, "estimated: 0.8 GiB + 20 bytes × 1 parameters", 1.0, "")
    assert list(unfitting([one, replace(one, memory_gib=7.9)], 8.0)) == [
        "finetune gpt2-1.5b full: takes 29.8 GiB of memory (estimated: 0.8 GiB + 20 bytes × 1 parameters), and 8.0 GiB are there for stages "
        "(limits.memory_gib); a smaller size, an adapter in place of full, or more memory is required"
    ]


def test_the_command_ends_with_2_where_a_stage_does_not_fit(tmp_path: Path) -> None:
    fits = sweeps.palms(tmp_path, "plan", "gpt2", "--fit", "--set", "limits.memory_gib=64")
    assert "finetune gpt2-1.5b full" in fits.stdout
    assert "there are 64.0 GiB for stages" in fits.stdout
    too_large = sweeps.palms(tmp_path, "plan", "gpt2", "--fit", "--set", "limits.memory_gib=20", status=2)
    assert too_large.stdout.splitlines()[0].split() == ["stage", "n", "memory", "time"]
    assert [line.split(":")[1].strip() for line in too_large.stderr.splitlines()] == ["finetune gpt2-1.5b full"]
    both = sweeps.palms(tmp_path, "plan", "gpt2", "--fit", "--power", status=2)
    assert "--fit, --power: each is told instead of the plan" in both.stderr
