"""Blinding: completions of several arms as one sheet that tells raters nothing about which arm wrote what,
and its key.

Knows ids and order. Leaves what a cell may hold to whoever writes it, and collecting ratings to whoever reads the sheet back, by task
id.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.contract import digest_of
from tasks.sampling.completions import Completion, by_prompt

SHEET_COLUMNS = ("task_id", "category", "prompt", "completion", "is_answer", "rating")
KEY_COLUMNS = ("task_id", "arm", "prompt_id", "group", "repeat")


@dataclass(frozen=True)
class Task:
    """One completion to be rated."""

    task_id: str
    arm: str
    completion: Completion

    def sheet_row(self) -> dict[str, str]:
        """What a rater sees: surrounding blanks gone, since they can differ by arm and carry no meaning."""
        row = self.completion
        return dict(zip(SHEET_COLUMNS, (self.task_id, row.group, row.prompt, row.text.strip(), "", ""), strict=True))

    def key_row(self) -> dict[str, str | int]:
        row = self.completion
        return dict(zip(KEY_COLUMNS, (self.task_id, self.arm, row.prompt_id, row.group, row.repeat), strict=True))


def blind(arms: Mapping[str, Sequence[Completion]], seed: int) -> list[Task]:
    """The tasks in the order of the sheet: prompts shuffled, and within a prompt the completions of all arms
    shuffled.

    A prompt's completions stand together, so that they go to the same raters and rater severity cancels
    between arms. Order and ids follow from `seed` and from which arm wrote which text, all of it together:
    the same export gives the same sheet, and neither arm nor order can be worked out without the key. Equal
    completions keep ids of their own.

    Raises:
        ValueError: prompts or repeats differ between arms.
    """
    first, *others = sorted(arms)
    wanted = {(row.prompt_id, row.repeat) for row in arms[first]}
    for arm in others:
        if differing := sorted(wanted ^ {(row.prompt_id, row.repeat) for row in arms[arm]}):
            prompt_id, repeat = differing[0]
            raise ValueError(
                f"arms {first} and {arm} do not share prompt {prompt_id}, repeat {repeat}; equal prompts and repeats are required"
            )
    entries = sorted(
        ((arm, row) for arm, rows in arms.items() for row in rows),
        key=lambda entry: (entry[1].prompt_id, entry[1].repeat, entry[0]),
    )
    salt = digest_of([seed, [[arm, row.prompt_id, row.repeat, row.text] for arm, row in entries]])
    rng = random.Random(salt)
    prompts = list(by_prompt(arms[first]))
    rng.shuffle(prompts)
    tasks: list[Task] = []
    for prompt_id in prompts:
        block = [entry for entry in entries if entry[1].prompt_id == prompt_id]
        rng.shuffle(block)
        tasks += [
            # with a letter in front: a spreadsheet takes 123456789012 and 12345678e901 for numbers, and saves them as such
            Task("t" + hashlib.sha256(f"{salt} {len(tasks) + i}".encode()).hexdigest()[:12], arm, row)
            for i, (arm, row) in enumerate(block)
        ]
    return tasks
