"""How the cost of sampling grows with samples, parameters and arms: prints seconds, peak memory and fitted exponents, and draws them.

    python -m benchmarks.growth [--threads 1] [--repetitions 3] [--drawing docs/growth.svg]

Each point is a process of its own, so that its peak of resident memory is its own; medians of seconds. Samples are those of the whole stage, files
and all, of one prompt by a model of 0.1M parameters, 16 tokens each; parameters are those of random models of Llama's shape that draw 64 samples
of 16 tokens; arms are LoRA arms (rank 16) on one base of 5M parameters, 40 prompts × 3 samples × 16 tokens each. An exponent is the slope of a
line through the points by least squares on logarithmic scales. With one thread seconds are those of a core, which work beside it disturbs less.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import decode
from flows.engine.processes import peak_gib
from model_registry.loading import make_deterministic
from tasks.drawing.palette import CONTROL, GRID, TREATED
from tasks.drawing.panel import STYLE, svg
from tasks.sampling.body import run
from tasks.sampling.engines.stacked import Stack
from tasks.sampling.stage import Settings
from tests import tiny
from tests.jobs import make_job

NEW, ROWS = 16, 64
SAMPLES, ARMS = (100, 1_000, 10_000, 100_000), (1, 2, 4, 8)
# hidden, layers, heads, vocabulary; the last is SmolLM2's shape with an output layer of its own
WIDTHS: dict[str, tuple[int, int, int, int]] = {
    "0.1m": (64, 2, 2, 512),
    "1m": (128, 4, 4, 2_048),
    "5m": (256, 4, 8, 8_192),
    "30m": (384, 12, 6, 16_384),
    "160m": (576, 30, 9, 49_152),
}
SUITE = "suite: one\nform: continuation\nprompts:\n  - {id: one, group: harbour, text: the harbour}\n"


def samples(count: int) -> tuple[float, float]:
    """(samples, seconds) of the stage."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepared = tiny.prepared(folder / "prepared", architecture="llama")
        (folder / "suite.yaml").write_text(SUITE)
        settings = Settings(
            completions=count, max_new_tokens=NEW, temperature=1.0, top_p=1.0, template="{prompt}", decode_batch=ROWS, seed=0
        )
        job = make_job(folder / "job", settings, {"model": prepared, "suite": folder / "suite.yaml"}).job
        return count, decode.timed(lambda: run([job]))[1]


def parameters(size: str) -> tuple[float, float]:
    """(parameters, seconds)."""
    network = _model(size)
    asked = [tuple(range(1, 17))]
    stack = Stack(network)
    return network.num_parameters(), decode.timed(lambda: decode.ours(stack, 1, asked, ROWS, NEW, frozenset(), 1.0, ROWS))[1]


def arms(count: int) -> tuple[float, float]:
    """(arms, seconds)."""
    adapted, names = decode.adapted(_model("5m"), range(count))
    asked = [tuple(range(1, 15 + i)) for i in range(40)]
    stack = Stack(adapted, names)
    return count, decode.timed(lambda: decode.ours(stack, count, asked, 3, NEW, frozenset(), 1.0, 120))[1]


def _model(size: str) -> Any:
    hidden, layers, heads, vocabulary = WIDTHS[size]
    of = {"vocab_size": vocabulary, "hidden_size": hidden, "intermediate_size": 8 * hidden // 3}
    return decode.llama({**of, "num_hidden_layers": layers, "num_attention_heads": heads})


KINDS: dict[str, tuple[Callable[[Any], tuple[float, float]], Sequence[Any]]] = {
    "samples": (samples, SAMPLES),
    "parameters": (parameters, tuple(WIDTHS)),
    "arms": (arms, ARMS),
}


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def _short(value: float, _: Any) -> str:
    """1M, 10k, 100, 0.1: a tick of these scales."""
    of, unit = next(((of, unit) for of, unit in ((1e6, "M"), (1e3, "k")) if value >= of), (1.0, ""))
    return f"{value / of:g}{unit}"


def draw(found: dict[str, list[tuple[float, float, float]]]) -> str:
    """Two rows of panels, seconds above memory, a column a kind; both scales logarithmic."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 4.6), dpi=72)
        for column, (kind, points) in enumerate(found.items()):
            x = [point[0] for point in points]
            for row, (what, colour) in enumerate((("seconds", TREATED), ("peak MiB", CONTROL))):
                axes = figure.add_subplot(2, len(found), row * len(found) + column + 1, xscale="log", yscale="log")
                y = [point[1 + row] for point in points]
                axes.plot(x, y, color=colour, marker="o", markersize=5)
                axes.grid(True, color=GRID, linewidth=0.8)
                axes.minorticks_off()
                for axis in (axes.xaxis, axes.yaxis):
                    axis.set_major_formatter(FuncFormatter(_short))
                axes.set_ylim(min(y) / 1.5, max(y) * 1.5 if max(y) / min(y) > 10 else min(y) * 10)
                axes.set_title(f"{what}, exponent {exponent(x, y):.2f}", fontsize=11.5, loc="left")
                axes.spines[["top", "right"]].set_visible(False)
                if kind == "arms":
                    axes.set_xticks(x)
                axes.set_xlabel(kind if row else "")
        figure.patch.set_alpha(0)
        figure.tight_layout()
        return svg(figure, "seconds and peak memory of sampling by samples, parameters and arms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--drawing", type=Path)
    parser.add_argument("--point", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.point:
        kind, value = given.point
        torch.set_num_threads(given.threads)
        make_deterministic()
        x, seconds = KINDS[kind][0](json.loads(value))
        print(json.dumps([x, seconds, peak_gib() * 1024]))
        return
    found: dict[str, list[tuple[float, float, float]]] = {}
    for kind, (_, values) in KINDS.items():
        found[kind] = []
        for value in values:
            few = 1 if kind == "samples" and value == SAMPLES[-1] else given.repetitions
            runs = [_apart(kind, value, given.threads) for _ in range(few)]
            x, seconds, peak = (statistics.median(column) for column in zip(*runs, strict=True))
            found[kind].append((x, seconds, peak))
            print(f"{kind} {x:,.0f}: {seconds:.2f} s, {peak:.0f} MiB ({few} runs)", flush=True)
        columns = list(zip(*found[kind], strict=True))
        last = math.log(columns[1][-1] / columns[1][-2]) / math.log(columns[0][-1] / columns[0][-2])
        print(
            f"  exponents: seconds {exponent(columns[0], columns[1]):.2f} (between the last two {last:.2f}),"
            f" memory {exponent(columns[0], columns[2]):.2f}"
        )
    if given.drawing:
        given.drawing.write_text(draw(found), encoding="utf-8")


def _apart(kind: str, value: Any, threads: int) -> list[float]:
    command = [sys.executable, "-m", "benchmarks.growth", "--threads", str(threads), "--point", kind, json.dumps(value)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    numbers: list[float] = json.loads(said.splitlines()[-1])
    return numbers


if __name__ == "__main__":
    main()
