"""Adapters of every kind: where they begin, that they are saved and read back, refused on layers that are not there, and leave no trace on
the model that they were on."""

from __future__ import annotations

import math
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from configs.problems import BadInput
from flows.experiment import read_experiment
from flows.inputs import gather
from flows.reading import require_readable
from model_registry.architecture import linear_layers, shaped
from model_registry.exporting import NotExported, _merge
from model_registry.loading import PRECISIONS, load_model, put_adapter
from tasks.finetune import methods
from tasks.finetune.methods.lora import Lora
from tasks.finetune.start import save
from tasks.sampling.engines.stacked import Stack
from tests import ggufs, sweeps, tiny

pytestmark = pytest.mark.usefixtures("one_thread")
LORA = {"rank": 4, "alpha": 8, "dropout": 0.0}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("lora", LORA),
    "rslora": ("lora", {**LORA, "rslora": True}),
    "dora": ("lora", {**LORA, "dora": True}),
    "targets": ("lora", {**LORA, "targets": ["q_proj"]}),
    "vera": ("vera", {"rank": 8, "targets": [], "projection_seed": 0}),
    "oft": ("oft", {"block": 4, "targets": []}),
    "ia3": ("ia3", {"targets": []}),
    "bottleneck": ("bottleneck", {"width": 4, "targets": []}),
    "narrow": ("bottleneck", {"width": 2, "targets": []}),
    "prompt": ("prompt", {"virtual_tokens": 5}),
    "short": ("prompt", {"virtual_tokens": 2}),
    "prefix": ("prefix", {"virtual_tokens": 5}),
    "brief": ("prefix", {"virtual_tokens": 2}),
}
VIRTUAL = ("prompt", "short", "prefix", "brief")  # these begin as random tokens: `test_virtual_tokens`
IDS = torch.arange(1, 20)[None]


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=IDS).logits
    return found


def fresh(folder: Path) -> Any:
    return load_model(folder / "model", precision="fp32", device="cpu")


def stirred(model: Any, seed: int = 0) -> Any:
    """With random numbers where it is trained: as if it had been tuned."""
    torch.manual_seed(seed)
    for weight in model.parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.1)
    return model


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    return tiny.prepared(tmp_path_factory.mktemp("llama"), architecture="llama")


@pytest.fixture(scope="module")
def adapters(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, torch.Tensor]]:
    """Kind → where one is saved, and what the model says with it."""
    found = {}
    for number, (kind, (method, options)) in enumerate(KINDS.items()):
        model = stirred(methods.found()[method].build(fresh(llama), options), number)
        place = tmp_path_factory.mktemp(kind) / "adapter"
        save(model, llama / "model", place)
        found[kind] = place, logits(model)
    return found


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in VIRTUAL])
def test_an_adapter_begins_at_the_model_as_it_is(kind: str, llama: Path) -> None:
    method, options = KINDS[kind]
    plain = logits(fresh(llama))
    assert torch.allclose(logits(methods.found()[method].build(fresh(llama), options)), plain, atol=1e-6)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_bottlenecks_stand_behind_both_sub_layers_of_every_block_of_every_architecture(architecture: str, tmp_path: Path) -> None:
    folder = tiny.prepared(tmp_path / "model", architecture=architecture)
    base = fresh(folder)
    plain, blocks = logits(base), base.config.num_hidden_layers
    model = methods.found()["bottleneck"].build(base, {"width": 4, "targets": []})
    assert torch.equal(logits(model), plain)
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert len(trained) == blocks * 2 * 4  # down and up, each with a bias
    save(stirred(model), folder / "model", tmp_path / "adapter")
    assert torch.equal(logits(put_adapter(fresh(folder), tmp_path / "adapter")), logits(model))
    assert not torch.allclose(logits(model), plain, atol=1e-2)


def test_plain_lora_alone_is_brought_to_the_precision_of_the_model_that_is_asked(
    adapters: dict[str, tuple[Path, torch.Tensor]], llama: Path
) -> None:
    """As the sampler multiplies it. What is tuned further stays as it was tuned: a step is smaller than a rounding of bf16."""
    for kind, (place, _) in adapters.items():
        for to_tune in (False, True):
            model = put_adapter(load_model(llama / "model", precision="bf16", device="cpu"), place, to_tune=to_tune)
            held = {weight.dtype for name, weight in model.named_parameters() if "default" in name}
            plain = kind in ("lora", "rslora", "targets") and not to_tune
            assert held == {torch.bfloat16 if plain else torch.float32}, (kind, to_tune)


def test_a_pass_over_whole_texts_and_the_sampler_differ_by_rounding(
    adapters: dict[str, tuple[Path, torch.Tensor]], llama: Path
) -> None:
    """In bf16, of the largest logit. Measured: at most 1.7 roundings; 2.1 where the adapter stays in fp32."""
    for kind in ("lora", "rslora", "targets"):
        model = put_adapter(load_model(llama / "model", precision="bf16", device="cpu"), adapters[kind][0], "arm")
        whole = logits(model).float()
        stack = Stack(model, ["arm"])
        with torch.inference_mode():
            drawing = stack((0,), input_ids=IDS).logits.float()
        stack.release()
        assert float((drawing - whole).abs().max() / whole.abs().max()) <= 8 * torch.finfo(torch.bfloat16).eps, kind


def test_a_saved_adapter_says_what_it_said(adapters: dict[str, tuple[Path, torch.Tensor]], llama: Path) -> None:
    for kind, (place, said) in adapters.items():
        assert torch.equal(logits(put_adapter(fresh(llama), place)), said), kind


def test_adapters_of_all_kinds_on_one_base_leave_no_trace_in_any_order(
    adapters: dict[str, tuple[Path, torch.Tensor]], llama: Path
) -> None:
    base = fresh(llama)
    plain = logits(base)
    for kind in [*adapters, *reversed(adapters), "bottleneck", "lora"]:
        place, said = adapters[kind]
        adapted = put_adapter(base, place)
        assert torch.equal(logits(adapted), said), kind
        with adapted.disable_adapter():
            assert torch.equal(logits(adapted), plain), kind
        base = adapted.unload()
        assert torch.equal(logits(base), plain), kind


@pytest.mark.parametrize(
    "kinds", [("lora", "rslora", "dora", "targets"), ("bottleneck", "narrow"), ("prompt", "short"), ("prefix", "brief")]
)
def test_several_adapters_beside_each_other_do_not_interfere(
    kinds: tuple[str, ...], adapters: dict[str, tuple[Path, torch.Tensor]], llama: Path
) -> None:
    model, plain = fresh(llama), logits(fresh(llama))
    for number, kind in enumerate(kinds):
        model = put_adapter(model, adapters[kind][0], f"a{number}")
    for number in (*range(len(kinds)), *reversed(range(len(kinds)))):
        model.set_adapter(f"a{number}")
        assert torch.equal(logits(model), adapters[kinds[number]][1])
    with model.disable_adapter():
        assert torch.equal(logits(model), plain)


def test_a_merged_adapter_says_the_same_within_rounding_and_adapter_layers_are_not_merged(
    adapters: dict[str, tuple[Path, torch.Tensor]], llama: Path, tmp_path: Path
) -> None:
    """Within 8 roundings of the precision, of the largest logit. Measured: at most 5.4e-7 in fp32 (4.5 of them), 1.8e-2 in bf16 (2.3)."""
    for kind, precision in product(("lora", "rslora", "dora", "targets", "vera", "oft", "ia3"), ("fp32", "bf16")):
        held = [put_adapter(load_model(llama / "model", precision=precision, device="cpu"), adapters[kind][0]) for _ in range(2)]
        apart, merged = logits(held[0]).float(), logits(held[1].merge_and_unload()).float()
        bound = 8 * torch.finfo(getattr(torch, PRECISIONS[precision])).eps
        assert float((merged - apart).abs().max() / apart.abs().max()) <= bound, (kind, precision)
    with pytest.raises(ValueError, match="cannot be merged"):
        put_adapter(fresh(llama), adapters["bottleneck"][0]).merge_and_unload()
    with pytest.raises(NotExported, match=r"cannot be merged into the model: .*; `--form tuned` gives the adapter"):
        _merge(llama / "model", adapters["bottleneck"][0], tmp_path / "whole")


def test_what_is_tuned_is_what_was_named_and_rslora_is_scaled_by_the_root_of_the_rank(llama: Path) -> None:
    model = methods.found()["lora"].build(fresh(llama), {**LORA, "targets": ["q_proj", "v_proj"], "rslora": True})
    layers = {name.split(".lora_")[0].rpartition(".")[2] for name, weight in model.named_parameters() if weight.requires_grad}
    assert layers == {"q_proj", "v_proj"}
    scales = {layer.scaling["default"] for layer in model.modules() if hasattr(layer, "lora_A")}
    assert scales == {8 / math.sqrt(4)}
    with_magnitudes = methods.found()["lora"].build(fresh(llama), {**LORA, "dora": True})
    assert any("magnitude" in name for name, weight in with_magnitudes.named_parameters() if weight.requires_grad)


def test_an_adapter_of_another_base_is_refused_in_one_line(
    adapters: dict[str, tuple[Path, torch.Tensor]], tmp_path: Path
) -> None:
    other = tiny.prepared(tmp_path / "gpt2", architecture="gpt2")
    for kind in ("lora", "bottleneck"):
        with pytest.raises(ValueError, match="one that was tuned on it is required") as told:
            put_adapter(fresh(other), adapters[kind][0])
        assert "\n" not in str(told.value)


def unfit(folder: Path, models: dict[str, Path] | None, **arm: Any) -> list[str]:
    """What is said of an arm before anything runs; `models`: None for the calibration ladder."""
    arms = {"base": {"method": "none"}, "values_targeted": {"dataset": "values_targeted", "learning_rate": 1e-3, **arm}}
    ladders = {} if models else {"ladders": [{"ladder": "calibration", "sizes": ["30k"]}]}
    path = sweeps.experiment(folder, models or {}, arms=arms, contrasts=["values_targeted-base"], **ladders)
    experiment = read_experiment(path)
    inputs = gather(experiment, folder)
    try:
        require_readable(experiment, inputs, {model.name for model in inputs.models})
    except BadInput as error:
        return list(error.lines)
    return []


@pytest.mark.parametrize("method", ["lora", "bottleneck", "ia3", "vera", "oft"])
def test_targets_that_no_layer_is_called_are_refused_before_anything_runs(method: str, llama: Path, tmp_path: Path) -> None:
    folder = sweeps.tiny_model(tmp_path / "model", "llama")
    (line,) = unfit(tmp_path, {"tiny": folder}, method=method, targets=["q_proj", "query"])
    assert line.startswith("arms.values_targeted.targets: no linear layer is called query; ")
    assert line.endswith(" (local-tiny)")
    assert linear_layers(shaped(folder)) == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    with pytest.raises(ValueError, match="no linear layer is called query"):
        methods.found()[method].build(fresh(llama), {**KINDS[method][1], "targets": ["query"]})


def test_what_does_not_fit_a_calibration_model_or_a_gguf_file_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (line,) = unfit(tmp_path / "a", None, method="lora", targets=["q_proj"])
    assert line.startswith("arms.values_targeted.targets: no linear layer is called q_proj; ")
    assert "query_key_value" in line
    assert line.endswith(" (calibration-30k)")
    assert unfit(tmp_path / "b", None, method="lora", targets=["query_key_value"]) == []
    assert unfit(tmp_path / "c", None, method="prefix") == []
    (line,) = unfit(tmp_path / "d", None, method="oft", block=11)
    assert line.startswith("arms.values_targeted.block: 11 does not divide the ")
    file = ggufs.write(tmp_path / "m.gguf", tiny.model(tmp_path / "wide", "llama", context=1024), "Q8_0")
    (line,) = unfit(tmp_path / "e", {"gguf": file}, method="ia3", targets=["query"])
    assert line.startswith("arms.values_targeted.targets: no linear layer is called query; ")
    assert line.endswith(" (local-gguf)")
    assert unfit(tmp_path / "f", {"gguf": file}, method="bottleneck") == []


# Shape → what is said of bottlenecks and of a prefix on it; empty: they fit.
SHAPED = {
    "bert-decoder": ("", ""),
    "mixtral": ("targets: none; of mixtral not both", ""),
    "gpt_oss": ("targets: none; of gpt_oss not both", ""),
    "mamba": ("targets: none; of mamba not both", "method: prefix; mamba does not keep keys and values"),
    "deepseek_v3": ("targets: none; of deepseek_v3 not both", "method: prefix; deepseek_v3 does not keep keys and values"),
}


@pytest.mark.parametrize("shape", SHAPED)
def test_where_an_architecture_has_no_place_for_it_a_method_is_refused_on_its_shapes(shape: str, tmp_path: Path) -> None:
    from benchmarks.architectures import config

    config(shape, 300).save_pretrained(tmp_path)
    for method, refusal in zip(("bottleneck", "prefix"), SHAPED[shape], strict=True):
        refused = pytest.raises(ValueError, match=f"^{refusal}") if refusal else nullcontext()
        with torch.device("meta"), refused:
            methods.found()[method].build(shaped(tmp_path), KINDS[method][1])


def test_bottlenecks_of_a_bert_end_its_sub_layers_and_begin_none(tmp_path: Path) -> None:
    from benchmarks.architectures import config

    config("bert-decoder", 300).save_pretrained(tmp_path)
    with torch.device("meta"):
        model = methods.found()["bottleneck"].build(shaped(tmp_path), {"width": 4, "targets": []})
    places = {
        name.partition(".bottleneck_")[0].partition("layer.")[2]
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }
    assert places == {f"{block}.{end}" for block in (0, 1) for end in ("attention.output.dense", "output.dense")}


def test_no_adapter_is_put_where_a_kernel_reads_past_it(tmp_path: Path) -> None:
    from benchmarks.architectures import config

    config("mamba", 300).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"targets: out_proj; the kernels of mamba read it past an adapter; .*in_proj"):
        methods.found()["bottleneck"].build(shaped(tmp_path), {"width": 4, "targets": ["out_proj"]})


def test_targets_are_called_as_models_call_their_layers_and_each_once() -> None:
    assert Lora.model_validate({"method": "lora", "dataset": "d", "targets": ["Wqkv"]}).targets == ("Wqkv",)
    for targets, why in ((["q_proj", "q_proj"], "q_proj stands there twice"), (["q proj"], "match pattern")):
        with pytest.raises(ValidationError, match=why):
            Lora.model_validate({"method": "lora", "dataset": "d", "targets": targets})


def test_options_that_came_later_leave_keys_as_they_were() -> None:
    arm = Lora(method="lora", dataset="values_targeted")
    assert methods.options(arm) == {"rank": 8, "alpha": 16, "dropout": 0.0}
    assert "dora" not in arm.model_dump(mode="json")
    changed = Lora(method="lora", dataset="values_targeted", dora=True, targets=("q_proj",))
    assert methods.options(changed) == {"rank": 8, "alpha": 16, "dropout": 0.0, "dora": True, "targets": ("q_proj",)}
