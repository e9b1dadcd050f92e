"""What a step of each way of tuning takes and holds: seconds a step, peak of resident memory and weights trained, by arm of an experiment.

    python -m benchmarks.methods [--experiment smollm2_methods] [--size 10m|135m] [--steps 4] [--repetitions 3] [--threads 2]

Every arm that is tuned on samples, at its own settings but for the number of steps, on a model with random weights and on random tokens, as many as
the shipped samples have; each run is a process of its own, arms in turn. The first step, which warms up, is not counted. The peak is of resident
memory, over what was held before the model was made.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from benchmarks.supervised_tuning import SHAPES, begin_peak, network, peak_mib, texts
from configs.schema import Tuned
from configs.shipped import CONFIGS
from flows.experiment import read_experiment
from tasks.finetune import methods
from tasks.finetune.stage import Settings, settings


def asked(given: argparse.Namespace) -> dict[str, Settings]:
    """By arm, how it is tuned; batches are the arm's own."""
    experiment = read_experiment(CONFIGS / "experiments" / f"{given.experiment}.yaml")
    arms = {
        name: arm
        for name, arm in experiment.arms.items()
        if isinstance(arm, Tuned) and methods.found()[arm.method].learns == "samples"
    }
    return {name: settings(arm, given.size, 80, "{prompt}", 0) for name, arm in arms.items()}


def tuned(arm: str, given: argparse.Namespace) -> dict[str, float]:
    import torch

    from model_registry.loading import make_deterministic, quiet
    from tasks.contract import Numerics
    from tasks.finetune.batches import Batches, Sample, order
    from tasks.finetune.training import train

    quiet()
    torch.set_num_threads(given.threads)
    make_deterministic()
    held = begin_peak("cpu")
    chosen = replace(asked(given)[arm], epochs=1, min_steps=given.steps)
    method = methods.found()[chosen.method]
    model = method.build(network(given.size, "sdpa", "cpu", "float32"), chosen.options)
    samples = texts(SHAPES[given.size]["vocab_size"])
    read = [Sample((*told, *said), (*[chosen.prompt_loss_weight] * len(told), *[1.0] * len(said))) for told, said in samples]
    batches = order(len(samples), chosen.batch, given.steps, seed=0)
    data = Batches(read, batches, chosen.micro_batch, filler=0, micro_tokens=chosen.micro_tokens)
    times: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        numerics = Numerics("cpu", "fp32", given.threads, "sdpa")
        train(model, data, method, chosen, numerics, Path(folder), lambda *_: times.append(time.perf_counter()))
    trained = sum(one.numel() for one in model.parameters() if one.requires_grad)
    return {
        "seconds": statistics.median(b - a for a, b in pairwise(times)),
        "peak": peak_mib("cpu") - held,
        "trained": trained,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiment", default="smollm2_methods")
    parser.add_argument("--size", choices=SHAPES, default="10m")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.arm:
        print(json.dumps(tuned(given.arm, given)))
        return
    runs: dict[str, list[dict[str, float]]] = {arm: [] for arm in asked(given)}
    for _ in range(given.repetitions):
        for arm, held in runs.items():
            command = [sys.executable, "-m", "benchmarks.methods", *sys.argv[1:], "--arm", arm]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            held.append(json.loads(done.stdout.splitlines()[-1]))
    print("| arm | weights trained | seconds a step (range) | peak memory, MiB |", "|---|---|---|---|", sep="\n")
    for arm, held in runs.items():
        seconds, (peak, trained) = (
            [one["seconds"] for one in held],
            (statistics.median(one[name] for one in held) for name in ("peak", "trained")),
        )
        print(
            f"| {arm} | {trained:,.0f} | {statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f}) | {peak:,.0f} |"
        )


if __name__ == "__main__":
    main()
