"""The calibration ladder's tokenizer: one token a word, its leading space included.

Knows how text becomes tokens and back, without loss for any text of the grammar. Words that the grammar lacks become the
unknown token: these models were never meant to read them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from model_registry.calibration.grammar import Grammar

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END, PAD, UNKNOWN = "<|endoftext|>", "<|pad|>", "<|unk|>"
# A word keeps the space before it, so tokens simply concatenate to the text, and splitting a text at a space (a prompt and its
# completion) splits its tokens at the same place.
PIECE = r" ?[A-Za-z]+|\n|[^\sA-Za-z]| "


def pieces(grammar: Grammar) -> list[str]:
    """The vocabulary without its special tokens: every piece of every text that the grammar can say, sorted."""
    return sorted({piece for text in grammar.texts() for piece in re.findall(PIECE, text)})


def build_tokenizer(grammar: Grammar, context: int) -> PreTrainedTokenizerFast:
    """A word-level tokenizer over the grammar's vocabulary; adds no special token by itself.

    Padding has a token of its own, so that hiding padding from a loss does not hide the end of a text with it.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {piece: i for i, piece in enumerate([END, PAD, UNKNOWN, *pieces(grammar)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECE), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        padding_side="right",
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )
