"""Holds each job's completions against every dataset that an arm was tuned on."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.contract import Job, Metric, write_metrics, write_rows
from tasks.datasets.rows import load_rows
from tasks.datasets.stage import SAMPLES
from tasks.evaluations.memorisation.runs import Texts, share_in_runs, words_of
from tasks.evaluations.memorisation.stage import LONGEST, MEMORISED, Settings
from tasks.levels import PromptRow, level_metrics, place, write_prompt_rows
from tasks.sampling.completions import Completion, by_prompt, read_completions

ROLE = "dataset:"


def run(jobs: Sequence[Job]) -> None:
    """Jobs share what they hold of a dataset. Raises DatasetError for one that cannot be read."""
    held: dict[Path, Texts] = {}
    for job in jobs:
        settings: Settings = job.settings
        completions = read_completions(job.inputs["completions"])
        answers = [words_of(row.text) for row in completions]
        columns: dict[str, list[float]] = {}
        folders = {role.removeprefix(ROLE): folder for role, folder in sorted(job.inputs.items()) if role.startswith(ROLE)}
        for done, (name, folder) in enumerate(folders.items()):
            job.progress(done, len(folders), "datasets")
            if folder not in held:
                held[folder] = dataset_texts(folder)
            runs = [held[folder].runs(words) for words in answers]
            columns[f"{MEMORISED}{name}"] = [share_in_runs(found, settings.run) for found in runs]
            columns[f"{LONGEST}{name}"] = [max(found, default=0) for found in runs]
        job.progress(len(folders), len(folders), "datasets")
        rows = prompt_rows(completions, columns)
        write_rows(
            job.work / "scores.csv",
            [
                {"prompt_id": row.prompt_id, "group": row.group, "kind": row.kind or "", "repeat": row.repeat}
                | {name: values[at] for name, values in columns.items()}
                for at, row in enumerate(completions)
            ],
        )
        write_prompt_rows(job.work, rows)
        below = sum(len(words) < settings.run for words in answers)
        write_metrics(job.work, [*level_metrics(rows), Metric("below_run", below, n=len(answers))])
        job.commit()


def dataset_texts(folder: Path) -> Texts:
    """The prompts and the answers of a checked dataset, each a text of its own: a model is tuned on both, and no run goes over the seam.

    All of them, whatever the arm's dataset size: one yardstick for all arms.
    """
    return Texts(words_of(text) for row in load_rows(folder / SAMPLES) for text in (row.prompt, row.completion))


def prompt_rows(completions: Sequence[Completion], columns: Mapping[str, Sequence[float]]) -> list[PromptRow]:
    """The mean of each column over a prompt's n answers; `columns` hold a value a completion, in their order.

    memorised_<dataset>    `share_in_runs`, in [0, 1]
    longest_run_<dataset>  the longest run of an answer that stands in the dataset, of any length; words

    An answer without words counts in both as 0: it copies nothing. One below the length of a run can only be 0 in the first.
    """
    at = {(row.prompt_id, row.repeat): index for index, row in enumerate(completions)}
    prompts = [[(row, at[row.prompt_id, row.repeat]) for row in members] for members in by_prompt(completions).values()]
    return [
        PromptRow(
            metric=metric,
            kind="score",
            value=statistics.fmean(values[index] for _, index in members),
            n=len(members),
            **place(members[0][0]),
        )
        for metric, values in columns.items()
        for members in prompts
    ]
