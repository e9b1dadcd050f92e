"""How well a model predicts held-out prose: nats a token, text by text.

Knows which tokens are scored, with which context, and what makes a text unfit. Leaves reading files and intervals to others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_registry.tokenization import Ids, Tokenization
from tasks.contract import Metric
from tasks.datasets.paragraphs import Paragraph
from tasks.levels import PromptRow

if TYPE_CHECKING:
    import torch

WINDOW = 1024  # tokens at most in one pass: the logits of a vocabulary of 152,000 then take 0.6 GiB in fp32
UNKNOWN = 0.1  # share of unknown tokens from which a text is not in the model's vocabulary


@dataclass(frozen=True)
class Scored:
    """Sum of −ln p over the `tokens` scored ones of a paragraph."""

    id: str
    tokens: int
    nats: float

    @property
    def nats_per_token(self) -> float:
        return self.nats / self.tokens


def score(model: Any, words: Tokenization, paragraph: Paragraph) -> Scored:
    """−Σ ln p(token | tokens before it) over a paragraph, by teacher forcing; logits in fp32, the sum in double precision.

    The text stands behind what the tokenizer puts before one. Scored are the tokens of the text: none that was put there, none of the
    paragraph's context, and not the very first token, before which there is nothing. A text that fits the
    window (the model's context, 1,024 tokens at most) is one pass, each token with all that stands before it. A longer one is read in
    windows that advance by half a window; each token is scored once, in the first window that holds it, so with half a window of
    context or more. One text a pass and no padding: no number depends on other texts.

    Raises:
        ValueError: no token to score, too many that the tokenizer does not know, or a result that is not finite.
    """
    ids, places = _tokens(words, paragraph)
    values = token_nats(model, ids, min(WINDOW, words.context))
    nats = math.fsum(values[place - 1] for place in places)
    if not math.isfinite(nats):
        raise ValueError(f"paragraph {paragraph.id}: {nats} nats; the model's logits are not finite there")
    return Scored(paragraph.id, len(places), nats)


def token_nats(model: Any, ids: Sequence[int], window: int) -> list[float]:
    """−ln p of every token but the first, in order."""
    import torch

    whole: torch.Tensor = torch.tensor([list(ids)], device=model.device)
    values: list[float] = []
    with torch.inference_mode():
        for begin, end, first in windows(len(ids), window):
            logits = model(input_ids=whole[:, begin:end]).logits[0, first - 1 - begin : end - 1 - begin].float()
            aimed = whole[0, first:end]
            values += torch.nn.functional.cross_entropy(logits, aimed, reduction="none").tolist()
    return values


def windows(length: int, window: int) -> Iterator[tuple[int, int, int]]:
    """(begin, end, first token scored) of each pass over `length` tokens; every token but the first is scored exactly once."""
    begin, first = 0, 1
    while first < length:
        end = min(begin + window, length)
        yield begin, end, first
        begin, first = begin + window // 2, end


def prompt_rows(scored: Sequence[Scored], group: str = "prose", suffix: str = "") -> list[PromptRow]:
    return [PromptRow(one.id, group, f"nats_per_token{suffix}", "score", one.nats_per_token, n=1) for one in scored]


def perplexity(scored: Sequence[Scored], suffix: str = "") -> Metric:
    """exp(Σ nats / Σ tokens) over all paragraphs: at least 1, comparable only between models of one tokenizer.

    It weighs tokens equally where the mean of nats_per_token weighs paragraphs equally. Without interval; n counts paragraphs.
    """
    return Metric(
        f"perplexity{suffix}", math.exp(math.fsum(one.nats for one in scored) / sum(one.tokens for one in scored)), n=len(scored)
    )


def _tokens(words: Tokenization, paragraph: Paragraph) -> tuple[Ids, range]:
    """The ids that the model reads, and the places of those that are scored."""
    known, own = words.pair(paragraph.context, f" {paragraph.text}" if paragraph.context else paragraph.text)
    ids = (*known, *own)
    places = range(max(len(known), 1), len(ids))
    if not places:
        raise ValueError(f"paragraph {paragraph.id}: no token to score; a text of two tokens or more is required")
    unknown = sum(ids[place] == words.tokenizer.unk_token_id for place in places)
    if unknown > UNKNOWN * len(places):
        raise ValueError(
            f"paragraph {paragraph.id}: {unknown} of {len(places)} tokens are unknown to the tokenizer; a text in the model's own "
            f"vocabulary is required (at most {UNKNOWN:.0%} unknown)"
        )
    return ids, places
