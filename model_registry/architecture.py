"""What the configuration of a language model tells: how many tokens it reads, how many it knows, and whether it writes from left to right.

Each family keeps these in a place of its own. `docs/architectures.md` lists what was tuned, sampled and reloaded.
"""

from __future__ import annotations

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
WITHOUT_LIMIT = ("bloom", "mamba", "mamba2", "falcon_mamba", "recurrent_gemma", "xlstm")


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
    if not _carries(config):
        return f"{config.model_type} hands nothing from one step of sampling to the next; a model with a cache is required"
    if getattr(config, "is_encoder_decoder", False):
        return f"{config.model_type} has an encoder; a model of a decoder alone is required"
    if getattr(config, "is_decoder", None) is False and config.model_type in ENCODERS:
        return (
            f"{config.model_type} reads both ways unless is_decoder is true; a model that writes from left to right is required"
        )
    return None


def _carries(config: Any) -> bool:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    return not set(CARRIED).isdisjoint(inspect.signature(MODEL_FOR_CAUSAL_LM_MAPPING[type(config)].forward).parameters)


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
