"""What an evaluation reads of a sampling folder: its completions, checked to be complete."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.contract import read_jsonl

COMPLETIONS = "completions.jsonl"


@dataclass(frozen=True)
class Completion:
    """One sampled text. `repeat` counts a prompt's samples from 0; `kind` is the prompt's kind, if its suite has kinds; `finish` tells
    what ended it: "stop" (the model), "length" (the limit of tokens), or "" where that is not known; `near` whether its prompt is marked as
    lying near a sample that is tuned on, None where none of its suite is; `tokens` how many were drawn, without the one that ended it, None
    where that is not known."""

    prompt_id: str
    group: str
    kind: str | None
    prompt: str
    repeat: int
    text: str
    finish: str = ""
    near: bool | None = None
    tokens: int | None = None


def read_completions(folder: Path) -> list[Completion]:
    """The completions of a sampling folder in the order (prompt of first occurrence, repeat).

    Raises:
        ValueError: there are none, or some prompt's repeats are not 0 … k−1 with the same k for all prompts:
        a missing
            completion is an error, never a smaller k.
    """
    path = folder / COMPLETIONS
    rows = [
        Completion(
            row["prompt_id"],
            row["group"],
            row.get("kind"),
            row["prompt"],
            int(row["repeat"]),
            row["text"],
            row.get("finish", ""),
            row.get("near"),
            row.get("tokens"),
        )
        for row in read_jsonl(path)
    ]
    if not rows:
        raise ValueError(f"{path}: no completions; at least one a prompt is required")
    prompts = by_prompt(rows)
    most = max(len(members) for members in prompts.values())
    for prompt_id, members in prompts.items():
        require_repeats(path, prompt_id, [row.repeat for row in members], most)
    return [row for members in prompts.values() for row in members]


def by_prompt(rows: Sequence[Completion]) -> dict[str, list[Completion]]:
    """Completions of each prompt, prompts in order of first occurrence, repeats in theirs."""
    prompts: dict[str, list[Completion]] = {}
    for row in rows:
        prompts.setdefault(row.prompt_id, []).append(row)
    return {prompt_id: sorted(members, key=lambda row: row.repeat) for prompt_id, members in prompts.items()}


def require_repeats(path: Path, prompt_id: str, repeats: list[int], most: int) -> None:
    """Raises ValueError unless a prompt's repeats, in order, are 0 … most − 1: a missing completion is an error, never a smaller k."""
    if repeats != list(range(most)):
        raise ValueError(f"{path}: prompt {prompt_id} has the repeats {repeats}; 0 to {most - 1}, each once, are required")


def require_prompts(asked: Iterable[str], prompt_ids: Container[str], suite: str) -> None:
    """Raises ValueError if a completion's prompt (`asked`) is not among those of the suite that it is read with."""
    for prompt_id in asked:
        if prompt_id not in prompt_ids:
            raise ValueError(
                f"a completion of prompt {prompt_id}, which suite {suite} does not have; completions of that suite are required"
            )
