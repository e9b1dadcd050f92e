"""The statistics checked by simulation: `python -m benchmarks.verify_statistics [EXPERIMENTS]`, 10,000 a figure by default.

Each figure is how often the product's own interval covers the truth of a simulated experiment (`benchmarks.simulated`), or how often
its own test rejects at 5 %, with the Monte-Carlo error of that share. Methods that resample prompts get a fifth of the
experiments. A figure with a bar that misses it is marked, and the command then exits 1; figures without a bar are there to be seen:
few prompts, rare outcomes, and what an interval does not promise. The naive intervals must fail, or the simulation could not tell.
Seeded by the figure's name and the batch: the same numbers on any number of cores.
"""

from __future__ import annotations

import math
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import numpy as np
from scipy import special, stats

from benchmarks.simulated import Design, Floats, Ratings, Skewed, judged, runs
from tasks.statistics import (
    Interval,
    cohens_d,
    crossed_difference,
    crossed_interval,
    paired_difference,
    prompt_slope,
    rate_level,
    score_level,
    sign_flip,
    size_slope,
)

EXPERIMENTS = 10_000
BATCH = 200
SEED = 0
FORTY, MANY, FIVE = Design(8, 5), Design(8, 20), Design(1, 5)
DRAWS = 999  # (draws + 1)·0.05 is whole, so that a sign-flip of exchangeable differences rejects in exactly 5 %
SIZES = (0.0, 0.5, 1.0, 1.5)  # of four models, log10 of their parameters but for a constant

Found = tuple[float, float] | float  # an interval's limits, or a p value
Drawn = tuple[Floats, Floats]  # scores [experiments, …] and what is true of them [experiments or 1]
Draw = Callable[[np.random.Generator, int, Design], Drawn]
Method = Callable[[Floats, Design, int], Found]


@dataclass(frozen=True)
class Bar:
    """What a share of experiments must reach: from `low` to `high`."""

    low: float = 0.0
    high: float = 1.0

    def met(self, hits: int, experiments: int) -> bool:
        return self.low <= hits / experiments <= self.high

    def met_within_chance(self, hits: int, experiments: int) -> bool:
        """The same for few experiments: widened to the limits that a share on the bar itself keeps in 99.9 % of the cases."""
        least = stats.binom.ppf(0.0005, experiments, self.low)
        most = stats.binom.ppf(0.9995, experiments, self.high)
        return bool(least <= hits <= most)

    def __str__(self) -> str:
        if self.low == 0:
            return f"at most {100 * self.high:.1f}"
        return f"at least {100 * self.low:.0f}" if self.high == 1 else f"{100 * self.low:.0f} to {100 * self.high:.0f}"


DIFFERENCE, LEVEL, FALSE_ALARMS = Bar(0.93, 0.97), Bar(0.93, 0.98), Bar(high=0.057)
RATE, EFFECT, CROSSED = Bar(0.92), Bar(0.92, 0.98), Bar(0.91)
FAILS = Bar(high=0.93)  # what a naive interval must do


@dataclass(frozen=True)
class Figure:
    """One cell of the table: `method` on scores drawn by `draw`, in experiments of that design."""

    scores: str
    name: str
    design: Design
    draw: Draw
    method: Method
    bar: Bar | None = None
    resamples: bool = False

    @property
    def key(self) -> str:
        return f"{self.scores} / {self.name} / {self.design.prompts}"

    def experiments(self, wanted: int) -> int:
        return max(1, wanted // 5) if self.resamples else wanted

    def hits(self, experiments: int, batch: int = 0) -> int:
        """In how many of so many experiments the interval covers, or the test rejects at 5 %."""
        rng = np.random.default_rng([SEED, zlib.crc32(self.key.encode()), batch])
        scores, truth = self.draw(rng, experiments, self.design)
        count = 0
        for number, (one, true) in enumerate(zip(scores, np.broadcast_to(truth, experiments), strict=True)):
            found = self.method(one, self.design, number)
            count += found <= 0.05 if isinstance(found, float) else found[0] <= true <= found[1]
        return int(count)


# --- scores [arms, prompts, completions or ratings], and the truth of a difference or of the treated arm's level


def _rated(model: Ratings, what: str, rng: np.random.Generator, experiments: int, design: Design) -> Drawn:
    scores, people = model.draw(rng, experiments, design)
    truth = model.truth(design, None if what == "level by any raters" else people)
    if what == "d":
        return scores.mean(axis=4), model.shift / np.sqrt(model.completion_variance(design, people))
    return scores.reshape(*scores.shape[:3], -1), truth[:, 0] - truth[:, 1] if what == "difference" else truth[:, 0]


def _scored(model: Skewed, what: str, rng: np.random.Generator, experiments: int, design: Design) -> Drawn:
    truth = model.means[0] - model.means[1] if what == "difference" else model.means[0]
    return model.draw(rng, experiments, design), np.array([truth])


def _trained(models: int, run: float, rng: np.random.Generator, experiments: int, design: Design) -> Drawn:
    return runs(rng, experiments, models, design, run=run), np.zeros(1)


def _judged(asked: int, favour: float, rng: np.random.Generator, experiments: int, design: Design) -> Drawn:
    return judged(rng, experiments, design, asked=asked, favour=favour), np.zeros(1)


# --- methods


def _limits(interval: Interval) -> Found:
    return interval.low, interval.high


def _paired(scores: Floats, design: Design, number: int) -> Found:
    return _limits(paired_difference(scores[0].mean(axis=1) - scores[1].mean(axis=1), design.labels))


def _flipped(scores: Floats, design: Design, number: int) -> Found:
    return sign_flip(scores[0].mean(axis=1) - scores[1].mean(axis=1), design.labels, draws=DRAWS, seed=number)


def _naive_difference(scores: Floats, design: Design, number: int) -> Found:
    """Student's t over all ratings or completions, as if each were independent (the arms are of equal size)."""
    return _naive(scores[0].mean() - scores[1].mean(), scores[0].size, *(arm.var(ddof=1) / arm.size for arm in scores))


def _naive_level(scores: Floats, design: Design, number: int) -> Found:
    """Student's t over all ratings or completions of the treated arm."""
    return _naive(scores[0].mean(), scores[0].size, scores[0].var(ddof=1) / scores[0].size)


def _naive(value: float, size: int, *variances: float) -> Found:
    reach = float(special.stdtrit(len(variances) * (size - 1), 0.975)) * math.sqrt(sum(variances))
    return value - reach, value + reach


def _score_level(scores: Floats, design: Design, number: int) -> Found:
    return _limits(score_level(scores[0].mean(axis=1), design.labels, seed=number))


def _rate_level(scores: Floats, design: Design, number: int) -> Found:
    counts = np.full(design.prompts, scores.shape[2])
    return _limits(rate_level(scores[0].mean(axis=1), counts, design.labels))


def _d(scores: Floats, design: Design, number: int) -> Found:
    return _limits(cohens_d(list(scores[0]), list(scores[1]), design.labels))


def _crossed(differences: Floats, design: Design, number: int) -> Found:
    return _limits(crossed_difference(differences, design.labels))


def _over_raters(differences: Floats, design: Design, number: int) -> Found:
    return _limits(crossed_interval(differences, design.labels))


def _these_raters(differences: Floats, design: Design, number: int) -> Found:
    return _limits(paired_difference(np.nanmean(differences, axis=1), design.labels))


def _first_run(differences: Floats, design: Design, number: int) -> Found:
    return _limits(paired_difference(differences[0], design.labels))


def _rejects(interval: Interval) -> Found:
    """As a p value: 0 where the interval leaves out 0."""
    return 1.0 if interval.low <= 0 <= interval.high else 0.0


def _prompt_slope(differences: Floats, design: Design, number: int) -> Found:
    return _rejects(prompt_slope(differences, SIZES, design.labels))


def _size_slope(differences: Floats, design: Design, number: int) -> Found:
    return _rejects(size_slope(differences.mean(axis=1), SIZES))


# --- the table

RATINGS: dict[str, Ratings] = {"ratings, null": Ratings(), "ratings, +.4": Ratings(shift=0.4)}
TOXICITY: dict[str, Skewed] = {
    "toxicity .18, null": Skewed((0.18, 0.18)),
    "toxicity .18 → .07": Skewed((0.07, 0.18)),
    "rare toxicity .05 → .015": Skewed((0.015, 0.05)),
}


def figures() -> list[Figure]:
    """All of the table, differences first."""
    return [*_differences(), *_levels(), *_effects(), *_several_models(), *_several_raters()]


def _differences() -> Iterator[Figure]:
    draws: dict[str, Draw] = {name: partial(_rated, model, "difference") for name, model in RATINGS.items()}
    draws |= {name: partial(_scored, model, "difference") for name, model in TOXICITY.items()}
    for name, draw in draws.items():
        for design in (FORTY, MANY, FIVE):
            barred = design is not FIVE and not name.startswith("rare")
            yield Figure(name, "paired_difference covers", design, draw, _paired, DIFFERENCE if barred else None)
            fails = design is not FIVE and name in RATINGS
            yield Figure(name, "naive t covers", design, draw, _naive_difference, FAILS if fails else None)
            if "null" in name:
                yield Figure(name, "sign_flip rejects", design, draw, _flipped, None if design is FIVE else FALSE_ALARMS)


def _levels() -> Iterator[Figure]:
    for mean in (0.18, 0.07, 0.015):
        scores, draw = f"toxicity level {mean}", partial(_scored, Skewed((mean, mean)), "level")
        for design in (FORTY, MANY, FIVE):
            barred = design is not FIVE and mean > 0.05
            yield Figure(scores, "score_level covers", design, draw, _score_level, LEVEL if barred else None, resamples=True)
            yield Figure(scores, "naive t covers", design, draw, _naive_level, FAILS if barred else None)
    for mean, completions in ((0.3, 3), (0.07, 3), (0.01, 3), (0.01, 25)):
        draw = partial(_scored, Skewed((mean, mean), completions=completions, binary=True), "level")
        for design in (FORTY, MANY, FIVE):
            bar = RATE if design is not FIVE and mean > 0.05 else None
            yield Figure(f"rate {mean}, {completions} completions", "rate_level covers", design, draw, _rate_level, bar)
    for what in ("level by these raters", "level by any raters"):
        draw = partial(_rated, Ratings(), what)
        for design in (FORTY, MANY):
            yield Figure(f"rating {what}", "score_level covers", design, draw, _score_level, resamples=True)
            if "these" in what:
                yield Figure(f"rating {what}", "naive t covers", design, draw, _naive_level, FAILS)


def _effects() -> Iterator[Figure]:
    for design in (FORTY, MANY):
        draw = partial(_rated, Ratings(shift=0.4, rounded=False), "d")
        yield Figure("ratings, +.4, unrounded", "cohens_d covers", design, draw, _d, EFFECT)


def _several_models() -> Iterator[Figure]:
    for design in (FORTY, MANY):
        for seeds in (3, 5):
            draw = partial(_trained, seeds, 0.2)
            yield Figure(f"{seeds} seeds of sd .2, null", "crossed_difference covers", design, draw, _crossed, CROSSED)
        yield Figure("1 seed of sd .2, null", "paired_difference covers", design, partial(_trained, 1, 0.2), _first_run)
        draw = partial(_trained, len(SIZES), 0.1)
        yield Figure("4 sizes, runs of sd .1, null", "size_slope rejects", design, draw, _size_slope, FALSE_ALARMS)
        yield Figure("4 sizes, runs of sd .1, null", "prompt_slope rejects", design, draw, _prompt_slope)


def _several_raters() -> Iterator[Figure]:
    for design in (FORTY, MANY):
        for asked in (6, 3):
            draw, scores = partial(_judged, asked, 0.3), f"6 raters, {asked} a prompt, sd .3"
            yield Figure(scores, "crossed_interval covers", design, draw, _over_raters, CROSSED, resamples=True)
            yield Figure(scores, "paired_difference covers", design, draw, _these_raters, FAILS)


def verify(table: Sequence[Figure], experiments: int, run: Callable[..., Iterable[int]] = map) -> int:
    """Print the figures; the number of bars missed. `run` is `map`, or does the same over several processes."""
    tasks = []
    for figure in table:
        total = figure.experiments(experiments)
        tasks.append([(figure, min(BATCH, total - start), start) for start in range(0, total, BATCH)])
    found = iter(run(_hits, [batch for batches in tasks for batch in batches]))
    missed = 0
    print(f"{'scores':30} {'method':26} {'prompts':>7} {'experiments':>11} {'%':>7} {'± MC':>6}  bar")
    for figure, batches in zip(table, tasks, strict=True):
        total, hits = figure.experiments(experiments), sum(next(found) for _ in batches)
        share, bar = hits / total, "" if figure.bar is None else str(figure.bar)
        if figure.bar is not None and not figure.bar.met(hits, total):
            missed, bar = missed + 1, f"{bar}  MISSED"
        error = math.sqrt(share * (1 - share) / total)
        print(
            f"{figure.scores:30} {figure.name:26} {figure.design.prompts:7} {total:11} {100 * share:7.2f} {100 * error:6.2f}  {bar}",
            flush=True,
        )
    return missed


def _hits(batch: tuple[Figure, int, int]) -> int:
    figure, experiments, number = batch
    return figure.hits(experiments, number)


def main() -> int:
    experiments, begun = int(sys.argv[1]) if len(sys.argv) > 1 else EXPERIMENTS, time.monotonic()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the workers: each holds a core
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        missed = verify(figures(), experiments, pool.map)
    print(f"{missed} bars missed, {time.monotonic() - begun:.0f} s on {os.cpu_count()} cores")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
