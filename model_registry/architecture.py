"""What the configuration of a language model tells: how many tokens it reads, how many it knows, and whether it writes from left to right.

Each family keeps these in a place of its own. `docs/architectures.md` lists what was tuned, sampled and reloaded.
"""

from __future__ import annotations

import ast
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_registry import gguf_file

# What a step of sampling hands to the next: keys and values, or the state of a state-space model.
CARRIED = ("past_key_values", "cache_params")
UNLIMITED = sys.maxsize
CONTEXTS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx", "context_length")
# Positions are told by a bias that goes on for ever, or by a state that is carried along.
WITHOUT_LIMIT = ("bloom", "mamba", "mamba2", "falcon_mamba", "xlstm")
# Takes a cache, and hands none out (transformers 5.23): without one a step reads its token as if it were the first.
KEEPS_ITS_CACHE = ("recurrent_gemma",)


@dataclass(frozen=True)
class Architecture:
    """`context` in tokens, UNLIMITED where the architecture sets no limit; `rows` of the embedding."""

    kind: str
    context: int
    rows: int


def architecture(place: Path) -> Architecture:
    """What a model folder's config.json, or the header of a GGUF file, tells; without reading weights.

    Raises:
        ValueError: it is no model of transformers that writes from left to right, or does not tell one of these.
    """
    from transformers import AutoConfig

    if gguf_file.is_one(place):
        header = gguf_file.read_header(place)
        return Architecture(header.architecture, header.context, header.rows)
    config = AutoConfig.from_pretrained(str(place), local_files_only=True, trust_remote_code=False)
    if refusal := _refusal(config):
        raise ValueError(f"config.json: {refusal}")
    text = config.get_text_config()
    rows = getattr(text, "vocab_size", None)
    if not isinstance(rows, int):
        raise ValueError(f"config.json: {config.model_type} tells no vocab_size; one is required")
    return Architecture(config.model_type, _context(config.model_type, text), rows)


def linear_layers(model: Any) -> frozenset[str]:
    """The last names of a model's linear layers, without the output layer: what an adapter may be put on."""
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    output = model.get_output_embeddings()
    return frozenset(
        name.rpartition(".")[2]
        for name, layer in model.named_modules()
        if isinstance(layer, Linear | Conv1D) and layer is not output
    )


def shaped(place: Path) -> Any:
    """The model of a folder or GGUF file with its shapes and without numbers (torch's device `meta`): what a method of tuning is tried on.

    In bf16, the one precision in which torch 2.13 multiplies experts there. Raises ValueError where its configuration builds no model.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if gguf_file.is_one(place):
        config = gguf_file.load_config(place)
    else:
        config = AutoConfig.from_pretrained(str(place), local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            config, dtype=torch.bfloat16, attn_implementation="eager", trust_remote_code=False
        )
    return model.eval()


def _context(kind: str, text: Any) -> int:
    found = next((value for name in CONTEXTS if isinstance(value := getattr(text, name, None), int) and value > 0), None)
    if found is not None:
        return found - (text.pad_token_id + 1 if kind in PADDED else 0)
    if kind in WITHOUT_LIMIT:
        return UNLIMITED
    raise ValueError(f"config.json: {kind} does not tell how many tokens it reads; one of {', '.join(CONTEXTS)} is required")


def _refusal(config: Any) -> str | None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

    if config.model_type not in CAUSAL:
        return f"{config.model_type} is no language model that writes from left to right; such a one is required"
    if config.model_type in KEEPS_ITS_CACHE or not _carries(config):
        return f"{config.model_type} hands nothing from one step of sampling to the next; a model with a cache is required"
    if getattr(config, "is_encoder_decoder", False):
        return f"{config.model_type} has an encoder; a model of a decoder alone is required"
    if getattr(config, "is_decoder", None) is False and config.model_type in ENCODERS:
        return (
            f"{config.model_type} reads both ways unless is_decoder is true; a model that writes from left to right is required"
        )
    return None


def _carries(config: Any) -> bool:
    """Read in the source of the family's model, which takes 10 ms: imported, it is 1,500 modules and 0.5 s and more of every plan. Two of
    the 189 families of transformers 5.23 are tuned as another's model, which is imported.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    name, source = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[config.model_type], inspect.getfile(type(config))
    parameters = _parameters(Path(source.replace("configuration_", "modeling_")), name)
    if parameters is None:
        parameters = set(inspect.signature(MODEL_FOR_CAUSAL_LM_MAPPING[type(config)].forward).parameters)
    return not parameters.isdisjoint(CARRIED)


def _parameters(source: Path, name: str) -> set[str] | None:
    """What a class's own `forward` takes, by its source; None where it has none of its own there."""
    classes = ast.parse(source.read_text(encoding="utf-8")).body if source.is_file() else []
    held = [step for one in classes if isinstance(one, ast.ClassDef) and one.name == name for step in one.body]
    found = [step.args for step in held if isinstance(step, ast.FunctionDef) and step.name == "forward"]
    return {one.arg for one in (*found[0].args, *found[0].kwonlyargs)} if found else None


# Their positions are numbered from the padding token's id on: RoBERTa's 514 are 512.
PADDED = ("camembert", "data2vec-text", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod")
# Encoders that transformers also offers as language models.
ENCODERS = (
    *(
        "bert",
        "bert-generation",
        "big_bird",
        "camembert",
        "data2vec-text",
        "electra",
        "ernie",
        "megatron-bert",
        "rembert",
        "roberta",
    ),
    *("roberta-prelayernorm", "roc_bert", "roformer", "xlm-roberta", "xlm-roberta-xl", "xmod"),
)
