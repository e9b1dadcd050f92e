"""Puts an arm to pairs of answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from model_registry.likelihood import log_likelihoods
from model_registry.loading import load_arm, make_deterministic
from model_registry.tokenization import Tokenization, Turn, arm_tokenization
from tasks.contract import Job, write_metrics, write_rows
from tasks.datasets.pairs import Pair, load_pairs
from tasks.evaluations.stance.margins import Held, prompt_rows
from tasks.evaluations.stance.stage import Settings
from tasks.levels import level_metrics, write_prompt_rows


def run(jobs: Sequence[Job]) -> None:
    """Raises ValueError for a pair that the model cannot read in the template, and naming it."""
    make_deterministic()
    for job in jobs:
        settings: Settings = job.settings
        pairs = load_pairs(job.inputs["pairs"])
        words = arm_tokenization(job.inputs["model"], job.inputs.get("tuned"))
        turn = words.turn(settings.template)
        read = [_read(words, turn, pair) for pair in pairs]  # before the model is loaded
        model = load_arm(job.inputs["model"], job.inputs.get("tuned"), **job.numerics.loading)
        held = []
        for done, (pair, (asked, answered)) in enumerate(zip(pairs, read, strict=True)):
            job.progress(done, len(pairs), "pair")
            on, off = log_likelihoods(model, asked, answered)
            held.append(Held(pair.id, pair.category, pair.agrees, on, len(answered[0]), off, len(answered[1])))
        del model  # never two in memory
        write_rows(job.work / "stance.csv", [asdict(one) | {"margin": one.margin, "whole": one.whole} for one in held])
        rows = prompt_rows(held)
        write_prompt_rows(job.work, rows)
        write_metrics(job.work, level_metrics(rows))
        job.progress(len(pairs), len(pairs), "pair")
        job.say(f"{sum(one.preferred for one in held):g} of {len(pairs)} pairs: the answer that holds the position is likelier")
        job.commit()


def _read(words: Tokenization, turn: Turn, pair: Pair) -> tuple[Any, list[Any]]:
    """The tokens of the question, and of both answers with what ends them."""
    try:
        read = [words.sample(turn, pair.question, text) for text in (pair.on, pair.off)]
    except ValueError as error:
        raise ValueError(f"pair {pair.id}: {error}") from None
    return read[0][0], [answer for _, answer in read]
