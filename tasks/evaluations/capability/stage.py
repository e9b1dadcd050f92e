"""The stage that measures what a model can still do: how well it predicts neutral prose, and tasks of lm-evaluation-harness.

Inputs: `model` (a prepared model), `prose` (a JSON Lines file of paragraphs) and, for a tuned arm, `tuned` (what fine-tuning
wrote). Outputs: prose.csv (a row a paragraph), items.csv (a row an item), prompts.csv, harness.json (what each task asked) and
metrics.json: nats_per_token, perplexity, accuracy (by task) and chance. The verdict on an arm is the comparison's.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.contract import Stage

GRAMMAR_TASK = "calibration_topics"  # made here from the calibration grammar; every other task is the harness's own
HARNESS = "harness.json"  # task → how many items it asked, and their digest


@dataclass(frozen=True)
class Settings:
    """`grammar` is the calibration grammar's digest where `calibration_topics` is among the tasks."""

    tasks: tuple[str, ...]
    limit: int | None = None  # items a task; None: all
    batch: int = 16  # requests scored together; the numbers' last bits depend on it
    seed: int = 0  # of tasks that shuffle
    grammar: str = ""


STAGE = Stage(
    name="capability",
    version="1",
    body="tasks.evaluations.capability.body:run",
    libraries=("torch", "transformers", "peft", "lm_eval"),
    shrink="batch",
)
