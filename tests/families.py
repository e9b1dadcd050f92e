"""Small tokenizers that do to text what those of the families do: their pre-tokenizers, what they add, their control tokens."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from tests import tiny

CORPUS = [*tiny.CORPUS * 3, "Question: Why?\n\nNobody knows.\n\n\nAnswer: yes.", "Who?\n\n\n\nAll: a  b   c"]
# Llama 3's and Qwen's: a line feed goes with the punctuation before it, a word with the sign before it
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}"
    "<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
HEADERS = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
INSTRUCTED = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}{{ eos_token }}"
    "{% endif %}{% endfor %}"
)


def byte_level(
    pattern: str | None, begin: str | None, special: Sequence[str] = (), plain: Sequence[str] = (), chat: str | None = None
) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    split = [] if pattern is None else [pre_tokenizers.Split(Regex(pattern), "isolated")]
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [*split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)]
    )
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        CORPUS * 5, trainers.BpeTrainer(vocab_size=600, special_tokens=[tiny.EOS], initial_alphabet=alphabet, show_progress=False)
    )
    made.add_special_tokens(list(special))
    made.add_tokens(list(plain))
    made.post_processor = processors.ByteLevel(trim_offsets=True)
    if begin:
        made.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", special_tokens=[(begin, made.token_to_id(begin))]
        )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, bos_token=begin or tiny.EOS, eos_token=tiny.EOS)
    tokenizer.chat_template = chat
    return tokenizer


def sentencepiece(ends: bool = False) -> Any:
    """Llama 2's kind: a blank is written before every text, there is no pre-tokenizer, and unknown bytes are tokens."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    made.pre_tokenizer = pre_tokenizers.Split(Regex("▁|\n"), "merged_with_next")
    made.train_from_iterator(
        [text.replace("\n", " ") for text in CORPUS],
        trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False),
    )
    made.pre_tokenizer = None
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>" if ends else "<s> $A", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.chat_template = INSTRUCTED
    return tokenizer


def unigram() -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.Unigram())
    made.normalizer, made.pre_tokenizer, made.decoder = normalizers.NFKC(), pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = ["<unk>", "<s>", "</s>"]
    made.train_from_iterator(
        CORPUS * 5, trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


@cache
def tokenizer(family: str) -> Any:
    match family:
        case "gpt2":
            return byte_level(None, None)
        case "opt":
            return byte_level(None, tiny.EOS)
        case "llama2":
            return sentencepiece()
        case "llama2-ending":
            return sentencepiece(ends=True)
        case "llama3":
            special = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
            return byte_level(LLAMA3, "<|begin_of_text|>", special, chat=HEADERS)
        case "qwen3":
            return byte_level(LLAMA3, None, ("<|im_start|>", "<|im_end|>"), ("<think>", "</think>"), CHATML)
        case "unigram":
            return unigram()
    raise ValueError(family)


FAMILIES = ("gpt2", "opt", "llama2", "llama2-ending", "llama3", "qwen3", "unigram")
CHATTING = ("llama2", "llama3", "qwen3")
