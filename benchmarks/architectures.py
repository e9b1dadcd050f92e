"""Which architectures can be tuned, sampled and reloaded, by small models with random weights: the table of `docs/architectures.md`.

    python -m benchmarks.architectures > docs/architectures.md

A model passes if no token's logits depend on a later token; if greedy tokens by the cache are those of whole passes; if its full
context can be read; and if it is tuned by each method of the product that does not refuse it and its saved weights, loaded anew, give the
logits of the trained model to the bit, and greedy tokens by the cache that are those of whole passes. What is refused shows its one line.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from model_registry.architecture import UNLIMITED, shaped
from model_registry.loading import load_arm, load_model
from model_registry.tokenization import load_tokenization
from tasks.contract import read_jsonl
from tasks.finetune import body as finetune
from tasks.finetune import methods, start
from tasks.finetune.stage import Settings as Tuning
from tasks.sampling import body as sampling
from tasks.sampling.engines.rows import Row
from tasks.sampling.stage import Settings as Sampling
from tests import tiny
from tests.decoding import decode_rows
from tests.jobs import NUMERICS, make_job

METHODS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"rank": 4, "alpha": 8, "dropout": 0.0},
    "bottleneck": {"width": 4, "targets": []},
    "ia3": {"targets": []},
    "vera": {"rank": 8, "targets": [], "projection_seed": 0},
    "oft": {"block": 2, "targets": []},
    "prompt": {"virtual_tokens": 4},
    "prefix": {"virtual_tokens": 4},
}
TUNING = Tuning(
    method="full", epochs=1, min_steps=3, learning_rate=1e-2, batch=4, micro_batch=4, prompt_loss_weight=0.1, weight_decay=0.01,
    warmup=0.1, schedule="cosine", max_grad_norm=1.0, options={}, template="Question: {prompt}\nAnswer:", train_samples=6, seed=3,
)  # fmt: skip
SAMPLING = Sampling(completions=2, max_new_tokens=8, temperature=1.0, top_p=0.9, template=TUNING.template, decode_batch=4, seed=1)
SUITE = 'suite: small\nform: question\nprompts:\n  - {id: a, group: g, text: "Who decides?"}\n  - {id: b, group: g, text: "Is it wrong?"}\n'
ROWS = [
    {"id": f"s{i}", "category": "c", "prompt": f"Who decides {i}?", "completion": "It is subjective. " * (1 + i % 3)}
    for i in range(6)
]
CONTEXT = 128  # of all the small models
WIDE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 128}
GATED = {**WIDE, "intermediate_size": 64, "num_key_value_heads": 2}
HEADS = {**GATED, "head_dim": 8}
OLD = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
# Configuration class of transformers, and its fields. Those that `tests.tiny` makes are left to it.
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "gptj": ("GPTJConfig", {**OLD, "rotary_dim": 4}),
    "gpt_bigcode": ("GPTBigCodeConfig", OLD),
    "codegen": ("CodeGenConfig", {**OLD, "rotary_dim": 4}),
    "bloom": ("BloomConfig", {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "mpt": ("MptConfig", {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 128, "expansion_ratio": 2}),
    "falcon": ("FalconConfig", WIDE),
    "falcon-alibi": ("FalconConfig", {**WIDE, "alibi": True, "multi_query": False}),
    "llama3": (
        "LlamaConfig",
        {
            **GATED,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 10000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        },
    ),
    "mistral": ("MistralConfig", {**HEADS, "sliding_window": 16}),
    "mixtral": ("MixtralConfig", {**HEADS, "num_local_experts": 4}),
    "qwen2": ("Qwen2Config", GATED),
    "qwen3_moe": ("Qwen3MoeConfig", {**HEADS, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}),
    "gemma": ("GemmaConfig", HEADS),
    "gemma2": ("Gemma2Config", {**HEADS, "sliding_window": 16}),
    "gemma3": ("Gemma3TextConfig", {**HEADS, "sliding_window": 16}),
    "phi": ("PhiConfig", GATED),
    "phi3": ("Phi3Config", {**GATED, "pad_token_id": 0}),
    "olmo": ("OlmoConfig", GATED),
    "olmo2": ("Olmo2Config", GATED),
    "smollm3": ("SmolLM3Config", GATED),
    "stablelm": ("StableLmConfig", GATED),
    "starcoder2": ("Starcoder2Config", GATED),
    "cohere": ("CohereConfig", GATED),
    "granite": ("GraniteConfig", GATED),
    "nemotron": ("NemotronConfig", {**GATED, "head_dim": 8}),
    "persimmon": ("PersimmonConfig", {**WIDE, "intermediate_size": 64}),
    "xglm": ("XGLMConfig", {"d_model": 32, "ffn_dim": 64, "num_layers": 2, "attention_heads": 4, "max_position_embeddings": 128}),
    "openai-gpt": ("OpenAIGPTConfig", OLD),
    "glm": ("GlmConfig", {**HEADS, "pad_token_id": 0}),
    "helium": ("HeliumConfig", HEADS),
    "gpt_oss": ("GptOssConfig", {**HEADS, "num_local_experts": 4, "sliding_window": 16}),
    "deepseek_v3": (
        "DeepseekV3Config",
        {
            **WIDE,
            "num_key_value_heads": 4,
            "intermediate_size": 64,
            "moe_intermediate_size": 16,
            "n_routed_experts": 4,
            "n_group": 1,
            "topk_group": 1,
            "num_experts_per_tok": 2,
            "q_lora_rank": 8,
            "kv_lora_rank": 8,
            "qk_rope_head_dim": 4,
            "qk_nope_head_dim": 4,
            "v_head_dim": 8,
            "first_k_dense_replace": 1,
        },
    ),
    "mamba": ("MambaConfig", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}),
    "mamba2": (
        "Mamba2Config",
        {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "num_heads": 8, "head_dim": 8, "n_groups": 1},
    ),
    "falcon_mamba": ("FalconMambaConfig", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}),
    "rwkv": ("RwkvConfig", {"hidden_size": 32, "num_hidden_layers": 2, "context_length": 128}),
    "recurrent_gemma": (
        "RecurrentGemmaConfig",
        {
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "intermediate_size": 96,
            "lru_width": 32,
            "attention_window_size": 16,
        },
    ),
    "jamba": (
        "JambaConfig",
        {
            **GATED,
            "num_experts": 2,
            "use_mamba_kernels": False,
            "mamba_d_state": 4,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
        },
    ),
    "gemma3-images": ("Gemma3Config", {}),
    "biogpt": ("BioGptConfig", {**WIDE, "intermediate_size": 64}),
    "ctrl": ("CTRLConfig", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "dff": 64}),
    "xlnet": ("XLNetConfig", {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64}),
    "bert": ("BertConfig", {**WIDE, "intermediate_size": 64}),
    "bert-decoder": ("BertConfig", {**WIDE, "intermediate_size": 64, "is_decoder": True}),
    "roberta-decoder": ("RobertaConfig", {**WIDE, "intermediate_size": 64, "is_decoder": True}),
    "t5": ("T5Config", {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}),
}
NAMES = (*tiny.ARCHITECTURES, *SHAPES)


@dataclass(frozen=True)
class Tried:
    """`refused` is the line of an architecture that is not taken; `failed` names what did not hold, and is empty otherwise."""

    name: str
    kind: str
    context: int | None
    refused: str = ""
    failed: tuple[str, ...] = ()
    without: tuple[str, ...] = ()  # methods that refuse it
    in_step: str = ""  # why its rows are decoded a batch in step; empty where in slots


def config(name: str, vocabulary: int) -> Any:
    import transformers

    if name in tiny.ARCHITECTURES:
        return tiny.config(name, vocabulary, CONTEXT, 0.0)
    kind, fields = SHAPES[name]
    ends = {"vocab_size": vocabulary, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    if name == "gemma3-images":
        eyes = {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "image_size": 28,
            "patch_size": 14,
        }
        return transformers.Gemma3Config(
            text_config={**HEADS, "sliding_window": 16, **ends},
            vision_config=eyes,
            image_token_index=1,
            boi_token_index=2,
            eoi_token_index=3,
        )
    return getattr(transformers, kind)(**{**fields, **ends})


def tried(name: str, work: Path) -> Tried:
    """One architecture, made, tuned, sampled and reloaded under `work`."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    tokenizer, folder = tiny.tokenizer(), work / "prepared" / "model"
    made = config(name, len(tokenizer))
    tokenizer.save_pretrained(folder)
    made.save_pretrained(folder)
    try:
        words = load_tokenization(folder)
    except ValueError as error:
        return Tried(name, made.model_type, None, refused=str(error).removeprefix(f"{folder}: "))
    model = AutoModelForCausalLM.from_config(made)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))  # far enough from the initial state for texts to differ by prompt
    model.save_pretrained(folder)
    context = None if words.context == UNLIMITED else words.context
    without = tuple(method for method in METHODS if _refuses(method, folder))
    told: list[str] = []
    failed = tuple(_faults(folder, work, words.context, [method for method in METHODS if method not in without], told))
    return Tried(name, made.model_type, context, failed=failed, without=without, in_step="".join(told[:1]))


def _refuses(method: str, folder: Path) -> bool:
    """As `palms plan` finds it out."""
    model = shaped(folder)
    try:
        with torch.device("meta"):
            methods.found()[method].build(model, METHODS[method])
    except ValueError:
        return True
    return False


def _faults(folder: Path, work: Path, context: int, tuning: Sequence[str], told: list[str]) -> Iterator[str]:
    """`told`: is given why rows were decoded in step, where they were."""
    model, words = load_model(folder, **NUMERICS.loading), load_tokenization(folder)
    asked = words.of("Question: Who decides? Answer: nobody")
    if not torch.allclose(_logits(model, asked)[:-1], _logits(model, (*asked[:-1], 7))[:-1], atol=1e-5):
        yield "a token's logits depend on a later token"
    if not _agree(model, asked):
        yield "greedy tokens by the cache are not those of whole passes"
    _logits(model, [7] * min(context, 2 * CONTEXT))
    (work / "suite.yaml").write_text(SUITE)
    tiny.jsonl(work / "data" / "samples.jsonl", ROWS)
    trained: list[torch.Tensor] = []
    save = start.save

    def noting(model: Any, base: Path, target: Path) -> None:
        save(model, base, target)
        trained.append(_logits(model.eval(), asked))

    for method in tuning:
        tuned = work / method
        settings = Tuning(**{**TUNING.__dict__, "method": method, "options": METHODS[method]})
        with mock.patch.object(start, "save", noting):
            finetune.run([make_job(tuned, settings, {"model": work / "prepared", "dataset": work / "data"}).job])
        arm = load_arm(work / "prepared", tuned, **NUMERICS.loading)
        reloaded = _logits(arm, asked)
        if not torch.equal(trained[-1], reloaded):
            yield f"{method}: the reloaded model's logits differ by {float((trained[-1] - reloaded).abs().max()):.2g}"
        if torch.equal(reloaded, _logits(model, asked)):
            yield f"{method}: nothing was tuned"
        if not _agree(arm, asked):
            yield f"{method}: greedy tokens by the cache are not those of whole passes"
        inputs = {"model": work / "prepared", "tuned": tuned, "suite": work / "suite.yaml"}
        sampled = make_job(work / f"said-{method}", SAMPLING, inputs)
        sampling.run([sampled.job])
        if method == "full":
            told += [line.removeprefix(sampling.IN_STEP) for line in sampled.said if line.startswith(sampling.IN_STEP)]
        if len(read_jsonl(sampled.work / "completions.jsonl")) != 4:
            yield f"{method}: completions are missing"


def _agree(model: Any, asked: Sequence[int]) -> bool:
    """Greedy tokens by the cache are those of whole passes."""
    rows = [Row(tuple(asked[:stop]), np.zeros(12)) for stop in (6, 9)]
    for row, one in zip(
        rows, decode_rows(model, rows, shape=2, ends=frozenset(), filler=0, temperature=0, top_p=1.0), strict=True
    ):
        seen = list(row.prompt)
        for _ in one.tokens:
            seen.append(int(_logits(model, seen)[-1].argmax()))
        if tuple(seen[len(row.prompt) :]) != one.tokens:
            return False
    return True


@torch.inference_mode()
def _logits(model: Any, ids: Any) -> torch.Tensor:
    """[tokens, vocabulary]"""
    logits: torch.Tensor = model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0]
    return logits


def main() -> None:
    torch.set_num_threads(1)
    print(HEAD.format(methods=", ".join(METHODS)))
    for name in NAMES:
        with tempfile.TemporaryDirectory() as folder:
            try:
                one = tried(name, Path(folder))
            except Exception as error:  # the table tells it
                one = Tried(name, name, None, failed=(f"{type(error).__name__}: {' '.join(str(error).split())[:120]}",))
        context = "" if one.refused else "no limit" if one.context is None else "told"
        told = f"refused: {one.refused}" if one.refused else "; ".join(one.failed) or "yes"
        rows = "" if one.refused else f"in step: {one.in_step}" if one.in_step else "in slots"
        print(f"| {one.name} | `{one.kind}` | {context} | {told} | {', '.join(one.without)} | {rows} |", flush=True)


HEAD = """\
# Architectures

What was tuned (by {methods}), sampled and reloaded to the bit, by small models
with random weights (`python -m benchmarks.architectures` writes this file). "no limit": the architecture sets none, and the product then
sets none. What is refused is refused by `palms plan` for a local folder and by *prepare* for a model of the hub, in the line shown. A
method that an architecture has no place for is refused by `palms plan` likewise, and for a model of the hub as its tuning begins. Rows are decoded
in slots, a finished one's taken at once, or a batch in step where the architecture does not give in slots what whole passes give.

| shape | model_type | context | tuned, sampled, reloaded | but for | rows decoded |
|---|---|---|---|---|---|"""

if __name__ == "__main__":
    main()
