"""Completions, each a function of its prompt and its stream alone: which engine draws them.

`slots` is the fast one. It is used where it is seen, on the model at hand, to give what whole passes give; every other model is decoded in step
(`lockstep`), and whoever asked is told why.
"""

from __future__ import annotations

from typing import Any

from tasks.sampling.engines import lockstep, slots
from tasks.sampling.engines.rows import How, Work
from tasks.sampling.engines.stacked import Stack


def decode(model: Any, work: Work, how: How, misfit: str | None = None) -> str | None:
    """Draw what waits of one arm's rows; returns why it was not done in slots, None if it was. `misfit`: why not, where that is known."""
    stack = Stack(model)
    if why := misfit or slots.misfit(stack, how):
        lockstep.decode_all(model, work, how)
        return why
    slots.decode(stack, [work], how)
    return None
