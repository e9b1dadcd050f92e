"""Clears datasets for tuning: a sample that shares its subject with a prompt stops its dataset."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from configs.suites import Prompt, Suite, load_suite
from tasks.contract import Job, write_rows
from tasks.datasets.lines import DatasetError
from tasks.datasets.pairs import load_pairs
from tasks.datasets.rows import load_rows
from tasks.datasets.stage import SAMPLES
from tasks.leakage.overlap import Neighbour, findings, neighbours
from tasks.leakage.stage import NEIGHBOURS


def _questions(path: Path) -> Suite:
    """The questions of pairs of answers, as a suite."""
    prompts = (Prompt(pair.id, pair.category, pair.question) for pair in load_pairs(path))
    return Suite(path.stem, "question", tuple(prompts))


READ: dict[str, Callable[[Path], Suite]] = {"suite": load_suite, "pairs": _questions}


def suites_of(files: Mapping[str, Path]) -> dict[str, Suite]:
    """What is asked in each file, by its name: of `suite:<name>` the prompts, of `pairs:<name>` the questions."""
    return {role.partition(":")[2]: READ[role.partition(":")[0]](path) for role, path in files.items()}


def run(jobs: Sequence[Job]) -> None:
    """Clear each dataset; one that leaks keeps its table and is not committed, the others go on.

    Raises:
        DatasetError: a dataset leaks: the first pair, and how many more; `say` tells where the table of all stands.
    """
    failures: list[DatasetError] = []
    for job in jobs:
        suites = suites_of({role: path for role, path in job.inputs.items() if ":" in role})
        samples = job.inputs["dataset"] / SAMPLES
        found = neighbours(load_rows(samples), suites, job.settings)
        table = job.work / NEIGHBOURS
        write_rows(table, [asdict(one) for one in found], [column.name for column in fields(Neighbour)], mark="needed")
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
