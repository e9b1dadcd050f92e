"""The stage that checks a dataset before anything is tuned on it.

Inputs: `dataset` (a JSONL file) and every evaluation suite as `suite:<name>` (prompt files, for leakage).
Outputs: samples.jsonl (what training reads, and nothing else: editing notes or authors changes no byte of
it), findings.csv, summary.json, metrics.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.contract import Job, Stage

SAMPLES, FINDINGS = "samples.jsonl", "findings.csv"


@dataclass(frozen=True)
class Settings:
    """Lengths are words of prompt and completion together; `near_duplicate` and `leakage` are similarities from 0 to 1."""

    min_words: int = 1
    max_words: int = 400
    near_duplicate: float = 0.8
    leakage: float = 0.6
    sizes: tuple[int, ...] = ()  # nested subsets that the arms are tuned on


STAGE = Stage(name="datasets", version="1", body="tasks.datasets.stage:run")


def run(jobs: Sequence[Job]) -> None:
    """Check each dataset; one with errors keeps its findings table and is not committed, the others go on.

    Raises:
        DatasetError: a dataset has errors: the first, and how many more; `say` tells where the table of all stands.
    """
    from tasks.contract import write_json, write_jsonl, write_metrics
    from tasks.datasets.checks import count_metrics, review, sample_rows, summary, write_findings
    from tasks.datasets.rows import DatasetError

    failures: list[DatasetError] = []
    for job in jobs:
        suites = {role.removeprefix("suite:"): path for role, path in job.inputs.items() if role.startswith("suite:")}
        table = job.work / FINDINGS
        rows, findings = review(job.inputs["dataset"], job.settings, suites)
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
