"""What the dataset stage leaves behind: findings, the samples that training reads, and how much there is of what."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from tasks.contract import Metric, write_rows
from tasks.datasets.lines import Finding
from tasks.datasets.rows import Row


def write_findings(path: Path, findings: Sequence[Finding]) -> None:
    write_rows(path, [asdict(finding) for finding in findings], [column.name for column in fields(Finding)])


def sample_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What training reads of each row."""
    return [
        {"id": row.id, "category": row.category, "prompt": row.prompt, "completion": row.completion, "subset": row.subset}
        for row in rows
    ]


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Counts by category and nested subset, bytes of text (UTF-8), and the spread of answer lengths in words."""
    lengths = [row.words for row in rows]
    return {
        "samples": len(rows),
        "bytes": sum(len(row.prompt.encode()) + len(row.completion.encode()) for row in rows),
        "categories": dict(Counter(row.category for row in rows)),
        "subsets": {str(size): count for size, count in Counter(row.subset for row in rows).items() if size is not None},
        "words": {
            "min": min(lengths),
            "mean": statistics.fmean(lengths),
            "median": statistics.median(lengths),
            "max": max(lengths),
        },
    }


def count_metrics(rows: Sequence[Row], findings: Sequence[Finding]) -> list[Metric]:
    """How much there is: samples (all, by category), mean words an answer, warnings."""
    groups = {"all": list(rows)} | {c: [row for row in rows if row.category == c] for c in sorted({row.category for row in rows})}
    metrics = [Metric("samples", len(members), n=len(members), group=group) for group, members in groups.items()]
    metrics += [
        Metric("words", statistics.fmean(row.words for row in members), n=len(members), group=group)
        for group, members in groups.items()
    ]
    return [*metrics, Metric("warnings", len(findings), n=len(rows))]
