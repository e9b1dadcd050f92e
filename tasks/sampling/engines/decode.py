"""Decoding at one fixed shape, so that a completion depends on its prompt and its stream and on nothing else.

The last bits of a forward pass depend on the shape of the batch and on where in the sequence a token sits, so both are fixed.
There is no padding: every row starts at slot 0 and token t sits at cache slot t, which is also its position, in every row. Slots
0 to m-1, with m the length of the suite's shortest prompt, are filled by one forward pass over [rows, m]; from there each step
feeds every row one token: the next of its prompt while there is one, then what was drawn. Every batch has the same number of
rows; spare ones are copies, and a finished row idles on, fed end tokens. So no attention mask is needed and any causal model
will do. Knows tensors only: nothing of suites, files or jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model_registry.architecture import CARRIED

# Candidates looked at first when a nucleus is cut out, which rarely is wider than this. On one core, sorting 64 × 50,257
# probabilities takes 0.27 s, and finding and sorting the likeliest 4,096 of each row 0.06 s.
HEAD = 4096


@dataclass(frozen=True)
class Row:
    """One completion to be drawn: its prompt's tokens and one number in [0, 1) for each token that may be generated."""

    prompt: tuple[int, ...]
    uniforms: NDArray[np.float64]


@dataclass(frozen=True)
class Drawn:
    """The generated tokens, without the end token, and whether one was drawn."""

    tokens: tuple[int, ...]
    stopped: bool


@torch.inference_mode()
def decode(
    model: Any,
    rows: Sequence[Row],
    *,
    shape: int,
    prefill: int,
    ends: frozenset[int],
    filler: int,
    temperature: float,
    top_p: float,
) -> list[Drawn]:
    """Draw one batch of completions.

    Args:
        model: a causal language model of transformers in evaluation mode, with or without an adapter on it.
        rows: at most `shape` of them.
        shape: rows in the batch.
        prefill: tokens in the first forward pass; at most the length of any row's prompt.
        ends: tokens that end a completion.
        filler: the token that a finished row is fed; nothing depends on which it is.
        temperature: 0 takes the likeliest token.
        top_p: share of the probability that is drawn from (Holtzman et al. 2020).
    """
    device = model.device
    padded = [*rows, *[rows[-1]] * (shape - len(rows))]
    lengths = [len(row.prompt) for row in padded]
    limits = [len(row.prompt) + len(row.uniforms) for row in padded]  # the slot after each row's last token
    slots = max(limits)
    # Both by slot: what a prompt puts there, and the number that decides what is drawn there.
    forced = torch.full((shape, slots), filler)
    numbers = torch.zeros((shape, slots), dtype=torch.float64)
    for i, row in enumerate(padded):
        forced[i, : lengths[i]] = torch.tensor(row.prompt)
        numbers[i, lengths[i] : limits[i]] = torch.from_numpy(row.uniforms)
    forced, numbers = forced.to(device), numbers.to(device)
    generated: list[list[int]] = [[] for _ in padded]
    stopped = [False] * shape
    done = [i >= len(rows) for i in range(shape)]

    feed, carried = forced[:, :prefill], dict[str, Any]()
    for slot in range(prefill, slots):
        out = model(input_ids=feed, use_cache=True, logits_to_keep=1, **carried)
        carried = {name: out[name] for name in CARRIED if name in out}
        following = forced[:, slot].clone()
        drawing = [i for i in range(shape) if slot >= lengths[i] and not done[i]]
        if drawing:
            drawn = draw(out.logits[:, -1], numbers[:, slot], temperature, top_p)
            following[drawing] = drawn[drawing]
            for i, token in zip(drawing, drawn[drawing].tolist(), strict=True):
                stopped[i] = token in ends
                if not stopped[i]:
                    generated[i].append(token)
                done[i] = stopped[i] or slot + 1 == limits[i]
            if all(done):
                break
        feed = following[:, None]
    return [Drawn(tuple(generated[i]), stopped[i]) for i in range(len(rows))]


def draw(logits: torch.Tensor, uniforms: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """One token a row, [rows, vocabulary] and [rows] to [rows], by the inverse of the cumulative distribution in float64.

    The nucleus is the smallest set of tokens, likeliest first and in order of their ids where equally likely, whose
    probabilities reach `top_p`.
    """
    # the largest of a row tells of NaN and +inf, and of a row of nothing but −inf; −inf beside others is a mask
    if not torch.isfinite(logits.amax(dim=-1)).all():
        raise ValueError(
            "the model's logits are not numbers, or infinite; finite weights and a wide enough precision are required"
        )
    if temperature == 0:
        return logits.argmax(dim=-1)
    probabilities = torch.softmax(logits.double() / temperature, dim=-1)
    if top_p >= 1:
        return _invert(probabilities, torch.full_like(uniforms, probabilities.shape[-1], dtype=torch.long), uniforms)
    if probabilities.shape[-1] <= HEAD:
        return _draw_sorted(probabilities, uniforms, top_p)
    # Only the likeliest HEAD tokens are sorted, where those strictly likelier than the last of them already reach top_p; the
    # strictness keeps ties at the edge, and the margin the order of summation, out of it: the outcome is that of sorting all.
    head, ids = probabilities.topk(HEAD, dim=-1)
    enough = (head * (head > head[:, -1:])).sum(dim=-1) >= top_p + 1e-9
    ids = ids.sort(dim=-1).values
    drawn = ids.gather(1, _draw_sorted(probabilities.gather(1, ids), uniforms, top_p)[:, None])[:, 0]
    rest = (~enough).nonzero()[:, 0]
    if len(rest):
        drawn[rest] = _draw_sorted(probabilities[rest], uniforms[rest], top_p)
    return drawn


def _draw_sorted(probabilities: torch.Tensor, uniforms: torch.Tensor, top_p: float) -> torch.Tensor:
    ordered, ids = probabilities.sort(dim=-1, descending=True, stable=True)
    below = (ordered.cumsum(dim=-1) < top_p).sum(dim=-1)
    size = (below + 1).clamp(max=ordered.shape[-1])  # rounding may keep even the whole sum below top_p
    return ids.gather(1, _invert(ordered, size, uniforms)[:, None])[:, 0]


def _invert(ordered: torch.Tensor, size: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """Per row, the first of the leading `size` entries whose cumulative share exceeds the number; [rows]."""
    cumulative = ordered.cumsum(dim=-1)
    total = cumulative.gather(1, (size - 1)[:, None])
    index = (cumulative <= uniforms[:, None] * total).sum(dim=-1)
    return torch.minimum(index, size - 1)
