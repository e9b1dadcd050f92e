"""A short form of `benchmarks/faults.py`: what is killed at random moments leaves nothing behind and changes no metric."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.faults import fault_run

pytestmark = pytest.mark.slow


def test_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    count = fault_run(2, seed=3, folder=tmp_path)
    assert count.kills.total() == 2
    assert count.sweeps >= 1
    assert count.faults == dict.fromkeys(count.faults, 0)
