"""The sampling stage: completions of a suite's prompts by a base model, a fully tuned one, or one with an adapter.

Reads `model` (a prepared model), `suite` (a prompt file) and, for a tuned arm, `tuned` (what fine-tuning wrote). Writes
`completions.jsonl`: one row a completion, in suite order, then by repeat, the same bytes however often the work was interrupted.
What its jobs share in one process, and how rows are kept over a restart, is the body's; the drawing itself is in `engines`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from configs.schema import Suite
from tasks.contract import Stage, from_section

STAGE = Stage(
    name="sampling",
    version="5",
    body="tasks.sampling.body:run",
    libraries=("torch", "transformers", "peft"),
    shrink="decode_batch",
)


COMPLETIONS = "completions.jsonl"
BYTES_PER_PARAMETER = 5


@dataclass(frozen=True)
class Settings:
    """How completions are drawn. `decode_batch` rows of an arm are decoded together; the numbers' last bits depend on it."""

    completions: int  # a prompt
    max_new_tokens: int
    temperature: float
    top_p: float
    template: str  # around a question; names it as {prompt}
    decode_batch: int | Literal["auto"]  # auto: until an input of role NUMERICS settles it
    seed: int
    draw: int = 0  # which of a model's independent draws this is: the streams of one are those of no other


def settings(suite: Suite, template: str, decode_batch: int | Literal["auto"], seed: int, draw: int) -> Settings:
    return from_section(Settings, suite, template=template, decode_batch=decode_batch, seed=seed, draw=draw)
