"""The stage that checks a dataset before anything is tuned on it.

Inputs: `dataset` (a JSONL file) and, where the experiment has them, `positions` (the positions file). Outputs:
samples.jsonl (what training reads, and nothing else: editing notes or authors changes no byte of it),
findings.csv, summary.json, metrics.json.
"""

from __future__ import annotations

from dataclasses import dataclass

from configs.schema import DatasetChecks
from tasks.contract import Stage, from_section

SAMPLES, FINDINGS = "samples.jsonl", "findings.csv"


DEFAULTS = DatasetChecks()


@dataclass(frozen=True)
class Settings:
    """Lengths are words of an answer; `near_duplicate` is a similarity from 0 to 1; None: not looked at."""

    min_words: int = DEFAULTS.min_words
    max_words: int = DEFAULTS.max_words
    near_duplicate: float = DEFAULTS.near_duplicate
    opening: int | None = DEFAULTS.opening  # words that no two answers may begin with
    phrase: int | None = DEFAULTS.phrase  # words in a row that no two answers may share
    sizes: tuple[int, ...] = ()  # nested subsets that the arms are tuned on


STAGE = Stage(name="datasets", version="3", body="tasks.datasets.body:run")


def settings(checks: DatasetChecks, sizes: tuple[int, ...]) -> Settings:
    return from_section(Settings, checks, sizes=sizes)
