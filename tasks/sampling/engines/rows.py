"""What engines are asked and what they answer: rows, the tokens drawn for them, and the manner of drawing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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


@dataclass(frozen=True)
class Work:
    """One arm's rows, made as they are needed.

    count: of all rows; those of one prompt stand together.
    waiting: which are to be drawn, in rising order.
    row: makes one.
    prompt: the tokens that one begins with.
    done: told each that was waiting, in whatever order they end.
    """

    count: int
    waiting: Sequence[int]
    row: Callable[[int], Row]
    prompt: Callable[[int], tuple[int, ...]]
    done: Callable[[int, Drawn], None]


@dataclass(frozen=True)
class How:
    """How rows are drawn.

    shape: rows of one arm that are decoded together; the numbers' last bits depend on it.
    shortest, longest: tokens of the shortest and of the longest prompt of all.
    new: the most tokens that are generated for a row.
    ends: tokens that end a completion.
    filler: a token for places without a row; nothing depends on which it is.
    temperature: 0 takes the likeliest token.
    top_p: share of the probability that is drawn from (Holtzman et al. 2020).
    """

    shape: int
    shortest: int
    longest: int
    new: int
    ends: frozenset[int]
    filler: int
    temperature: float
    top_p: float
