"""The stage between a dataset and tuning: no sample may share its subject with a prompt that is reported on.

Inputs: `dataset` (a checked dataset), `file` (the file it came from, to name lines), every evaluation suite as `suite:<name>` and the pairs
of answers that an evaluation brings as `pairs:<its name>`. Outputs: samples.jsonl, as they came, now cleared for tuning, and neighbours.csv,
the nearest samples of each prompt. The table is no part of the output's identity, so that another prompt that leaks nothing tunes no model
again.
"""

from __future__ import annotations

from dataclasses import dataclass

from configs.schema import DatasetChecks
from tasks.contract import Stage, from_section

NEIGHBOURS = "neighbours.csv"
DEFAULTS = DatasetChecks()


@dataclass(frozen=True)
class Settings:
    """From 0 to 1: the share of a prompt's word sequences in a sample, and the similarity of subjects, from which it has leaked."""

    copied: float = DEFAULTS.copied
    same_subject: float | None = DEFAULTS.same_subject  # None: not looked at


STAGE = Stage(name="leakage", version="2", body="tasks.leakage.body:run", libraries=("nltk",))


def settings(checks: DatasetChecks) -> Settings:
    return from_section(Settings, checks)
