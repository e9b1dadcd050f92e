"""Pairs that differ in one value of a sensitive attribute, as tokens: which are read at each step, and where the two are held together.

Settled before training, as the batches are: step k's pairs are a function of the sequences, the seed and k. Knows nothing of models.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from model_registry.tokenization import Tokenization, Turn
from tasks.datasets.plain_texts import PlainText
from tasks.datasets.rows import Row
from tasks.finetune.attributes import Attributes
from tasks.finetune.batches import Sample, encode, encode_text


@dataclass(frozen=True)
class Read:
    """Something that a model is tuned on: what it is called, its texts, and how such texts become tokens."""

    name: str
    texts: tuple[str, ...]
    encode: Callable[[tuple[str, ...]], Sample]


def of_row(row: Row, words: Tokenization, turn: Turn, prompt_weight: float) -> Read:
    def encoded(texts: tuple[str, ...]) -> Sample:
        return encode(replace(row, prompt=texts[0], completion=texts[1]), words, turn, prompt_weight)

    return Read(f"sample {row.id}", (row.prompt, row.completion), encoded)


def of_text(text: PlainText, words: Tokenization) -> Read:
    def encoded(texts: tuple[str, ...]) -> Sample:
        return encode_text(replace(text, context=texts[0], text=texts[1]), words)

    return Read(f"text {text.id}", (text.context, text.text), encoded)


@dataclass(frozen=True)
class Pair:
    """A sequence, and the same with another value; both end in the `shared` tokens that follow the last place where they differ."""

    tokens: tuple[int, ...]
    other: tuple[int, ...]
    shared: int


def pair(read: Read, attributes: Attributes, draw: random.Random) -> Pair | None:
    """A sequence beside one with another value, both drawn; None where no value stands in it.

    Raises:
        ValueError: the model has the same tokens for both values, or the other sequence cannot be read.
    """
    exchanged = attributes.exchanged(read.texts, draw)
    if exchanged is None:
        return None
    value, other, texts = exchanged
    try:
        own, instead = (read.encode(one).tokens for one in (read.texts, texts))
    except ValueError as error:
        raise ValueError(f"{read.name} with {other} for {value}: {error}") from None
    if own == instead:
        raise ValueError(
            f"{read.name}: {value} and {other} are the same tokens to this model; values that it can tell apart are required"
        )
    most = min(len(own), len(instead)) - 1  # nothing predicts the first token
    shared = next((count for count in range(most) if own[-1 - count] != instead[-1 - count]), most)
    return Pair(own, instead, shared)


def settle(reads: Sequence[Read], batches: Sequence[Sequence[int]], attributes: Attributes, seed: int) -> list[list[Pair]]:
    """The pairs of each step: of every sequence in its batch in which a value stands, with a value drawn anew each time it is read.

    Raises:
        ValueError: as `pair` does; or no sequence holds a value.
    """
    found = [
        [held for place in batch if (held := pair(reads[place], attributes, random.Random(f"{seed} {step} {place}"))) is not None]
        for step, batch in enumerate(batches)
    ]
    if not any(found):
        raise ValueError("no sample and no text that is read holds a sensitive token; one that does is required")
    return found


def cut(pairs: Sequence[Pair], micro_batch: int, filler: int) -> list[dict[str, torch.Tensor]]:
    """A step's pairs in pieces of at most `micro_batch` rows, and one pair at least.

    tokens: [2 × pairs, width], the sequences above their counterfactuals, padded on the right. own, other: [places], where in the flattened
    rows stand the tokens from which each shared token is predicted. shares: [places], what each counts: a pair's places alike, and the
    step's pairs alike, so that the shares of a step's pieces add up to 1 however it is cut.
    """
    at_once = max(1, micro_batch // 2)
    pieces = [pairs[start : start + at_once] for start in range(0, len(pairs), at_once)]
    return [_padded(piece, len(pairs), filler) for piece in pieces]


def _padded(piece: Sequence[Pair], of: int, filler: int) -> dict[str, torch.Tensor]:
    rows = [one.tokens for one in piece] + [one.other for one in piece]
    width = max(map(len, rows))
    tokens = torch.full((len(rows), width), filler)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = torch.tensor(row)
    places: list[list[int]] = [[], []]
    shares: list[float] = []
    for i, one in enumerate(piece):
        for side, row in enumerate((one.tokens, one.other)):
            first = (side * len(piece) + i) * width + len(row) - 1
            places[side] += range(first - one.shared, first)
        shares += [1 / (one.shared * of)] * one.shared
    return {
        "tokens": tokens,
        "own": torch.tensor(places[0]),
        "other": torch.tensor(places[1]),
        "shares": torch.tensor(shares),
    }
