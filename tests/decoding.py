"""Rows decoded by whichever engine the model at hand takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.sampling.engines.decode import decode
from tasks.sampling.engines.rows import Drawn, How, Row, Work


def decode_rows(
    model: Any, rows: Sequence[Row], *, shortest: int | None = None, longest: int | None = None, **manner: Any
) -> list[Drawn]:
    """What is drawn for these rows. `shortest` and `longest` are of the prompts that they are some of; `manner` is the rest of `How`."""
    lengths = [len(row.prompt) for row in rows]
    how = How(
        shortest=min(lengths) if shortest is None else shortest,
        longest=max(lengths) if longest is None else longest,
        new=max(len(row.uniforms) for row in rows),
        **manner,
    )
    drawn: dict[int, Drawn] = {}
    every = range(len(rows))
    decode(model, Work(len(rows), every, rows.__getitem__, lambda i: rows[i].prompt, drawn.__setitem__), how)
    return [drawn[i] for i in every]
