"""How many samples each size needs for one effect, read off differences by dataset size."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.compare.train_samples import needs
from tests.arms import ARMS, TO_BASE

SIZES = {"a": 10_000, "b": 100_000, "c": 1_000_000, "d": 10_000_000}


def row(size: str, samples: int, value: float, **more: Any) -> Any:
    place = {"ladder": "l", "suite": "s", "metric": "m", "kind": "rate", "contrast": TO_BASE, "group": "all"}
    return SimpleNamespace(
        **{
            **place,
            "size": size,
            "train_samples": samples,
            "seed": 0,
            "own_seed": True,
            "family": "",
            "value": value,
            "ci_low": value - 0.05,
            "ci_high": value + 0.05,
            **more,
        }
    )


def found(curves: dict[str, dict[int, float]]) -> Any:
    sources: Any = SimpleNamespace(arms=ARMS, sizes={"l": list(curves)}, params=lambda ladder, size: SIZES[size])
    return needs(sources, [row(size, n, v) for size, curve in curves.items() for n, v in curve.items()], "s", "m")


def test_the_number_is_read_off_a_line_over_log_samples() -> None:
    (answer,) = found({"a": {10: 0.1, 40: 0.3, 80: 0.4}, "b": {10: 0.2, 40: 0.5, 80: 0.6}})
    assert answer.effect == pytest.approx(0.2)  # half of 0.4, the smallest at the largest dataset
    small, large = answer.sizes
    assert small.train_samples == pytest.approx(20.0)  # half-way from 0.1 to 0.3, so half-way from log 10 to log 40
    assert (large.train_samples, large.bound) == (10.0, "≤")
    assert answer.falls is None
    assert "some reach it with their fewest samples" in answer.verdict


def test_larger_models_need_fewer_only_by_a_slope_over_four_sizes() -> None:
    def curve(half: float) -> dict[int, float]:
        """Reaches 0.25 at `half` samples and 0.5 at the end."""
        return {1: 0.25 * (1 - math.log10(half)), 10: 0.25 * (2 - math.log10(half)), 80: 0.5}

    four = dict(zip(SIZES, (8.0, 6.0, 4.5, 3.4), strict=True))
    (falling,) = found({size: curve(half) for size, half in four.items()})
    assert [need.train_samples for need in falling.sizes] == pytest.approx(list(four.values()))
    assert falling.falls is True
    assert falling.verdict == "larger models need fewer samples"
    (scattered,) = found({size: curve(half) for size, half in zip(SIZES, (8.0, 3.0, 7.0, 4.0), strict=True)})
    assert scattered.falls is False
    (three,) = found({size: curve(four[size]) for size in list(SIZES)[:3]})
    assert three.falls is None
    assert "from 3 sizes" in three.verdict


@pytest.mark.parametrize(
    "curves", [{"a": {80: 0.4}, "b": {80: 0.5}}, {"a": {10: 0.1, 80: 0.4}, "b": {10: -0.1, 80: -0.2}}, {"a": {10: 0.1, 80: 0.04}}]
)
def test_there_is_no_answer_without_a_common_effect(curves: dict[str, dict[int, float]]) -> None:
    assert found(curves) == []
