"""Makes the tables, the figures and the report of a comparison, in that order."""

from __future__ import annotations

from collections.abc import Sequence

from configs.contrasts import listed
from tasks.compare import capability, contrasts, trends, upstream
from tasks.compare import tidy as tables
from tasks.compare.comparison import Comparison
from tasks.compare.report.page import REPORT, write_report
from tasks.compare.stage import Settings
from tasks.contract import Job


def run(jobs: Sequence[Job]) -> None:
    """Write metrics.csv, contrasts.csv, trend.csv, capability.csv, metrics.json, report.html and figures/*.svg for each job.

    The page says how long things took, so that its bytes are no part of what the comparison found.
    """
    for job in jobs:
        _compare(job)
        job.commit(volatile=(REPORT,))


def _compare(job: Job) -> None:

    settings: Settings = job.settings
    sources = upstream.read(job.inputs, job.places, settings.arms, settings.measures)
    job.say(f"comparing {len(sources.nodes)} outputs over {listed(settings.arms.contrasts) or 'no contrast'}")
    job.progress(0, 3, "steps")
    differences = contrasts.compare(sources, settings)
    job.progress(1, 3, "steps")
    slopes = trends.over_sizes(sources, settings)
    found = Comparison(sources, differences, slopes, capability.verdicts(sources, settings), settings)
    tables.write(job.work, found)
    job.progress(2, 3, "steps")
    write_report(job.work, found)
    job.progress(3, 3, "steps")
