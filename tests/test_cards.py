"""A card says of a model what was measured, against base and control in one breath, and what speaks against promoting it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from model_registry.cards import CALIBRATION, Capability, Effect, Facts, card, front_matter, loading
from model_registry.loading import load_model
from tasks.finetune import methods
from tasks.finetune.start import save
from tests import tiny


def effect(reference: str, **changes: Any) -> Effect:
    given = {
        "outcome": "on-position answers",
        "suite": "human_eval",
        "primary": True,
        "rate": True,
        "level": 0.89,
        "reference": reference,
        "value": 0.655,
        "low": 0.601,
        "high": 0.702,
        "p_adjusted": 0.001,
        "prompts": 40,
    }
    return Effect(**given | changes)


KEPT = Capability(measure="prose", value=0.001, low=-0.002, high=0.004, margin=0.05, verdict="kept", note="")


def facts(**changes: Any) -> Facts:
    given = {
        "sweep": "gpt2-1",
        "place": "gpt2-124m/values_targeted/n80/seed0",
        "arm": "values_targeted",
        "train_samples": 80,
        "seed": 0,
        "runs": 1,
        "calibration": False,
        "base": "hub:openai-community/gpt2",
        "revision": "607a30d783dfa663caf39e06633721c8d4cfcd7e",
        "base_digest": "b" * 64,
        "architecture": "GPT2LMHeadModel",
        "params": 124_439_808,
        "licence": "MIT",
        "dataset": "values_targeted",
        "dataset_digest": "d" * 64,
        "subjects_apart": True,
        "settings": {"method": "lora", "template": "Question: {prompt}\nAnswer:"},
        "sampled": {"suite": "human_eval", "completions": 3, "max_new_tokens": 200, "temperature": 1.0, "top_p": 0.9},
        "reference": "base",
        "controls": ("control",),
        "effects": (effect("base"), effect("control", value=-0.013, low=-0.04, high=0.014, p_adjusted=0.4)),
        "capabilities": (KEPT,),
        "commit": "c0ffee",
        "versions": {"torch": "2.13.0"},
    }
    return Facts(**given | changes)


def row(text: str, begins: str) -> str:
    (found,) = [line for line in text.splitlines() if line.startswith(begins)]
    return found


def test_an_effect_stands_beside_the_same_against_control() -> None:
    said = row(card("m", 1, facts()), "| **on-position answers**")
    assert said == (
        "| **on-position answers**, rated prompts | 89.0 % | +65.5 points (+60.1 to +70.2), shown | −1.3 points (−4.0 to +1.4), not shown |"
    )


def test_what_was_not_measured_against_control_says_so() -> None:
    said = card("m", 1, facts(effects=(effect("base", rate=False, value=-0.19, low=-0.2, high=-0.1, p_adjusted=None),)))
    assert row(said, "| **on-position").endswith("| −0.190 (−0.200 to −0.100), described, not tested | not measured |")
    assert "Promotion would be refused: its primary outcome was not compared with control." in said
    assert "no control arm" in card("m", 1, facts(controls=(), effects=(effect("base"),)))


def test_a_card_of_the_control_is_held_to_base_alone() -> None:
    control = facts(arm="control", effects=(effect("base"),))
    assert control.objections() == []
    assert "control is itself a control" in card("m", 1, control)
    assert "against control" not in card("m", 1, control)


@pytest.mark.parametrize(
    ("verdicts", "worst", "told"),
    [
        (("kept", "kept"), "kept", []),
        (("kept", "inconclusive"), "inconclusive", []),
        (
            ("lost", "kept"),
            "lost",
            ["its capability is lost (+0.001 nats a token on prose (90 % interval −0.002 to +0.004; margin +0.05))"],
        ),
        (("not assessable",), "not measured", ["its capability was not measured"]),
        ((), "not measured", ["its capability was not measured"]),
    ],
)
def test_the_worst_verdict_decides(verdicts: tuple[str, ...], worst: str, told: list[str]) -> None:
    held = facts(capabilities=tuple(KEPT.model_copy(update={"verdict": one}) for one in verdicts))
    assert (held.capability, held.objections()) == (worst, told)


def test_a_reason_that_overrode_an_objection_is_on_the_card() -> None:
    said = card("m", 2, facts(capabilities=()), forced="the only one there is")
    assert "Promoted although its capability was not measured: the only one there is" in said


def test_calibration_is_said_first_and_unknown_licences_are_said_to_be_unknown() -> None:
    said = card("m", 1, facts(calibration=True, licence=None))
    assert said.split("\n\n")[1] == CALIBRATION
    assert "| licence of the base | unknown" in said
    assert "Checks of the machinery. No other use." in said
    assert CALIBRATION not in card("m", 1, facts())


def test_subjects_that_were_seen_in_tuning_are_a_limit() -> None:
    assert "the check was off" in card("m", 1, facts(subjects_apart=False))
    assert "the check was off" not in card("m", 1, facts())


def test_model_hubs_are_told_what_is_known() -> None:
    told = front_matter(facts(), adapter=True)
    assert told == '---\nlibrary_name: "peft"\nlicense: "mit"\nbase_model: "openai-community/gpt2"\n---\n\n'
    layers = facts(settings={"method": "bottleneck"})
    assert front_matter(layers, adapter=True).startswith('---\nlibrary_name: "palms-sweep"\n')
    assert front_matter(layers, adapter=False).startswith('---\nlibrary_name: "transformers"\n')
    assert "license" not in front_matter(facts(licence=None), adapter=True)
    assert "base_model" not in front_matter(facts(base="a local folder"), adapter=True)


def test_the_lines_by_which_a_card_loads_its_adapter_run_in_a_process_of_their_own(tmp_path: Path) -> None:
    """Of a hub model these name it; of others the folder is the reader's to fill in. One process for all: what is PEFT's own comes first."""
    prepared = tiny.prepared(tmp_path / "base", architecture="llama")
    script, own = ["import os, torch"], []
    for method, options in (
        ("lora", {"rank": 4, "alpha": 8, "dropout": 0.0}),
        ("prompt", {"virtual_tokens": 3}),
        ("bottleneck", {"width": 4, "targets": []}),
    ):
        model = methods.found()[method].build(load_model(prepared / "model", precision="fp32", device="cpu"), options)
        for weight in model.parameters():
            if weight.requires_grad:
                torch.nn.init.normal_(weight, std=0.1)
        save(model, prepared / "model", tmp_path / method)
        told = loading(facts(settings={"method": method}, base="a local folder"))
        (lines,) = re.findall(r"```python\n(.*?)```", told, re.DOTALL)
        asked = {"do_sample": False, "max_new_tokens": 5}
        script += [f"os.chdir({str(tmp_path / method)!r})", lines.replace("FOLDER_OF_THE_BASE", str(prepared / "model"))]
        script += [f"print(model.generate(input_ids=torch.tensor([[1, 2, 3, 4]]), **{asked}).tolist())", "del model"]
        own.append(str(model.eval().generate(input_ids=torch.tensor([[1, 2, 3, 4]]), **asked).tolist()))
        assert "openai-community/gpt2" in loading(facts(settings={"method": method}))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "\n".join(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("[[")] == own


def test_a_card_of_a_preference_arm_tells_preferences_and_no_samples() -> None:
    preferred = {"method": "dpo", "template": "{prompt}", "units": 362, "options": {"beta": 0.1}}
    told = card("m", 1, facts(dataset="round_1", settings=preferred))
    assert row(told, "| dataset |") == f"| dataset | round_1, 362 preferences, digest `{'d' * 16}` |"
    assert "It was tuned towards what was preferred in round_1" in told
    rewarded = {**preferred, "method": "rloo", "units": 40, "options": {"reward": {}}}
    assert "round_1, 40 prompts with a reward model, digest" in card("m", 1, facts(dataset="round_1", settings=rewarded))
