"""Precision and rows where an experiment leaves them open: found on the model at hand, and keyed as if they had been asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from flows.engine import machine
from flows.engine.home import Home
from flows.prepared import prepare_run
from flows.request import request
from tasks.contract import Node, read_json
from tasks.prepare import settling
from tasks.prepare.stage import FEWEST_FOR_BF16, SettlingSettings
from tests import sweeps, tiny
from tests.jobs import Ran, make_job

WIDE = {"n_embd": 256, "n_layer": 7, "n_head": 8}  # 5.6 million parameters
TEMPLATE = "Question: {prompt}\nAnswer:"
OPEN = SettlingSettings(TEMPLATE, precision="auto", decode_batch=64, new=0, memory_gib=0)


@pytest.mark.parametrize(
    ("listed", "units"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 sse\n", True),
        ("flags\t\t: fpu amx_bf16 amx_tile\n", True),
        ("Features\t: fp asimd bf16\n", True),
        ("flags\t\t: fpu avx2\nbugs\t\t: bf16\n", False),
        (None, False),
    ],
)
def test_a_processor_has_units_for_bf16_if_its_flags_say_so(tmp_path: Path, listed: str | None, units: bool) -> None:
    described = tmp_path / "cpuinfo"
    if listed is not None:
        described.write_text(listed)
    assert machine.multiplies_bf16(described) is units


def nodes(folder: Path, models: dict[str, Path], numerics: dict[str, Any]) -> list[Node]:
    path = sweeps.experiment(folder, models, numerics={"device": "cpu", "threads": 1, **numerics})
    return prepare_run(Home(folder / "home"), request(str(path))).dag.nodes


def looked_at(found: list[Node]) -> list[str]:
    return [node.label for node in found if node.stage.name == "numerics"]


def test_precision_is_looked_for_where_it_is_left_open_and_bf16_may_be_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {"small": tiny.model(tmp_path / "small", context=1024), "wide": tiny.model(tmp_path / "wide", context=1024, **WIDE)}
    monkeypatch.setattr(machine, "multiplies_bf16", lambda: True)
    found = nodes(tmp_path, models, {})
    assert looked_at(found) == ["numerics/local-wide"]
    asked = {node.numerics.precision for node in found if node.axes.size == "wide" and node.axes.arm and node.numerics}
    assert asked == {"auto", "fp32"}  # what reads no model of the ladder has nothing to settle
    assert {node.numerics.precision for node in found if node.axes.size == "small" and node.numerics} == {"fp32"}
    assert [
        node.label for node in found if node.numerics and node.numerics.precision == "auto" and "numerics" not in node.inputs
    ] == []
    assert looked_at(nodes(tmp_path, models, {"precision": "bf16"})) == []
    monkeypatch.setattr(machine, "multiplies_bf16", lambda: False)
    assert looked_at(nodes(tmp_path, models, {})) == []


@pytest.mark.slow
@pytest.mark.skipif(not machine.multiplies_bf16(), reason="this processor has no units for bf16: precision: auto is fp32")
def test_what_was_found_is_keyed_as_if_it_had_been_asked_for(tmp_path: Path) -> None:
    """So that a sweep which names the precision reuses all of it, and one which names the other nothing."""
    folder = tiny.model(tmp_path / "model", context=1024, tie_word_embeddings=False, **WIDE)
    changed(folder, sharp)
    numerics = {"device": "cpu", "threads": 1}
    config = str(sweeps.experiment(tmp_path, {"wide": folder}, numerics=numerics, **sweeps.TOXICITY))
    home = tmp_path / "home"
    sweeps.palms(home, "run", config)
    page = next((home / "store" / "compare").glob("*/report.html")).read_text(encoding="utf-8")
    assert re.search(r"bf16: \d+ of 200 greedy tokens as in fp32", page)

    def stages(precision: str) -> dict[str, str]:
        rows = sweeps.palms(home, "plan", config, "--set", f"numerics.precision={precision}", "--all").stdout.splitlines()
        return {
            words[1].partition("/")[0]: words[0]
            for row in rows
            if (words := row.split()) and words[0] in ("run", "cached", "waits")
        }

    made = stages("bf16")
    assert {made[stage] for stage in ("prepare", "finetune", "sampling", "toxicity")} == {"cached"}
    assert "numerics" not in made
    assert "cached" not in {stages("fp32")[stage] for stage in ("finetune", "sampling")}


def changed(folder: Path, change: Callable[[Any], None]) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    change(model)
    model.save_pretrained(folder)


def check(folder: Path, change: Callable[[Any], None] | None = None, **options: Any) -> Ran:
    prepared = tiny.prepared(folder / "prepared", context=256, **options)
    if change is not None:
        changed(prepared / "model", change)
    (prepared / "model.json").write_text(json.dumps({"params": FEWEST_FOR_BF16}))
    ran = make_job(folder / "work", OPEN, {"model": prepared})
    settling.run([ran.job])
    assert ran.commits == 1
    return ran


def found(ran: Ran) -> tuple[str, dict[str, Any]]:
    return read_json(ran.work / "numerics.json")["precision"], read_json(ran.work / "settled.json")


@torch.no_grad()
def sharp(model: Any) -> None:
    """What is said is said clearly, as a trained model says it: without near ties."""
    model.lm_head.weight.mul_(4)


@torch.no_grad()
def shifted(model: Any) -> None:
    """All logits are raised alike, by the sum of a last state that has a part of its own: in fp32 nothing changes by more than rounding."""
    sharp(model)
    model.transformer.ln_f.bias.add_(100.0)
    model.lm_head.weight.add_(10.0)


def test_a_model_that_says_the_same_is_run_in_bf16(tmp_path: Path) -> None:
    ran = check(tmp_path, sharp, tie_word_embeddings=False)
    chosen, seen = found(ran)
    assert (chosen, seen["tokens"]) == ("bf16", 200)
    assert seen["same"] >= 190
    assert 0 < seen["nats"] < 0.01
    assert ran.said == [
        f"bf16: {seen['same']} of 200 greedy tokens as in fp32, {seen['nats']:.2g} nats a token from it; 64 rows at once"
    ]


def test_a_model_that_rounding_makes_another_one_stays_in_fp32(tmp_path: Path) -> None:
    chosen, seen = found(check(tmp_path, shifted, tie_word_embeddings=False))
    assert chosen == "fp32"
    assert seen["because"].startswith("in bf16 it is another model")
    assert seen["same"] < 190


def test_a_model_of_few_parameters_is_not_even_loaded(tmp_path: Path) -> None:
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared" / "model.json").write_text(json.dumps({"params": FEWEST_FOR_BF16 - 1}))
    ran = make_job(tmp_path / "work", OPEN, {"model": tmp_path / "prepared"})
    settling.run([ran.job])
    assert found(ran) == (
        "fp32",
        {"precision": "fp32", "decode_batch": 64, "because": "bf16 is looked at from 5,000,000 parameters on"},
    )


# ---- rows ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("memory", "row", "rows"),
    [(2048, 1, 512), (2047, 1, 256), (256, 1, 64), (255, 1, 32), (10, 1, 8), (0, 1, 8), (1e18, 1, 512)],
)
def test_rows_are_the_power_of_two_that_takes_its_share_of_memory(memory: float, row: float, rows: int) -> None:
    """From 8 to the most, here 512: a quarter of the memory."""
    assert settling.fitting(memory, row, 512) == rows


def rows(folder: Path, prepared: Path, *, memory_gib: int, new: int = 20) -> int:
    settings = SettlingSettings(TEMPLATE, precision="fp32", decode_batch="auto", new=new, memory_gib=memory_gib)
    ran = make_job(folder, settings, {"model": prepared})
    settling.run([ran.job])
    chosen = read_json(ran.work / "numerics.json")
    assert chosen["precision"] == "fp32"
    return int(chosen["decode_batch"])


def test_rows_follow_the_memory_that_a_token_takes(tmp_path: Path) -> None:
    small, wide = tiny.prepared(tmp_path / "small"), tiny.prepared(tmp_path / "wide", context=256, **WIDE)
    assert rows(tmp_path / "a", small, memory_gib=20) == 128
    # A token of the wide one takes 2 × 7 × 256 × 4 bytes, a row of 128 + 20,000 of them 288 MB.
    assert rows(tmp_path / "b", wide, memory_gib=20, new=20_000) == 16
    assert rows(tmp_path / "c", wide, memory_gib=1, new=20_000) == 8


@pytest.mark.slow
def test_rows_that_were_found_are_sampled_with(tmp_path: Path) -> None:
    folder = tiny.model(tmp_path / "model", context=1024)
    numerics = {"device": "cpu", "threads": 1, "precision": "fp32", "decode_batch": "auto"}
    config = str(sweeps.experiment(tmp_path, {"tiny": folder}, numerics=numerics, **sweeps.TOXICITY))
    home = tmp_path / "home"
    sweeps.palms(home, "plan", config, "--fit")
    sweeps.palms(home, "run", config)
    made = [read_json(path) for path in (home / "store" / "sampling").glob("*/manifest.json")]
    assert {one["identity"]["settings"]["decode_batch"] for one in made} == {128}


def test_rows_of_a_calibration_model_are_settled_too(tmp_path: Path) -> None:
    sets = ["numerics.decode_batch=auto", "ladders=[{ladder: calibration, sizes: [30k]}]"]
    dag = prepare_run(Home(tmp_path / "home"), request("calibration", sets)).dag
    assert looked_at(dag.nodes) == ["numerics/calibration-30k"]
    sampled = [node for node in dag.nodes if node.stage.name == "sampling"]
    assert sampled
    assert all(node.settings.decode_batch == "auto" and "numerics" in node.inputs for node in sampled)
