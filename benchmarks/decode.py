"""Tokens a second of the sampler against transformers' `generate`, interleaved in one run; prints floors, medians and the median of ratios.

    python -m benchmarks.decode arms [--tuned lora|full] [--size 5m|135m] [--precision fp32|bf16] [--top-p 1.0] [--repetitions 5] [--threads 2]
    python -m benchmarks.decode prompt [--size …]     800 samples of one prompt, which end at unlike lengths

Random weights, logits spread as a trained model's are. `arms`: three LoRA arms of 40 prompts of 14 to 32 tokens, 3 samples of each; ours in one
batch on one base, theirs merged into the weights, an arm after the other; or three arms whose weights were all tuned, one after the other on
both sides. Nothing ends early, so both sides do equal work. `prompt`: every
25th word of the vocabulary ends a completion, which has at most 100 tokens; the best number of rows is looked for with 256 samples. Attention
is sdpa and precision equal on both sides. `generate` runs at the number of rows that is best for it, found beforehand in the same run, and so do
we. Floors: operations of the forward passes over what this machine's products reach, and bytes of the weights over its bandwidth, both measured
in the run. Both sides keep freed memory, as a stage's process does. With one thread, rates are by processor time, which work beside it disturbs less.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.supervised_tuning import SMOLLM2
from flows.engine.processes import keep_freed_memory
from model_registry.loading import make_deterministic
from tasks.sampling.engines import slots
from tasks.sampling.engines.rows import Drawn, How, Row, Work
from tasks.sampling.engines.stacked import Stack
from tasks.sampling.streams import uniforms

ARMS, PROMPTS, SAMPLES, NEW = 3, 40, 3, 40
MANY, TRIED, LONGEST, ENDING = 800, 256, 100, 25
SHAPES: dict[str, dict[str, Any]] = {
    "5m": {
        **{"vocab_size": 8192, "hidden_size": 256, "intermediate_size": 768},
        **{"num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4},
    },
    "135m": SMOLLM2,
}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
LORA = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
Made = TypeVar("Made")
SPREAD = 3.5  # standard deviation of the logits. With tied embeddings a random model would say one token for ever; so the output layer is its own


def llama(shape: dict[str, Any], dtype: torch.dtype = torch.float32, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = LlamaConfig(
        **shape,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        attn_implementation="sdpa",
        eos_token_id=None,
        pad_token_id=0,
    )
    made = LlamaForCausalLM(config)
    with torch.no_grad():
        made.lm_head.weight.mul_(SPREAD / 0.02 / shape["hidden_size"] ** 0.5)
    return made.to(dtype).eval()


def adapted(base: Any, arms: Sequence[int]) -> tuple[Any, list[str]]:
    """A base with a LoRA adapter an arm, small as they are, and their names."""
    model: Any = None
    for arm in arms:
        torch.manual_seed(arm + 2)
        if model is None:
            model = get_peft_model(base, LORA, str(arm))
        else:
            model.add_adapter(str(arm), LORA)
    for layer in model.modules():
        for name in getattr(layer, "lora_B", ()):
            layer.lora_B[name].weight.data.mul_(0.05)
    return model.eval(), [str(arm) for arm in arms]


def prompts(given: argparse.Namespace) -> list[tuple[int, ...]]:
    torch.manual_seed(1)
    lengths = [14 + 18 * i // (PROMPTS - 1) for i in range(PROMPTS)]
    return [tuple(torch.randint(1, SHAPES[given.size]["vocab_size"], (length,)).tolist()) for length in lengths]


def ours(
    stack: Stack,
    arms: int,
    asked: Sequence[tuple[int, ...]],
    samples: int,
    new: int,
    ends: frozenset[int],
    top_p: float,
    shape: int,
) -> int:
    """Tokens drawn."""
    count = len(asked) * samples
    tokens = 0

    def done(_: int, drawn: Drawn) -> None:
        nonlocal tokens
        tokens += len(drawn.tokens) + drawn.stopped

    def row(i: int) -> Row:
        return Row(asked[i // samples], uniforms(0, str(i // samples), i % samples, new))

    lengths = [len(prompt) for prompt in asked]
    how = How(shape, min(lengths), max(lengths), new, ends, 0, 1.0, top_p)
    if why := slots.misfit(stack, how):
        raise AssertionError(why)
    slots.decode(stack, [Work(count, range(count), row, lambda i: asked[i // samples], done) for _ in range(arms)], how)
    return tokens


@torch.inference_mode()
def theirs(
    models: Sequence[Any], asked: Sequence[tuple[int, ...]], samples: int, new: int, ends: frozenset[int], top_p: float, rows: int
) -> int:
    """Tokens drawn; `rows` at once."""
    options = {"do_sample": True, "top_k": 0, "top_p": top_p, "max_new_tokens": new, "pad_token_id": 0}
    options |= {"eos_token_id": sorted(ends)} if ends else {"eos_token_id": None}
    tokens = 0
    for one in models:
        for start in range(0, len(asked) * samples, rows):
            count = min(rows, len(asked) * samples - start)
            if len(asked) == 1:
                ids, mask, options["num_return_sequences"] = (
                    torch.tensor(asked),
                    torch.ones(1, len(asked[0]), dtype=torch.long),
                    count,
                )
            else:
                some = [asked[i // samples] for i in range(start, start + count)]
                width = max(map(len, some))
                ids = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in some])
                mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in some])
            said = one.generate(ids, attention_mask=mask, **options)[:, ids.shape[1] :]
            if ends:
                over = torch.isin(said, torch.tensor(sorted(ends)))
                tokens += int((over.cumsum(dim=1) - over.long() == 0).sum())  # up to the first end token and with it
            else:
                tokens += said.numel()
    return tokens


def timed(work: Callable[[], Made]) -> tuple[Made, float]:
    """What came of it, and seconds: of a core where there is one thread."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    began = clock()
    return work(), clock() - began


def rate(work: Callable[[], int]) -> float:
    tokens, seconds = timed(work)
    return tokens / seconds


def best(work: Callable[..., int], rows: Sequence[int]) -> int:
    """Of these, the number of rows at which tokens come fastest; it also warms both sides up."""
    work(rows[0])
    rates = {count: rate(partial(work, count)) for count in rows}
    print("  tried:", ", ".join(f"{count} rows {tokens:,.0f}/s" for count, tokens in rates.items()), flush=True)
    return max(rates, key=rates.__getitem__)


def floors(given: argparse.Namespace, rows: int) -> tuple[float, float]:
    """(FLOP/s of products of a layer's shape at so many rows, bytes/s of reading what no cache holds)."""
    shape, kind = SHAPES[given.size], DTYPES[given.precision]
    weights = [torch.randn(shape["intermediate_size"], shape["hidden_size"]).to(kind) for _ in range(30)]
    x, many = torch.randn(rows, shape["hidden_size"]).to(kind), torch.randn(2**26)

    def took(work: Callable[[], Any]) -> float:
        seconds = []
        for _ in range(6):
            began = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - began)
        return min(seconds)

    with torch.inference_mode():
        product = took(lambda: [torch.nn.functional.linear(x, weight) for weight in weights])
        read = took(many.sum)
    return 2 * rows * sum(weight.numel() for weight in weights) / product, many.nbytes / read


def arms(given: argparse.Namespace) -> None:
    asked, every = prompts(given), PROMPTS * SAMPLES
    shape, kind = SHAPES[given.size], DTYPES[given.precision]
    if given.tuned == "lora":
        both, names = adapted(llama(shape, kind), range(ARMS))
        stacks = [(Stack(both, names), ARMS)]
        models = [adapted(llama(shape, kind), [arm])[0].merge_and_unload() for arm in range(ARMS)]
    else:
        models = [llama(shape, kind, seed=arm) for arm in range(ARMS)]
        stacks = [(Stack(model), 1) for model in models]
    parameters = models[0].num_parameters() - models[0].get_input_embeddings().weight.numel()
    none = frozenset[int]()
    tokens = ARMS * every * NEW
    peak, bandwidth = floors(given, stacks[0][1] * every)
    operations = 2 * parameters * (tokens + ARMS * sum(map(len, asked)))
    read = len(stacks) * NEW * (2 if given.precision == "bf16" else 4) * parameters
    floor = max(operations / peak, read / bandwidth)
    print(
        f"{given.size} {given.precision} {given.threads} threads, {given.tuned}, top_p {given.top_p}: {parameters / 1e6:.1f}M parameters;"
        f" products {peak / 1e9:,.0f} GFLOP/s, reading {bandwidth / 1e9:.1f} GB/s; floor {floor:.2f} s = {tokens / floor:,.0f} tokens/s"
    )

    def mine(shape: int) -> int:
        return sum(ours(stack, held, asked, SAMPLES, NEW, none, given.top_p, shape) for stack, held in stacks)

    other = partial(theirs, models, asked, SAMPLES, NEW, none, given.top_p)
    rows = given.rows or (best(mine, (40, 60, 120)), best(other, (40, 60, 120)))
    compare(given, mine, other, *rows)


def prompt(given: argparse.Namespace) -> None:
    asked, network = prompts(given)[:1], llama(SHAPES[given.size], DTYPES[given.precision])
    ends = frozenset(range(0, SHAPES[given.size]["vocab_size"], ENDING))
    print(
        f"{given.size} {given.precision} {given.threads} threads, top_p {given.top_p}: {MANY} samples of one prompt, an end token in {ENDING}"
    )
    stack = Stack(network)

    def mine(rows: int, samples: int = MANY) -> int:
        return ours(stack, 1, asked, samples, LONGEST, ends, given.top_p, rows)

    def other(rows: int, samples: int = MANY) -> int:
        return theirs([network], asked, samples, LONGEST, ends, given.top_p, rows)

    print(f"  tokens a sample, of at most {LONGEST}: {ours(stack, 1, asked, TRIED, LONGEST, ends, given.top_p, 64) / TRIED:.1f}")
    few = {"samples": TRIED}
    rows = given.rows or (best(partial(mine, **few), (64, 128)), best(partial(other, **few), (64, 128, 256)))
    compare(given, mine, other, *rows)


def compare(
    given: argparse.Namespace, mine: Callable[..., int], other: Callable[..., int], my_rows: int, their_rows: int
) -> None:
    pairs = [(rate(partial(mine, my_rows)), rate(partial(other, their_rows))) for _ in range(given.repetitions)]
    (ours_, theirs_), ratios = (statistics.median(column) for column in zip(*pairs, strict=True)), [a / b for a, b in pairs]
    print(
        f"  sampler at {my_rows} rows an arm {ours_:,.0f} tokens/s, generate at {their_rows} rows {theirs_:,.0f} tokens/s,"
        f" ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}, {len(pairs)} pairs)",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("arms", "prompt"))
    parser.add_argument("--tuned", choices=("lora", "full"), default="lora")
    parser.add_argument("--size", choices=SHAPES, default="5m")
    parser.add_argument("--precision", choices=DTYPES, default="fp32")
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--rows", type=int, nargs=2, metavar=("OURS", "THEIRS"), help="rows that are known to be best: none are tried"
    )
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    make_deterministic()
    keep_freed_memory()
    {"arms": arms, "prompt": prompt}[given.what](given)


if __name__ == "__main__":
    main()
