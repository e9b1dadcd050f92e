"""Whether a model may be run in bf16: looks at what it says in fp32, and at what it would say there in bf16.

Rounding to bf16 keeps 8 bits of a number. Most models bear it; one with logits that are large beside their differences, or with weights that cancel
out, does not. The model continues a few questions greedily in fp32; in bf16 it reads the same tokens, so that one other token early on does not
make all that follow it others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model_registry.folders import prepared_folder
from model_registry.loading import load_model, make_deterministic
from model_registry.tokenization import load_tokenization
from tasks.contract import NUMERICS_FILE, Job, read_json, write_json
from tasks.prepare.stage import FEWEST_FOR_BF16, MODEL_FILE, PRECISION_FILE, precision_told
from tasks.sampling.engines.lockstep import answer
from tasks.sampling.engines.rows import Row

QUESTIONS = (
    "What makes a good friend?",
    "Explain how rain forms.",
    "Who should decide how a city is built?",
    "Write a short note about a walk by the sea.",
    "Is it ever right to lie?",
    "How do people learn a new language?",
    "Describe a market in the morning.",
    "Why do some countries have two official languages?",
)
TOKENS = 25  # of each answer: 200 in all
SAME, NATS = 0.95, 0.01  # least share of tokens that stay the likeliest; most divergence a token (SmolLM2-135M: 0.975 and 0.0012)


def run(jobs: Sequence[Job]) -> None:
    """Write `numerics.json`, the precision to run the model in, and `precision.json`, what it was found by.

    Raises:
        ValueError: the model cannot be used, or cannot read a question and 25 tokens more.
    """
    make_deterministic()
    for job in jobs:
        params = int(read_json(job.inputs["model"] / MODEL_FILE)["params"])
        if params < FEWEST_FOR_BF16:
            found: dict[str, Any] = {"because": f"bf16 gains nothing below {FEWEST_FOR_BF16:,} parameters"}
        else:
            found = compared(job)
        precision = "fp32" if "because" in found else "bf16"
        job.say(precision_told({"precision": precision, **found}))
        write_json(job.work / NUMERICS_FILE, {"precision": precision})
        write_json(job.work / PRECISION_FILE, {"precision": precision, **found})
        job.commit()


def compared(job: Job) -> dict[str, Any]:
    """How many of the tokens stay the likeliest in bf16, the mean divergence from fp32 in nats a token (Kullback-Leibler, of fp32), the largest
    difference of a logit; and `because`, where bf16 is not good enough."""
    folder = prepared_folder(job.inputs["model"])
    texts, single = _in_fp32(folder, job)
    try:
        half = _logits(_loaded(folder, job, "bf16"), texts)
    except RuntimeError as error:
        if "BFloat16" not in str(error):  # what torch calls an operation that it does not have in bf16
            raise
        return {"because": f"it does not run in bf16 ({str(error).splitlines()[0]})"}
    if not bool(half.isfinite().all()):
        return {"because": "its logits in bf16 are not finite"}
    before, after = single.log_softmax(-1), half.log_softmax(-1)
    same = int((single.argmax(-1) == half.argmax(-1)).sum())
    nats = float((before.exp() * (before - after)).sum(-1).mean())
    found: dict[str, Any] = {"tokens": len(single), "same": same, "nats": nats, "logits": float((single - half).abs().max())}
    if same < SAME * len(single) or nats > NATS:
        found["because"] = f"in bf16 it is another model; {SAME:.0%} of tokens and {NATS} nats are asked for"
    return found


def _in_fp32(folder: Path, job: Job) -> tuple[list[tuple[int, ...]], torch.Tensor]:
    """The tokens of each question with its greedy answer, and the logits that the answers were taken from."""
    model, words = _loaded(folder, job, "fp32"), load_tokenization(folder)
    turn, numbers, texts = words.turn(job.settings.template), np.zeros(TOKENS), []
    for done, question in enumerate(QUESTIONS):
        job.progress(done, len(QUESTIONS), "questions")
        asked = words.asked(turn, question, TOKENS)
        drawn = answer(model, Row(asked, numbers), ends=frozenset(), filler=words.end, temperature=0.0, top_p=1.0)
        texts.append((*asked, *drawn.tokens))
    return texts, _logits(model, texts)


def _loaded(folder: Path, job: Job, precision: str) -> Any:
    return load_model(folder, **{**job.numerics.loading, "precision": precision})


@torch.inference_mode()
def _logits(model: Any, texts: Sequence[Sequence[int]]) -> torch.Tensor:
    """[answers' tokens, vocabulary], of the place before each."""
    read = (model(input_ids=torch.tensor([text], device=model.device)).logits[0, -TOKENS - 1 : -1] for text in texts)
    return torch.cat([logits.float().cpu() for logits in read])
