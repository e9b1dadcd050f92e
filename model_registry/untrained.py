"""A small model with random weights that reads bytes: for seeing every stage run, offline and in a minute. What it says means nothing."""

from __future__ import annotations

from pathlib import Path

END = "<|end|>"
CONTEXT = 4096  # tokens, here bytes: a question and an answer of 340 words have some 2,300
WIDTH, LAYERS, HEADS = 32, 2, 4


def write_untrained(folder: Path, seed: int = 0) -> None:
    """Write a Llama of some 40,000 parameters and its tokenizer, as `save_pretrained` does."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

    from model_registry.loading import quiet

    quiet()
    vocabulary = {END: 0} | {byte: at for at, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()), 1)}
    words = Tokenizer(models.BPE(vocabulary, merges=[]))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=words, bos_token=END, eos_token=END).save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
