"""Decoding in step: every row of a batch at the same place of its sequence. Any causal model will do.

The last bits of a forward pass depend on the shape of the batch and on where in the sequence a token sits, so both are fixed.
There is no padding: every row starts at slot 0 and token t sits at cache slot t, which is also its position, in every row. Slots
0 to m-1, with m the length of the suite's shortest prompt, are filled by one forward pass over [rows, m]; from there each step
feeds every row one token: the next of its prompt while there is one, then what was drawn. Every batch has the same number of
rows; spare ones are copies, and a finished row idles on, fed end tokens. So no attention mask is needed and any causal model
will do. Knows tensors only: nothing of suites, files or jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from model_registry.architecture import CARRIED
from tasks.sampling.engines.draw import draw
from tasks.sampling.engines.rows import Drawn, How, Row, Work


def decode_all(model: Any, work: Work, how: How) -> None:
    """Draw what waits of one arm. Batches are always the same ones: one of which some rows wait is drawn as a whole."""
    waiting = set(work.waiting)
    for start in range(0, work.count, how.shape):
        batch = range(start, min(start + how.shape, work.count))
        if waiting.isdisjoint(batch):
            continue
        drawn = decode(model, [work.row(i) for i in batch], how)
        for i, one in zip(batch, drawn, strict=True):
            if i in waiting:
                work.done(i, one)


def answer(model: Any, row: Row, *, ends: frozenset[int], filler: int, temperature: float, top_p: float) -> Drawn:
    """One completion of one prompt, by itself."""
    length = len(row.prompt)
    how = How(1, length, length, len(row.uniforms), ends, filler, temperature, top_p)
    return decode(model, [row], how)[0]


@torch.inference_mode()
def decode(model: Any, rows: Sequence[Row], how: How) -> list[Drawn]:
    """Draw one batch of completions, of at most as many rows as its shape has.

    Args:
        model: a causal language model of transformers in evaluation mode, with or without an adapter on it.
    """
    shape = how.shape
    device = model.device
    padded = [*rows, *[rows[-1]] * (shape - len(rows))]
    lengths = [len(row.prompt) for row in padded]
    limits = [len(row.prompt) + len(row.uniforms) for row in padded]  # the slot after each row's last token
    slots = max(limits)
    # Both by slot: what a prompt puts there, and the number that decides what is drawn there.
    forced = torch.full((shape, slots), how.filler)
    numbers = torch.zeros((shape, slots), dtype=torch.float64)
    for i, row in enumerate(padded):
        forced[i, : lengths[i]] = torch.tensor(row.prompt)
        numbers[i, lengths[i] : limits[i]] = torch.from_numpy(row.uniforms)
    forced, numbers = forced.to(device), numbers.to(device)
    generated: list[list[int]] = [[] for _ in padded]
    stopped = [False] * shape
    done = [i >= len(rows) for i in range(shape)]

    feed, carried = forced[:, : how.shortest], dict[str, Any]()
    for slot in range(how.shortest, slots):
        out = model(input_ids=feed, use_cache=True, logits_to_keep=1, **carried)
        carried = {name: out[name] for name in CARRIED if name in out}
        following = forced[:, slot].clone()
        drawing = [i for i in range(shape) if slot >= lengths[i] and not done[i]]
        if drawing:
            drawn = draw(out.logits[:, -1], numbers[:, slot], how.temperature, how.top_p)
            following[drawing] = drawn[drawing]
            for i, token in zip(drawing, drawn[drawing].tolist(), strict=True):
                stopped[i] = token in how.ends
                if not stopped[i]:
                    generated[i].append(token)
                done[i] = stopped[i] or slot + 1 == limits[i]
            if all(done):
                break
        feed = following[:, None]
    return [Drawn(tuple(generated[i]), stopped[i]) for i in range(len(rows))]
