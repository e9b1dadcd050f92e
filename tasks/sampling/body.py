"""Samples suites: which jobs share a base model and a batch, and how rows are kept over a restart. The drawing itself is an engine's."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from configs.suites import SLOT, Prompt, Suite, load_suite
from model_registry.loading import arm_folders, load_model, make_deterministic, prepared_folder, put_adapter
from model_registry.lora import further
from model_registry.tokenization import Ids, Tokenization, Turn, arm_tokenization
from tasks.contract import Job, jsonl_text
from tasks.sampling.engines import slots
from tasks.sampling.engines.decode import decode
from tasks.sampling.engines.rows import Drawn, How, Row, Work
from tasks.sampling.engines.stacked import Stack
from tasks.sampling.kept import Kept
from tasks.sampling.stage import COMPLETIONS, Settings
from tasks.sampling.streams import uniforms

IN_STEP = "decoded in step, a batch at a time: "  # before the reason


def run(jobs: Sequence[Job]) -> None:
    """Sample every job's suite, in the order given. Jobs on one base model share it; those that draw alike are decoded in one batch with the
    first of them, where their adapters can be. Where that fails, whatever for, each is decoded in its turn: so a fault is that of its job."""
    make_deterministic()
    base: Any = None
    held: tuple[Any, ...] = ()  # what `base` was loaded from
    waiting, apart = list(jobs), set[Any]()
    while waiting:
        job = waiting[0]
        weights, _ = _folders(job)
        if weights != prepared_folder(job.inputs["model"]):
            base = None  # never two whole models in memory
            _apart(load_model(weights, **job.numerics.loading), job)
            waiting = waiting[1:]
            continue
        if base is None or held != (weights, job.numerics):
            base, held = None, (weights, job.numerics)
            base = load_model(weights, **job.numerics.loading)
        alike = _alike(job)
        company = [job] if alike in apart else [other for other in waiting if _alike(other) == alike]
        base, why = _on_base(base, company)
        if why is None:
            waiting = [other for other in waiting if not any(other is one for one in company)]
            continue
        apart.add(alike)
        for one in company:
            one.say(f"decoded apart from the other arms: {why}")


def _folders(job: Job) -> tuple[Path, Path | None]:
    return arm_folders(job.inputs["model"], job.inputs.get("tuned"))


def _alike(job: Job) -> tuple[Any, ...]:
    """Equal for jobs that may be decoded in one batch."""
    weights, adapter = _folders(job)
    alone = weights != prepared_folder(job.inputs["model"]) or (adapter is not None and further(adapter) is not None)
    return weights, job.numerics, job.inputs["suite"], replace(job.settings, draw=0, seed=0), job.work if alone else None


def _on_base(base: Any, company: Sequence[Job]) -> tuple[Any, str | None]:
    """Sample these jobs by a base and the adapters of their arms; returns the base as it was and, of several jobs, why they were not.

    An adapter that can be stacked is, if it is the only one too: so its rows are the same bits in whatever company.
    """
    adapters = [_folders(job)[1] for job in company]
    job, first, why = company[0], adapters[0], None
    if first is not None and (more := further(first)):
        job.say(f"decoded apart from the other arms: {more} is not stacked")
    else:
        names = [None if adapter is None else f"arm{number}" for number, adapter in enumerate(adapters)]
        model = base
        for adapter, name in zip(adapters, names, strict=True):
            model = model if adapter is None or name is None else put_adapter(model, adapter, name)
        stack = Stack(model, names)
        why = _stacked(stack, [Sampled(job, base) for job in company])
        stack.release()
        base = model.unload() if any(names) else base
        if why is None or len(company) > 1:
            return base, why
    adapted = base if first is None else put_adapter(base, first)
    _apart(adapted, job, why)
    return (base if first is None else adapted.unload()), None


def _stacked(stack: Stack, works: Sequence[Sampled]) -> str | None:
    """In slots; returns why it cannot be, or, of several jobs, how it failed. What was drawn until then is kept."""
    if why := slots.misfit(stack, works[0].how):
        return why
    try:
        slots.decode(stack, [one.work() for one in works], works[0].how)
    except Exception as error:  # whose it is, and whether less memory is enough, shows when each is decoded by itself
        if len(works) == 1:
            raise
        return (str(error).splitlines() or [type(error).__name__])[0]
    for left, one in zip(range(len(works), 0, -1), works, strict=True):
        one.commit(among=left)
    return None


def _apart(model: Any, job: Job, misfit: str | None = None) -> None:
    """Sample one job by a model of its own; `misfit`: why not in slots, where that is known."""
    sampled = Sampled(job, model)
    if why := decode(model, sampled.work(), sampled.how, misfit):
        job.say(f"{IN_STEP}{why}")
    sampled.commit()


class Sampled:
    """One job's rows: what is asked of an engine, going on from the rows of an earlier try, and what came of it."""

    def __init__(self, job: Job, model: Any) -> None:
        words = arm_tokenization(job.inputs["model"], job.inputs.get("tuned"))
        settings: Settings = job.settings
        suite = load_suite(job.inputs["suite"])
        turn = words.turn(settings.template if suite.form == "question" else SLOT)
        self.job, self._settings, self._suite, self._words = job, settings, suite, words
        self._tokens = _tokens(suite, words, turn, settings.max_new_tokens)
        # prompts of about one length stand together, so that they can be read together
        self._prompts = sorted(suite.prompts, key=lambda prompt: len(self._tokens[prompt.id]))
        self._count = len(suite.prompts) * settings.completions
        self._kept = Kept(job.scratch / "rows.jsonl")
        lengths = [len(ids) for ids in self._tokens.values()]
        self.how = How(
            shape=int(settings.decode_batch),
            shortest=min(lengths),
            longest=max(lengths),
            new=settings.max_new_tokens,
            ends=ends(model, words, turn),
            filler=words.end,
            temperature=settings.temperature,
            top_p=settings.top_p,
        )
        job.progress(len(self._kept), self._count, "completion")

    def work(self) -> Work:
        waiting = array("q", (i for i in range(self._count) if self._at(i) not in self._kept))
        return Work(self._count, waiting, self._row, lambda i: self._tokens[self._at(i)[0]], self._done)

    def _at(self, i: int) -> tuple[str, int]:
        """Prompt and repeat of a row."""
        prompt, repeat = divmod(i, self._settings.completions)
        return self._prompts[prompt].id, repeat

    def _row(self, i: int) -> Row:
        name, repeat = self._at(i)
        before = self._settings.draw * self._settings.completions  # streams that earlier draws have used
        return Row(self._tokens[name], uniforms(self._settings.seed, name, before + repeat, self._settings.max_new_tokens))

    def _done(self, i: int, drawn: Drawn) -> None:
        prompt, (name, repeat) = self._prompts[i // self._settings.completions], self._at(i)
        self._kept.add(_row(prompt, repeat, drawn, self._words.text(self._tokens[name], drawn.tokens)))
        if len(self._kept) % self.how.shape == 0 or len(self._kept) == self._count:
            self.job.progress(len(self._kept), self._count, "completion")

    def commit(self, among: int = 1) -> None:
        """Write the completions in the suite's order; they are read one by one: there may be more than fit into memory.

        `among` so many jobs, this one and uncommitted ones, the time since the last commit was spent.
        """
        marked, tokens = any(prompt.near for prompt in self._suite.prompts), 0
        with (self.job.work / COMPLETIONS).open("w", encoding="utf-8") as stream:
            for prompt in self._suite.prompts:
                for repeat in range(self._settings.completions):
                    row = self._kept.row(prompt.id, repeat) | ({"near": prompt.near} if marked else {})
                    tokens += row["tokens"]
                    stream.write(jsonl_text([row]))
        self.job.say(f"{self._count} completions, {tokens} tokens")
        self.job.commit(among=among)


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
