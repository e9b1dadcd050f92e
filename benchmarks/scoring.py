"""Texts a second of the scorer against `Detoxify.predict` in chunks of 32, interleaved in one run; prints medians and their ratio.

    python -m benchmarks.scoring [texts] [repetitions] [threads]

A `detoxify.Detoxify` over random weights of its `original` model's shape (BERT base, 110 million parameters), fp32 on both sides. Texts are
words by their frequency in English, none twice, of two kinds: answers as a model gives them that may stop where it likes (log-normal, a
median of 25 words, at most 180), and continuations that are cut at 20 tokens, of which nearly all are as long as that. How much of a chunk
is padding bounds what sorting can save, so it is printed. Of 5,000 texts on two cores Detoxify takes ten minutes, so a repetition takes every
twentieth of the scorer's batches and every twentieth chunk, other ones each time, and its seconds are multiplied by how many there are.
The floor: 2 operations a weight of the encoder and a token, at what this machine's matrix products reach.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BertConfig

from model_registry.scorers import load_scorer
from tasks.scoring import TYPICAL, Scorer, batches_of
from tests import tiny_scorers

CHUNK, BATCH = 32, 32
EVERY = 20  # batch or chunk
LONGEST = 180  # words


def detoxify(folder: Path, words: Sequence[str]) -> Any:
    """One whose scores differ by text and whose rounding stays small: first weights in the encoder, a wide classifier."""
    bert = folder / "bert"
    bert.mkdir()
    (bert / "vocab.txt").write_text("\n".join([*tiny_scorers.SPECIAL, *words]) + "\n", encoding="utf-8")
    BertConfig(vocab_size=len(words) + len(tiny_scorers.SPECIAL)).save_pretrained(bert)
    tiny_scorers.checkpoint(folder / "random.ckpt", bert)
    tiny_scorers.describe(folder, "random.ckpt")
    loaded = load_scorer(folder)
    with torch.no_grad():
        for weight in loaded.model.bert.parameters():
            if weight.dim() > 1:
                weight.div_(20)  # which `tiny_scorers` multiplied it by
    return loaded


def some_texts(words: Sequence[str], odds: np.ndarray, kind: str, count: int) -> list[str]:
    rng = np.random.default_rng(0)
    if kind == "answers":
        lengths = np.clip(rng.lognormal(np.log(25), 0.8, count), 1, LONGEST).astype(int)
    else:
        lengths = np.where(rng.random(count) < 0.9, 20, rng.integers(1, 20, count))
    return [" ".join(rng.choice(words, length, p=odds)) for length in lengths]


def in_chunks(loaded: Any, chunks: Sequence[list[str]]) -> list[float]:
    found: list[float] = []
    for chunk in chunks:
        scores = loaded.predict(chunk)["toxicity"]
        found += scores if isinstance(scores, list) else [scores]
    return found


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def floor(loaded: Any, tokens: int) -> tuple[float, float]:
    """Seconds that the encoder's products take at this machine's speed, and that speed in GFLOP/s."""
    left, right = torch.randn(1024, 768), torch.randn(3072, 768)
    fastest = min(seconds(lambda: torch.nn.functional.linear(left, right)) for _ in range(20))
    speed = 2 * 1024 * 768 * 3072 / fastest
    weights = sum(weight.numel() for weight in loaded.model.bert.encoder.parameters() if weight.dim() > 1)
    return 2 * weights * tokens / speed, speed / 1e9


def compare(loaded: Any, texts: Sequence[str], kind: str, repetitions: int) -> None:
    scorer = Scorer(loaded)
    lengths = [len(found) for found in loaded.tokenizer(list(texts))["input_ids"]]
    parts = [lengths[start : start + CHUNK] for start in range(0, len(texts), CHUNK)]
    padded = sum(len(part) * max(part) for part in parts)
    order = sorted(range(len(texts)), key=lambda at: (lengths[at], texts[at]))
    batches = [[texts[at] for at in order[i:j]] for i, j in batches_of([lengths[at] for at in order], BATCH * TYPICAL)]
    chunks = [list(texts[start : start + CHUNK]) for start in range(0, len(texts), CHUNK)]
    some = [text for chunk in chunks[:2] for text in chunk]
    both = zip(scorer.score(some, BATCH).column("toxicity"), in_chunks(loaded, chunks[:2]), strict=True)
    difference = max(abs(own - other) for own, other in both)
    pairs = []
    for turn in range(repetitions):
        own, other = batches[turn % EVERY :: EVERY], chunks[turn % EVERY :: EVERY]
        took = seconds(lambda own=own: [scorer.score(batch, BATCH) for batch in own]) / len(own) * len(batches)
        pairs.append((took, seconds(lambda other=other: in_chunks(loaded, other)) / len(other) * len(chunks)))
    mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = sorted(other / own for own, other in pairs)
    least, speed = floor(loaded, sum(lengths))
    print(
        f"{kind}: {len(texts)} texts of {np.mean(lengths):.0f} tokens (median {np.median(lengths):.0f}, longest {max(lengths)}); a chunk of "
        f"{CHUNK} holds {padded / sum(lengths):.2f} × its tokens\n"
        f"  scorer {len(texts) / mine:.1f} texts/s, Detoxify {len(texts) / theirs:.1f}, ratio {statistics.median(ratios):.2f} "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f}, {repetitions} pairs); floor {len(texts) / least:.1f} texts/s at {speed:.0f} GFLOP/s, "
        f"{least / mine:.0%} of it reached; greatest difference {difference:.1e}",
        flush=True,
    )


def main(count: int, repetitions: int, threads: int) -> None:
    from textblob.en import spelling

    torch.set_num_threads(threads)
    counts = {word: number for word, number in dict(spelling.items()).items() if word.isalpha() and word == word.lower()}
    words, odds = list(counts), np.array(list(counts.values()), dtype=float)
    with tempfile.TemporaryDirectory() as folder:
        loaded = detoxify(Path(folder), words)
        for kind in ("answers", "continuations"):
            compare(loaded, some_texts(words, odds / odds.sum(), kind, count), kind, repetitions)


if __name__ == "__main__":
    given = [int(one) for one in sys.argv[1:]]
    main(*(given + [5000, 5, 2][len(given) :]))
