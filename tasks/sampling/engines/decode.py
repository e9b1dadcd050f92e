"""Completions, each a function of its prompt and its stream alone: which engine draws them.

`slots` is the fast one. It is used where it is seen, on the model at hand, to give what whole passes give; every other model is decoded in step
(`lockstep`), and whoever asked is told why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.sampling.engines import lockstep, slots
from tasks.sampling.engines.rows import Drawn, How, Row, Work
from tasks.sampling.engines.stacked import Stack


def decode(model: Any, work: Work, how: How) -> str | None:
    """Draw what waits of one arm's rows; returns why it was not done in slots, None if it was."""
    stack = Stack(model)
    if why := slots.misfit(stack, how):
        lockstep.decode_all(model, work, how)
        return why
    slots.decode(stack, [work], how)
    return None


def decode_rows(
    model: Any,
    rows: Sequence[Row],
    *,
    shape: int,
    ends: frozenset[int],
    filler: int,
    temperature: float,
    top_p: float,
    shortest: int | None = None,
    longest: int | None = None,
) -> list[Drawn]:
    """What is drawn for these rows. `shortest` and `longest` are of the prompts that they are some of, as in `How`."""
    lengths = [len(row.prompt) for row in rows]
    how = How(
        shape=shape,
        shortest=min(lengths) if shortest is None else shortest,
        longest=max(lengths) if longest is None else longest,
        new=max(len(row.uniforms) for row in rows),
        ends=ends,
        filler=filler,
        temperature=temperature,
        top_p=top_p,
    )
    drawn: dict[int, Drawn] = {}
    every = range(len(rows))
    decode(model, Work(len(rows), every, rows.__getitem__, lambda i: rows[i].prompt, drawn.__setitem__), how)
    return [drawn[i] for i in every]
