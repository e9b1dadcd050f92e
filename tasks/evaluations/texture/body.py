"""Measures how each job's completions are written."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.contract import Job, write_json, write_metrics, write_rows
from tasks.evaluations.texture.stage import Settings
from tasks.evaluations.texture.variety import counts, prompt_rows, read, type_token_rows
from tasks.levels import level_metrics, write_prompt_rows
from tasks.sampling.completions import by_prompt, read_completions


def run(jobs: Sequence[Job]) -> None:
    """Raises ValueError for completions of which it is not known what ended them."""
    for job in jobs:
        settings: Settings = job.settings
        completions = by_prompt(read_completions(job.inputs["completions"]))
        prompts = [[read(completion) for completion in members] for members in completions.values()]
        rows, ratios = prompt_rows(prompts), type_token_rows(prompts, settings.type_token_words)
        notes = []
        if not ratios:
            notes.append(f"type_token_ratio: not reported: no answer has {settings.type_token_words} words")
        write_rows(
            job.work / "scores.csv",
            [
                {
                    "prompt_id": one.completion.prompt_id,
                    "group": one.completion.group,
                    "kind": one.completion.kind or "",
                    "repeat": one.completion.repeat,
                    "length_words": len(one.words),
                    "cut_off": int(one.cut_off),
                    "repeated_lines": one.repeated,
                }
                for members in prompts
                for one in members
            ],
        )
        write_prompt_rows(job.work, rows)
        write_metrics(job.work, [*level_metrics([*rows, *ratios]), *counts(prompts, settings.type_token_words)])
        write_json(job.work / "notes.json", notes)
        for note in notes:
            job.say(note)
        job.progress(len(prompts), len(prompts), "prompts")
        job.commit()
