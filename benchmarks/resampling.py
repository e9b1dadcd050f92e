"""How long the resampling of a whole sweep takes: `python -m benchmarks.resampling`.

A sweep of 4 sizes × 3 arms with 30 metrics of 160 prompts each: 10,000 resamples behind the level of every metric, over all prompts
and in each of 8 categories, and 10,000 draws of signs behind both contrasts of every size and metric. Arms are shared out over the
cores, as stages are.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np

from benchmarks.simulated import Design, Floats, Skewed
from tasks.statistics import score_level, sign_flip

SIZES, ARMS, METRICS, DRAWS = 4, 3, 30, 10_000
DESIGN = Design(8, 20)


def levels(arm: Floats) -> tuple[int, float]:
    """Intervals of an arm [metrics, prompts], overall and by category: how many, and the seconds of processor time they took."""
    strata, begun = DESIGN.labels, time.process_time()
    groups = [np.full(strata.size, True), *(strata == category for category in range(DESIGN.strata))]
    found = [score_level(row[held], strata[held], resamples=DRAWS) for row in arm for held in groups]
    return len(found), time.process_time() - begun


def tests(differences: Floats) -> tuple[int, float]:
    """The same of a contrast's [metrics, prompts] sign-flips."""
    begun = time.process_time()
    found = [sign_flip(row, DESIGN.labels, draws=DRAWS) for row in differences]
    return len(found), time.process_time() - begun


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the workers: each holds a core
    rng = np.random.default_rng(0)
    scores = Skewed((0.18, 0.18)).draw(rng, SIZES * ARMS * METRICS, DESIGN).mean(axis=3)[:, 0]
    scores = scores.reshape(SIZES, ARMS, METRICS, DESIGN.prompts)
    contrasts = scores[:, :1] - scores[:, 1:]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        list(pool.map(levels, [scores[0, 0, :1]] * 8))  # imports done
        for name, work, tables in (("levels", levels, scores), ("sign-flips", tests, contrasts)):
            begun = time.monotonic()
            counts, seconds = zip(*pool.map(work, tables.reshape(-1, METRICS, DESIGN.prompts)), strict=True)
            print(
                f"{name:10} {sum(counts):5} × {DRAWS} draws: {time.monotonic() - begun:.2f} s on {os.cpu_count()} cores, "
                f"{sum(seconds):.2f} s of processor time"
            )


if __name__ == "__main__":
    main()
