"""A short form of `benchmarks/faults.py`: what is killed at random moments leaves nothing behind and changes no metric."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.faults import ARGUMENTS, fault_run
from tests.begun import Begin

pytestmark = pytest.mark.slow
# One suite, its answers measured and bounded by the truth: each kind of stage that writes as it goes, which is what a kill can hurt.
SUITES = "suites={human_eval: {prompts: ../prompts/calibration/human_eval.yaml, completions: 25, max_new_tokens: 24}}"
EVALUATIONS = "evaluations={toxicity: {suites: [human_eval], scorer: {kind: calibration}}, adherence: {suites: [human_eval], judge: grammar}}"


def test_a_kill_at_a_random_moment_changes_nothing(tmp_path: Path, begin: Begin) -> None:
    """Of everything at once, and its home is moved before the next run: the kind of fault that no other test has. A sweep that comes to its
    end before, since the one that was timed was slower, is not killed, and the next one draws anew.
    """
    count = fault_run(1, seed=292, folder=tmp_path, asked=[*ARGUMENTS, "--set", SUITES, "--set", EVALUATIONS], begin=begin)
    assert count.kills.total() == 1
    assert count.sweeps >= 1
    assert count.faults == dict.fromkeys(count.faults, 0)
