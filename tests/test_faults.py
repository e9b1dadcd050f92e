"""A short form of `benchmarks/faults.py`: what is killed at random moments leaves nothing behind and changes no metric."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.faults import fault_run

pytestmark = pytest.mark.slow


def test_a_kill_at_a_random_moment_changes_nothing(tmp_path: Path) -> None:
    """Of everything at once, and its home is moved before the next run: the kind of fault that no other test has. A sweep that comes to its
    end before, since the one that was timed was slower, is not killed, and the next one draws anew.
    """
    count = fault_run(1, seed=292, folder=tmp_path)
    assert count.kills.total() == 1
    assert count.sweeps >= 1
    assert count.faults == dict.fromkeys(count.faults, 0)
