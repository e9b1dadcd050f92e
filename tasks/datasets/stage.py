"""The stage that checks a dataset before anything is tuned on it.

Inputs: `dataset` (a JSONL file) and, where the experiment has them, `positions` (the positions file). Outputs:
samples.jsonl (what training reads, and nothing else: editing notes or authors changes no byte of it),
findings.csv, summary.json, metrics.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from configs.schema import DatasetChecks
from tasks.contract import Job, Stage

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


STAGE = Stage(name="datasets", version="2", body="tasks.datasets.stage:run")


def run(jobs: Sequence[Job]) -> None:
    """Check each dataset; one with errors keeps its findings table and is not committed, the others go on.

    Raises:
        DatasetError: a dataset has errors: the first, and how many more; `say` tells where the table of all stands.
    """
    from configs.positions import load_positions
    from tasks.contract import write_json, write_jsonl, write_metrics
    from tasks.datasets.checks import review
    from tasks.datasets.lines import DatasetError
    from tasks.datasets.outputs import count_metrics, sample_rows, summary, write_findings

    failures: list[DatasetError] = []
    for job in jobs:
        table = job.work / FINDINGS
        positions = load_positions(job.inputs["positions"]) if "positions" in job.inputs else {}
        rows, findings = review(job.inputs["dataset"], job.settings, positions)
        write_findings(table, findings)
        if errors := [finding for finding in findings if finding.severity == "error"]:
            failures.append(DatasetError(job.inputs["dataset"], errors))
            job.say(f"{failures[-1]}; all findings: {table}")
            continue
        write_jsonl(job.work / SAMPLES, sample_rows(rows))
        write_json(job.work / "summary.json", summary(rows))
        write_metrics(job.work, count_metrics(rows, findings))
        job.progress(len(rows), len(rows), "samples")
        job.say(f"{len(rows)} samples, {len(findings)} warnings")
        job.commit()
    if failures:
        raise failures[0]
