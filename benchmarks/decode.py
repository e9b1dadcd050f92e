"""Tokens a second of the sampler against transformers' `generate`, interleaved in one run; prints medians and their ratio.

    python -m benchmarks.decode [repetitions]

Random weights of a calibration rung's shape, one thread, fp32, equal prompts of 12 tokens, no end token, so that both do equal work.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from tasks.sampling.engines.decode import Row, decode
from tasks.sampling.streams import uniforms

BATCH, PROMPT, NEW = 64, 12, 50


def model() -> GPTNeoXForCausalLM:
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=408,
        hidden_size=160,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=640,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        attn_implementation="eager",
    )
    return GPTNeoXForCausalLM(config).eval()


def ours(network: GPTNeoXForCausalLM, top_p: float) -> None:
    rows = [Row([5] * PROMPT, uniforms(0, "prompt", i, NEW)) for i in range(BATCH)]
    decode(network, rows, shape=BATCH, prefill=PROMPT, ends=frozenset(), filler=0, temperature=1.0, top_p=top_p)


def theirs(network: GPTNeoXForCausalLM, top_p: float) -> None:
    prompts = torch.full((BATCH, PROMPT), 5)
    options = {"do_sample": True, "top_k": 0, "top_p": top_p, "min_new_tokens": NEW, "max_new_tokens": NEW, "pad_token_id": 0}
    network.generate(prompts, attention_mask=torch.ones_like(prompts), **options)


def rate(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return BATCH * NEW / (time.perf_counter() - began)


def main(repetitions: int) -> None:
    torch.set_num_threads(1)
    network = model()
    for top_p in (1.0, 0.9):
        pairs = [
            (rate(lambda p=top_p: ours(network, p)), rate(lambda p=top_p: theirs(network, p))) for _ in range(repetitions + 1)
        ][1:]
        mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        print(
            f"top_p {top_p}: sampler {mine:,.0f} tokens/s, generate {other:,.0f} tokens/s, ratio {ratio:.2f} ({repetitions} pairs)"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
