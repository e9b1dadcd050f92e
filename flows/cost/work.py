"""The arithmetic of work: how many floating-point operations and bytes a step of each kind takes, and how long that is on a device.

A step is an optimiser step, a decoding step or one forward pass. Its time is that of a roofline (Williams et al. 2009):

    seconds = START_S + steps × max(overhead, FLOP ÷ (EFFICIENCY × peak), bytes ÷ (EFFICIENCY × bandwidth))

On a processor, which does both, the overhead is added to the larger of the other two: a GPU computes while its next step is made ready.

FLOP of a token: 2 a parameter forward; in tuning 4 more backward, or 2 where the base stays as it is (Kaplan et al. 2020, arXiv 2001.08361; the
attention's own products and an adapter's parameters are neglected). Bytes are those that move between the memory and what computes: the weights
once a pass, in decoding the keys and values of the tokens before too, in tuning what the optimiser reads and writes. Activations are taken to stay
in caches. The overhead is of a model so small that nothing else counts, and grows with its layers.

Knows numbers alone: what a stage asks for is told by `demand`, what a device has by `devices`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from flows.cost.devices import Device

WORD_TOKENS = 4 / 3  # English in a byte-level BPE of 50,000: about three words in four tokens
NUMBER = {"fp32": 4, "bf16": 2}  # bytes of a number

START_S = 0.4  # a stage that finds its process forked and its model in the page cache (calibration ladder: 0.3 to 0.5)
# of a model that is all overhead, a layer and step: calibration-30k of two layers, batches of 8 (tuning, 10 ms a step) and of 256 (decoding, 3 ms)
TUNING_LAYER_S, PASS_LAYER_S = 0.005, 0.0015
# SmolLM2-135M, fp32, two threads: a step of LoRA 106 GFLOP/s, a decoding step of 64 rows 106, of the 240 to 300 that products of matrices reach
EFFICIENCY = 0.4

# Bytes a parameter that tuning moves beside the weights' two passes, all in fp32: a piece's gradient is added to what is there (read and
# written); AdamW reads weight, gradient and two averages, and writes weight and averages.
GRADIENT_BYTES, OPTIMISER_BYTES = 8, 28
ASPECT = 100  # width ÷ layers where no configuration is at hand: OPT has 64 (125m) to 144 (66b)
VOCABULARY = 50_000


@dataclass(frozen=True)
class Shape:
    """Of a decoder."""

    layers: int
    width: int
    heads: int
    vocabulary: int

    @classmethod
    def guessed(cls, params: int) -> Shape:
        """Of so many parameters, by 12 · layers · width² (Kaplan et al. 2020), heads of 64 and what is common."""
        width = (params * ASPECT / 12) ** (1 / 3)
        return cls(max(1, round(width / ASPECT)), round(width), max(1, round(width / 64)), VOCABULARY)

    def bytes_a_token(self, tokens: float) -> float:
        """Of activations in fp32, in a row of so many tokens (Korthikanti et al. 2022, arXiv 2205.05198; logits and their gradient; the fused
        attention holds less than the term of heads and tokens)."""
        return 2 * self.layers * (34 * self.width + 5 * self.heads * tokens) + 2 * 4 * self.vocabulary

    def cached(self, number: int) -> int:
        """Bytes of a token's keys and values; at most, of a model whose heads share some."""
        return 2 * self.layers * self.width * number


@dataclass(frozen=True)
class Work:
    """steps, and of each the floating-point operations, the bytes moved, and the seconds that it takes at least.

    relative: seconds mean something beside those of other work of the same kind alone.
    """

    steps: float
    flop: float = 0.0
    moved: float = 0.0
    overhead: float = 0.0
    relative: bool = False

    def parts(self, device: Device, precision: str) -> tuple[float, float]:
        """Seconds of overhead, with the start, and of computing; the smaller of a step's is none on a device that does both at once."""
        flops, bandwidth = EFFICIENCY * device.flops[precision], EFFICIENCY * device.bandwidth
        overhead, busy = self.overhead, max(self.flop / flops, self.moved / bandwidth)
        if device.kind == "cuda":
            overhead, busy = (overhead, 0.0) if overhead >= busy else (0.0, busy)
        return START_S + self.steps * overhead, self.steps * busy

    def seconds(self, device: Device, precision: str) -> float:
        return sum(self.parts(device, precision))


def tuning(
    params: int, layers: int, steps: float, tokens: float, *, pieces: float, whole: bool, number: int = 4, reference: bool = False
) -> Work:
    """Optimiser steps of so many tokens.

    pieces: forward and backward passes of a step. whole: all weights are tuned, else an adapter is. reference: an untuned model reads the same
    tokens too.
    """
    flop = ((6 if whole else 4) + (2 if reference else 0)) * params * tokens
    passes = pieces * (2 + reference) * number * params
    moved = passes + (pieces * GRADIENT_BYTES + OPTIMISER_BYTES) * params if whole else passes
    return Work(steps, flop, moved, TUNING_LAYER_S * layers)


def decoding(
    params: int, shape: Shape, *, rows: int, together: int, new: int, asked: float, read: float, number: int = 4
) -> Work:
    """Completions of `new` tokens, at most, as if none ended early, `together` of them at once.

    asked: tokens of a prompt, on average. read: of all prompts; each is read once.
    """
    steps = math.ceil(rows / together) * new
    held = together * (asked + new / 2) * shape.cached(number)
    return Work(steps, 2 * params * (together + read / steps), params * number + held, PASS_LAYER_S * shape.layers)


def passes(params: int, layers: int, *, passes: float, tokens: float, number: int = 4, least: float = 0.0) -> Work:
    """Forward passes over `tokens` in all; `least`: seconds of each beside the model."""
    return Work(passes, 2 * params * tokens / passes, params * number, PASS_LAYER_S * layers + least)


def texts(count: int) -> Work:
    """What is done to so many texts without a model: how long one takes has to be measured."""
    return Work(count, overhead=TEXT_S, relative=True)


TEXT_S = 1e-4  # any small number: seconds of reading texts are relative
