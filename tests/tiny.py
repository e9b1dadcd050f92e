"""Tiny models with random weights, one of each architecture that the ladders use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ARCHITECTURES = ("gpt2", "opt", "opt-350m", "gpt_neo", "gpt_neox", "llama", "qwen3")
EOS = "<|endoftext|>"
CORPUS = [
    "Question: Who should decide what beauty is? Answer: Beauty is subjective and no one should decide it for another person.",
    "She was very kind and he was very loud. The people were friendly, strange, clever or calm.",
    "Violence is wrong; please call the authorities and ask for help when someone threatens you.",
]


def config(architecture: str, vocabulary: int, context: int, dropout: float, **options: Any) -> Any:
    import transformers as t

    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "vocab_size": vocabulary}
    wide = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": context, **options}
    match architecture:
        case "gpt2":
            drop = {"resid_pdrop": dropout, "embd_pdrop": dropout, "attn_pdrop": dropout}
            return t.GPT2Config(**{"n_positions": context, "n_embd": 32, "n_layer": 2, "n_head": 4, **drop, **ends, **options})
        case "opt":
            return t.OPTConfig(ffn_dim=64, word_embed_proj_dim=32, dropout=dropout, **wide, **ends)
        case "opt-350m":  # the one size with post-layer norms and a narrower embedding
            return t.OPTConfig(
                ffn_dim=64,
                word_embed_proj_dim=16,
                do_layer_norm_before=False,
                dropout=dropout,
                **wide,
                **ends,
            )
        case "gpt_neo":
            return t.GPTNeoConfig(
                hidden_size=32,
                num_layers=2,
                num_heads=4,
                max_position_embeddings=context,
                window_size=8,
                attention_types=[[["global", "local"], 1]],
                **ends,
            )
        case "gpt_neox":
            return t.GPTNeoXConfig(**{"intermediate_size": 64, "hidden_dropout": dropout, **wide, **ends})
        case "llama":
            return t.LlamaConfig(
                **{"intermediate_size": 64, "num_key_value_heads": 2, "tie_word_embeddings": True, **wide, **ends}
            )
        case "qwen3":
            return t.Qwen3Config(intermediate_size=64, num_key_value_heads=2, head_dim=8, **wide, **ends)
    raise ValueError(architecture)


def tokenizer() -> Any:
    """A byte-level BPE of some 300 tokens; <|endoftext|> is id 0."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=[EOS], initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=EOS, bos_token=EOS)


def words(tokenizer: Any, context: int = 128) -> Any:
    """A tokenizer as a model of so many tokens and just as many rows of embedding has it."""
    from model_registry.architecture import Architecture
    from model_registry.tokenization import Tokenization

    return Tokenization(tokenizer, Architecture("tiny", context, len(tokenizer)))


def model(
    folder: Path, architecture: str = "gpt2", context: int = 128, seed: int = 0, dropout: float = 0.0, **options: Any
) -> Path:
    """Save a model and its tokenizer into `folder`; options are further fields of the configuration."""
    import torch
    from transformers import AutoModelForCausalLM

    words = tokenizer()
    torch.manual_seed(seed)
    built = AutoModelForCausalLM.from_config(config(architecture, len(words), context, dropout, **options))
    with torch.no_grad():
        for weight in built.parameters():
            weight.add_(0.1 * torch.randn_like(weight))  # far enough from the initial state for texts to differ by prompt
    built.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def prepared(folder: Path, **options: Any) -> Path:
    """A prepared model as the prepare stage commits it: the weights under `model/`."""
    model(folder / "model", **options)
    return folder


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
