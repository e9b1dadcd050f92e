"""Adjusted p values of a family of tests: Holm for confirmation, Benjamini-Hochberg for tables."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tasks.statistics.checks import Floats, numbers


def holm(p_values: ArrayLike) -> Floats:
    """Holm's (1979) step-down adjusted p values, in the order given: family-wise error under any dependence.

    p_values [tests] in [0, 1]. The i-th smallest of m becomes max over j ≤ i of (m − j + 1)·p_(j), at most 1. Raises ValueError.
    """
    ordered, order = _ascending(p_values)
    steps = np.arange(ordered.size, 0, -1)
    return _restored(np.maximum.accumulate(ordered * steps), order)


def benjamini_hochberg(p_values: ArrayLike) -> Floats:
    """Benjamini & Hochberg's (1995) adjusted p values, in the order given: false discovery rate within one table.

    p_values [tests] in [0, 1]. The i-th smallest of m becomes min over j ≥ i of (m/j)·p_(j), at most 1. Raises ValueError.
    """
    ordered, order = _ascending(p_values)
    scaled = ordered * (ordered.size / np.arange(1, ordered.size + 1))
    return _restored(np.minimum.accumulate(scaled[::-1])[::-1], order)


def _ascending(p_values: ArrayLike) -> tuple[Floats, np.ndarray]:
    raw = numbers("p_values", p_values)
    if raw.min() < 0 or raw.max() > 1:
        raise ValueError(f"p_values: expected numbers in [0, 1], got {raw.min()} to {raw.max()}")
    order = np.argsort(raw, kind="stable")
    return raw[order], order


def _restored(ordered: Floats, order: np.ndarray) -> Floats:
    adjusted = np.empty_like(ordered)
    adjusted[order] = np.minimum(ordered, 1.0)
    return adjusted
