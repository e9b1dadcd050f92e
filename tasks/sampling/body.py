"""Samples suites: how jobs share a base model, and how rows are kept over a restart. The drawing itself is an engine's."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from configs.suites import SLOT, Prompt, Suite, load_suite
from model_registry.loading import arm_folders, load_model, make_deterministic, prepared_folder, put_adapter
from model_registry.tokenization import Ids, Tokenization, Turn, arm_tokenization
from tasks.contract import Job, write_jsonl
from tasks.sampling.engines.decode import Drawn, Row, decode
from tasks.sampling.kept import Kept
from tasks.sampling.stage import COMPLETIONS, Settings
from tasks.sampling.streams import uniforms


def run(jobs: Sequence[Job]) -> None:
    """Sample every job's suite, in the order given. Jobs on one base model share it: adapters are put on and taken off again."""
    make_deterministic()
    base: Any = None
    held: tuple[Any, ...] = ()  # what `base` was loaded from
    for job in jobs:
        folder = prepared_folder(job.inputs["model"])
        words = arm_tokenization(job.inputs["model"], job.inputs.get("tuned"))
        weights, adapter = arm_folders(job.inputs["model"], job.inputs.get("tuned"))
        if weights != folder:
            base = None  # never two whole models in memory
            sample(load_model(weights, **job.numerics.loading), words, job)
            continue
        if base is None or held != (folder, job.numerics):
            base, held = None, (folder, job.numerics)
            base = load_model(folder, **job.numerics.loading)
        if adapter is None:
            sample(base, words, job)
        else:
            adapted = put_adapter(base, adapter)
            sample(adapted, words, job)
            base = adapted.unload()


def sample(model: Any, words: Tokenization, job: Job) -> None:
    """Draw one job's completions with a loaded model, going on from the rows of an earlier try, and commit them."""
    settings: Settings = job.settings
    suite = load_suite(job.inputs["suite"])
    turn = words.turn(settings.template if suite.form == "question" else SLOT)
    tokens = _tokens(suite, words, turn, settings.max_new_tokens)
    prefill = min(map(len, tokens.values()))
    ending = ends(model, words, turn)
    # Rows of about one length stand together, so that no batch waits long for its longest prompt. Batches are always the same
    # ones: after a restart an incomplete one is drawn again as a whole.
    work = sorted(product(suite.prompts, range(settings.completions)), key=lambda item: len(tokens[item[0].id]))
    kept = Kept(job.scratch / "rows.jsonl")
    for start in range(0, len(work), settings.decode_batch):
        batch = work[start : start + settings.decode_batch]
        if all((prompt.id, repeat) in kept.rows for prompt, repeat in batch):
            continue
        job.progress(start, len(work), "completion")
        before = settings.draw * settings.completions  # streams that earlier draws have used
        rows = [
            Row(tokens[prompt.id], uniforms(settings.seed, prompt.id, before + repeat, settings.max_new_tokens))
            for prompt, repeat in batch
        ]
        drawn: list[Drawn] = decode(
            model,
            rows,
            shape=settings.decode_batch,
            prefill=prefill,
            ends=ending,
            filler=words.end,
            temperature=settings.temperature,
            top_p=settings.top_p,
        )
        kept.add(
            [
                _row(prompt, repeat, one, words.text(tokens[prompt.id], one.tokens))
                for (prompt, repeat), one in zip(batch, drawn, strict=True)
            ]
        )
    job.progress(len(work), len(work), "completion")
    rows_out = [kept.rows[prompt.id, repeat] for prompt in suite.prompts for repeat in range(settings.completions)]
    if any(prompt.near for prompt in suite.prompts):
        near = {prompt.id: prompt.near for prompt in suite.prompts}
        rows_out = [row | {"near": near[row["prompt_id"]]} for row in rows_out]
    write_jsonl(job.work / COMPLETIONS, rows_out)
    job.say(f"{len(rows_out)} completions, {sum(row['tokens'] for row in rows_out)} tokens")
    job.commit()


def _row(prompt: Prompt, repeat: int, drawn: Drawn, text: str) -> dict[str, Any]:
    return {
        "prompt_id": prompt.id,
        "group": prompt.group,
        "kind": prompt.kind,
        "prompt": prompt.text,
        "repeat": repeat,
        "text": text,
        "tokens": len(drawn.tokens),
        "finish": "stop" if drawn.stopped else "length",
    }


def _tokens(suite: Suite, words: Tokenization, turn: Turn, new: int) -> dict[str, Ids]:
    """Each prompt's tokens by its id, as the model is to see them."""
    found = {}
    for prompt in suite.prompts:
        try:
            found[prompt.id] = words.asked(turn, prompt.text, new)
        except ValueError as error:
            raise ValueError(f"prompt {prompt.id} of suite {suite.name}: {error}") from None
    return found


def ends(model: Any, words: Tokenization, turn: Turn) -> frozenset[int]:
    """The tokens that end an answer: the tokenizer's, the template's and those that the model itself names."""
    named = model.generation_config.eos_token_id
    return frozenset([words.end, turn.end, *(named if isinstance(named, list) else [] if named is None else [named])])
