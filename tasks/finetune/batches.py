"""What the model reads at each step: samples as tokens with loss weights, and the order they come in.

Everything is settled before training: step k's batch is a function of the samples, the seed and k, so a run taken up again at
step k reads what it would have read. Knows nothing of models or of the Trainer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from model_registry.tokenization import Tokenization, Turn
from tasks.datasets.plain_texts import PlainText
from tasks.datasets.rows import Row


@dataclass(frozen=True)
class Sample:
    """A row as tokens. `weights[t]` is what the loss of predicting token t counts; nothing predicts the first."""

    tokens: tuple[int, ...]
    weights: tuple[float, ...]


def encode(row: Row, words: Tokenization, turn: Turn, prompt_weight: float) -> Sample:
    """The prompt in its template, the completion, and the end token. Raises ValueError, as `Tokenization.sample` does."""
    try:
        asked, answered = words.sample(turn, row.prompt, row.completion)
    except ValueError as error:
        raise ValueError(f"sample {row.id}: {error}") from None
    return Sample((*asked, *answered), (0.0, *[prompt_weight] * (len(asked) - 1), *[1.0] * len(answered)))


def encode_text(text: PlainText, words: Tokenization) -> Sample:
    """A text as it is, and the end token; its context weighs nothing. Raises ValueError: it is longer than the model's context."""
    known, own = words.pair(text.context, f" {text.text}" if text.context else text.text)
    tokens = (*known, *own, words.end)
    if len(tokens) > words.context:
        raise ValueError(f"text {text.id}: {len(tokens)} tokens; at most the model's context of {words.context} are accepted")
    unread = max(len(known), 1)  # nothing predicts the first token
    return Sample(tokens, (*[0.0] * unread, *[1.0] * (len(tokens) - unread)))


def order(count: int, batch: int, steps: int, seed: int) -> list[list[int]]:
    """The samples' places for each step: every pass over the data in an order of its own, the last batch of a pass smaller."""
    generator = torch.Generator().manual_seed(seed)
    batches: list[list[int]] = []
    while len(batches) < steps:
        shuffled = torch.randperm(count, generator=generator).tolist()
        batches += [shuffled[start : start + batch] for start in range(0, count, batch)]
    return batches[:steps]


def even(tokens: int) -> int:
    """A length as one of few, by at most an eighth more: from 64 tokens on, eight to a doubling. What a product of each new shape needs is made
    once and kept (oneDNN): over 6 steps of 4 rows the peak grew from 1.7 to 2.3 GiB at 135M in bf16, and over 40 to 3.9."""
    step = 1 << max(0, (tokens - 1).bit_length() - 4) if tokens > 64 else 1
    return -(-tokens // step) * step


class Batches(torch.utils.data.Dataset[dict[str, Any]]):
    """One item a step: the step's samples, the longest first, cut into pieces that fit into memory, each padded on the right to its longest, or a
    little more (`even`); and what a regulariser reads beside them (`further`), cut by itself.

    `part`: which of how many ranks reads them. The longest sample goes to the first, the next to the second, and so on; all make equally many
    passes, since each takes part in every one, and who has read its samples reads a row that counts nothing. A step's weight is that of all.

    Right padding needs no attention mask in a causal model: no token looks ahead at it, and its own loss weighs nothing.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        batches: Sequence[Sequence[int]],
        micro_batch: int,
        filler: int,
        further: Callable[[int], list[dict[str, torch.Tensor]]] = lambda step: [],
        micro_tokens: int | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self.samples, self.batches, self.filler, self.further = samples, batches, filler, further
        self.micro_batch, self.micro_tokens, self.part = micro_batch, micro_tokens, part
        self._longest = max((len(sample.tokens) for sample in samples), default=0)  # which the model can read

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, step: int) -> dict[str, Any]:
        places = self.batches[step]
        chosen = [self.samples[place] for place in places]
        return {
            "pieces": [self._pad(piece) for piece in self._own(chosen)],
            "weight": sum(sum(sample.weights) for sample in chosen),
            "further": self.further(step),
        }

    def _own(self, chosen: Sequence[Sample]) -> list[Sequence[Sample]]:
        """The pieces of this rank."""
        own, ranks = self.part
        falling = sorted(chosen, key=lambda sample: -len(sample.tokens))
        pieces = [list(self._pieces(falling[rank::ranks])) for rank in range(ranks)]
        nothing = Sample((self.filler,) * 2, (0.0,) * 2)
        return pieces[own] + [[nothing]] * (max(map(len, pieces)) - len(pieces[own]))

    def _pieces(self, left: Sequence[Sample]) -> Iterator[Sequence[Sample]]:
        """Ones of about one length stand together, so that little is padded."""
        while left:
            fitting = self.micro_batch if self.micro_tokens is None else self.micro_tokens // len(left[0].tokens)
            size = max(1, min(self.micro_batch, fitting))
            yield left[:size]
            left = left[size:]

    def _pad(self, piece: Sequence[Sample]) -> dict[str, torch.Tensor]:
        width = min(even(max(len(sample.tokens) for sample in piece)), self._longest)
        tokens = torch.full((len(piece), width), self.filler)
        weights = torch.zeros((len(piece), width))
        for i, sample in enumerate(piece):
            tokens[i, : len(sample.tokens)] = torch.tensor(sample.tokens)
            weights[i, : len(sample.weights)] = torch.tensor(sample.weights)
        return {"tokens": tokens, "weights": weights}
