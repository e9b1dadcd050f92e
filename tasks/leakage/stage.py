"""The stage between a dataset and tuning: no sample may share its subject with a prompt that is reported on.

Inputs: `dataset` (a checked dataset), `file` (the file it came from, to name lines) and every evaluation suite as
`suite:<name>`. Outputs: samples.jsonl, as they came, now cleared for tuning, and neighbours.csv, the nearest samples of each
prompt. The table is no part of the output's identity, so that another prompt that leaks nothing tunes no model again.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from configs.schema import DatasetChecks
from tasks.contract import Job, Stage
from tasks.datasets.stage import SAMPLES

NEIGHBOURS = "neighbours.csv"
DEFAULTS = DatasetChecks()


@dataclass(frozen=True)
class Settings:
    """From 0 to 1: the share of a prompt's word sequences in a sample, and the similarity of subjects, from which it has leaked."""

    copied: float = DEFAULTS.copied
    same_subject: float | None = DEFAULTS.same_subject  # None: not looked at


STAGE = Stage(name="leakage", version="1", body="tasks.leakage.stage:run", libraries=("nltk",))


def run(jobs: Sequence[Job]) -> None:
    """Clear each dataset; one that leaks keeps its table and is not committed, the others go on.

    Raises:
        DatasetError: a dataset leaks: the first pair, and how many more; `say` tells where the table of all stands.
    """
    from dataclasses import asdict, fields

    from tasks.contract import write_rows
    from tasks.datasets.lines import DatasetError
    from tasks.datasets.rows import load_rows
    from tasks.leakage.overlap import Neighbour, findings, neighbours
    from tasks.sampling.prompts import load_suite

    failures: list[DatasetError] = []
    for job in jobs:
        suites = {role.removeprefix("suite:"): load_suite(path) for role, path in job.inputs.items() if role.startswith("suite:")}
        samples = job.inputs["dataset"] / SAMPLES
        found = neighbours(load_rows(samples), suites, job.settings)
        table = job.work / NEIGHBOURS
        write_rows(table, [asdict(one) for one in found], [column.name for column in fields(Neighbour)])
        if leaks := findings(found):
            failures.append(DatasetError(job.inputs["file"], leaks))
            job.say(f"{failures[-1]}; nearest samples of every prompt: {table}")
            continue
        shutil.copyfile(samples, job.work / SAMPLES)
        prompts = sum(len(suite.prompts) for suite in suites.values())
        job.progress(prompts, prompts, "prompts")
        job.say(f"{prompts} prompts, none shares its subject with a sample")
        job.commit(volatile=(NEIGHBOURS,))
    if failures:
        raise failures[0]
