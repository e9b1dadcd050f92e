"""Checks datasets, and leaves what training reads of them."""

from __future__ import annotations

from collections.abc import Sequence

from configs.positions import load_positions
from tasks.contract import Job, write_json, write_jsonl, write_metrics
from tasks.datasets.checks import review
from tasks.datasets.lines import DatasetError
from tasks.datasets.outputs import count_metrics, sample_rows, summary, write_findings
from tasks.datasets.stage import FINDINGS, SAMPLES


def run(jobs: Sequence[Job]) -> None:
    """Check each dataset; one with errors keeps its findings table and is not committed, the others go on.

    Raises:
        DatasetError: a dataset has errors: the first, and how many more; `say` tells where the table of all stands.
    """
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
