"""The sampling stage: completions of a suite's prompts by a base model, a fully tuned one, or one with an adapter.

Reads `model` (a prepared model), `suite` (a prompt file) and, for a tuned arm, `tuned` (what fine-tuning wrote). Writes
`completions.jsonl`: one row a completion, in suite order, then by repeat, the same bytes however often the work was interrupted.
Knows how jobs share models and how rows are kept over a restart; the drawing itself is in `decode`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from tasks.contract import Job, Stage, write_jsonl
from tasks.sampling.prompts import Prompt, Suite, check_template, load_suite, render
from tasks.sampling.streams import uniforms

STAGE = Stage(
    name="sampling",
    version="1",
    body="tasks.sampling.stage:run",
    libraries=("torch", "transformers", "peft"),
    shrink="decode_batch",
)

COMPLETIONS = "completions.jsonl"


@dataclass(frozen=True)
class Settings:
    """How completions are drawn. `decode_batch` rows make one batch; the numbers' last bits depend on it."""

    samples: int  # completions a prompt
    max_new_tokens: int
    temperature: float
    top_p: float
    template: str  # around a question; names it as {prompt}
    decode_batch: int
    seed: int
    draw: int = 0  # which of a model's independent draws this is: the streams of one are those of no other


def run(jobs: Sequence[Job]) -> None:
    """Sample every job's suite, in the order given. Jobs on one base model share it: adapters are put on and taken off again."""
    from model_registry.loading import (
        arm_folders,
        load_model,
        load_tokenizer,
        make_deterministic,
        prepared_folder,
        put_adapter,
    )

    make_deterministic()
    base: Any = None
    held: tuple[Any, ...] = ()  # what `base` was loaded from
    for job in jobs:
        precision, device = job.numerics.precision, job.numerics.device
        folder = prepared_folder(job.inputs["model"])
        tokenizer = load_tokenizer(folder)
        weights, adapter = arm_folders(job.inputs["model"], job.inputs.get("tuned"))
        if weights != folder:
            base = None  # never two whole models in memory
            sample(load_model(weights, precision=precision, device=device), tokenizer, job)
            continue
        if base is None or held != (folder, precision, device):
            base, held = None, (folder, precision, device)
            base = load_model(folder, precision=precision, device=device)
        if adapter is None:
            sample(base, tokenizer, job)
        else:
            adapted = put_adapter(base, adapter)
            sample(adapted, tokenizer, job)
            base = adapted.unload()


def sample(model: Any, tokenizer: Any, job: Job) -> None:
    """Draw one job's completions with a loaded model, going on from the rows of an earlier try, and commit them."""
    from tasks.sampling.decode import Drawn, Row, decode

    settings: Settings = job.settings
    suite = load_suite(job.inputs["suite"])
    tokens = _tokens(suite, tokenizer, settings, model.config.max_position_embeddings)
    prefill = min(map(len, tokens.values()))
    ends = frozenset([tokenizer.eos_token_id, *_as_list(model.generation_config.eos_token_id)])
    # Rows of about one length stand together, so that no batch waits long for its longest prompt. Batches are always the same
    # ones: after a restart an incomplete one is drawn again as a whole.
    work = sorted(product(suite.prompts, range(settings.samples)), key=lambda item: len(tokens[item[0].id]))
    kept = Kept(job.scratch / "rows.jsonl")
    for start in range(0, len(work), settings.decode_batch):
        batch = work[start : start + settings.decode_batch]
        if all((prompt.id, repeat) in kept.rows for prompt, repeat in batch):
            continue
        job.progress(start, len(work), "completion")
        before = settings.draw * settings.samples  # streams that earlier draws have used
        rows = [
            Row(tokens[prompt.id], uniforms(settings.seed, prompt.id, before + repeat, settings.max_new_tokens))
            for prompt, repeat in batch
        ]
        drawn: list[Drawn] = decode(
            model,
            rows,
            shape=settings.decode_batch,
            prefill=prefill,
            ends=ends,
            filler=tokenizer.eos_token_id,
            temperature=settings.temperature,
            top_p=settings.top_p,
        )
        kept.add([_row(prompt, repeat, one, tokenizer) for (prompt, repeat), one in zip(batch, drawn, strict=True)])
    job.progress(len(work), len(work), "completion")
    rows_out = [kept.rows[prompt.id, repeat] for prompt in suite.prompts for repeat in range(settings.samples)]
    write_jsonl(job.work / COMPLETIONS, rows_out)
    job.say(f"{len(rows_out)} completions, {sum(row['tokens'] for row in rows_out)} tokens")
    job.commit()


class Kept:
    """The rows of finished batches, on disk as they come; a last line cut off by a crash is dropped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        whole = [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")] if path.exists() else []
        path.write_bytes(b"".join(whole))
        self.rows: dict[tuple[str, int], dict[str, Any]] = {}
        self._hold([json.loads(line) for line in whole])

    def add(self, rows: list[dict[str, Any]]) -> None:
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write("".join(json.dumps(row) + "\n" for row in rows))
        self._hold(rows)

    def _hold(self, rows: list[dict[str, Any]]) -> None:
        self.rows.update({(row["prompt_id"], row["repeat"]): row for row in rows})


def _row(prompt: Prompt, repeat: int, drawn: Any, tokenizer: Any) -> dict[str, Any]:
    return {
        "prompt_id": prompt.id,
        "group": prompt.group,
        "kind": prompt.kind,
        "prompt": prompt.text,
        "repeat": repeat,
        "text": tokenizer.decode(drawn.tokens, skip_special_tokens=True),
        "tokens": len(drawn.tokens),
        "finish": "stop" if drawn.stopped else "length",
    }


def _tokens(suite: Suite, tokenizer: Any, settings: Settings, context: int) -> dict[str, tuple[int, ...]]:
    """Each prompt's tokens by its id, as the model is to see them."""
    if suite.form == "question":
        check_template(settings.template)
    found = {}
    for prompt in suite.prompts:
        text = render(settings.template, prompt.text) if suite.form == "question" else prompt.text
        ids = tuple(tokenizer(text)["input_ids"])
        if not 0 < len(ids) <= context - settings.max_new_tokens:
            raise ValueError(
                f"prompt {prompt.id} of suite {suite.name}: {len(ids)} tokens and {settings.max_new_tokens} new ones; "
                f"at least one, and together at most the model's context of {context}, are accepted"
            )
        found[prompt.id] = ids
    return found


def _as_list(value: int | list[int] | None) -> list[int]:
    return value if isinstance(value, list) else [] if value is None else [value]
