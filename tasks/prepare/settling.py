"""What an experiment leaves open of a model's numerics: whether it may be run in bf16, and how many rows are decoded at once.

Rounding to bf16 keeps 8 bits of a number. Most models bear it; one with logits that are large beside their differences, or with weights that cancel
out, does not. The model continues a few questions greedily in fp32; in bf16 it reads the same tokens, so that one other token early on does not
make all that follow it others.

Rows are as many as memory allows for the keys and values of the longest row that is to be expected, of one arm, and the numbers of a draw.
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
from tasks.contract import AUTO, NUMERICS_FILE, Job, read_json, write_json
from tasks.prepare.stage import FEWEST_FOR_BF16, MODEL_FILE, SETTLED, SettlingSettings, settled_told
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

FEWEST, MOST = (
    8,
    {"cpu": 128, "cuda": 512},
)  # rows; of 40, 60 and 120 on two cores 120 were fastest, more were not tried, and no GPU
SEEN = 8  # tokens that are read to see what one takes
ASKED = 128  # tokens of a prompt that are expected
SHARE = 0.25  # of the memory beside the weights: arms are decoded together, and other stages run
DRAW = 12  # bytes of a row for each word of the vocabulary: logits, probabilities and their order


def run(jobs: Sequence[Job]) -> None:
    """Write `numerics.json`, the precision to run the model in and the rows to decode at once, and `settled.json`, also what they were found by.

    Raises:
        ValueError: the model cannot be used, or cannot read a question and 25 tokens more.
    """
    make_deterministic()
    for job in jobs:
        settings: SettlingSettings = job.settings
        chosen: dict[str, Any] = {"precision": settings.precision, "decode_batch": settings.decode_batch}
        seen: dict[str, Any] = {}
        if settings.precision == AUTO:
            seen = _seen(job)
            chosen["precision"] = "fp32" if "because" in seen else "bf16"
        if settings.decode_batch == AUTO:
            chosen["decode_batch"] = rows_at_once(job, chosen["precision"])
        job.say(settled_told({**seen, **chosen}))
        write_json(job.work / NUMERICS_FILE, chosen)
        write_json(job.work / SETTLED, {**seen, **chosen})
        job.commit()


def _seen(job: Job) -> dict[str, Any]:
    if int(read_json(job.inputs["model"] / MODEL_FILE)["params"]) < FEWEST_FOR_BF16:
        return {"because": f"bf16 is looked at from {FEWEST_FOR_BF16:,} parameters on"}
    return compared(job)


# ---- precision ----------------------------------------------------------------------------------------------------------------------


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


# ---- rows ---------------------------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def rows_at_once(job: Job, precision: str) -> int:
    """A power of two. What a token takes is seen on the model at hand: the bytes that it keeps of a few."""
    folder = prepared_folder(job.inputs["model"])
    model, tokens = _loaded(folder, job, precision), [load_tokenization(folder).end] * SEEN
    out = model(input_ids=torch.tensor([tokens], device=model.device), use_cache=True)
    layers = getattr(getattr(out, "past_key_values", None), "layers", ())
    held = [one for layer in layers for one in (getattr(layer, "keys", None), getattr(layer, "values", None)) if one is not None]
    a_token = sum(one.nbytes for one in held) / SEEN
    weights = sum(weight.nbytes for weight in model.parameters())
    row = (ASKED + job.settings.new) * a_token + DRAW * out.logits.shape[-1]
    return fitting(_memory(job) - weights, row, MOST[model.device.type])


def fitting(memory: float, row: float, most: int) -> int:
    """The largest power of two of rows, from `FEWEST` to `most`, that takes at most its share of so many bytes."""
    rows = FEWEST
    while 2 * rows <= most and 2 * rows * row <= SHARE * memory:
        rows *= 2
    return rows


def _memory(job: Job) -> float:
    if job.numerics.device == "cuda":
        return float(torch.cuda.mem_get_info()[1])
    return float(job.settings.memory_gib) * 2**30
