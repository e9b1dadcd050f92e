"""How outcomes go over the sizes of a ladder: a slope per tenfold parameters, with two intervals that answer two questions.

The prompt slope speaks of these trained models (prompts are resampled in thought, the models stay); the size slope is least squares
over the sizes' means with K − 2 degrees of freedom and speaks of model sizes. Only the second may say "rises with size", and only
from four sizes on: where runs vary, tests of the prompt slope raise false alarms.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from configs.contrasts import Contrast
from tasks.compare.contrasts import SEEDS_CROSSED, outcome_family
from tasks.compare.pairing import pairs
from tasks.compare.summary import ALL_SEEDS
from tasks.compare.upstream import Sources
from tasks.statistics import Interval, prompt_slope, rises_with_size, size_slope
from tasks.statistics.strata import Strata

SIZES_FOR_SLOPE = 3  # two sizes leave a least-squares line no degree of freedom


@dataclass(frozen=True)
class Trend:
    """Slope of one arm's level, or of one contrast's difference, per tenfold parameters."""

    ladder: str
    arm: str | Contrast
    train_samples: int | None
    seed: int | str | None
    suite: str
    metric: str
    sizes: int
    prompts: Interval
    over_sizes: Interval | None
    rises: bool | None
    points: tuple[tuple[str, int, float], ...]  # (size, parameters, mean)

    @property
    def verdict(self) -> str:
        if self.rises is None:
            return f"no claim from {self.sizes} sizes"
        return "rises with size" if self.rises else "not shown to rise with size"


def over_sizes(sources: Sources, settings: Any) -> list[Trend]:
    """Trends of the outcomes, each arm's level and each difference, over all sizes whose parameters are known."""
    runs: dict[tuple[Any, ...], dict[tuple[str, int | None], tuple[list[str], list[str], np.ndarray]]] = defaultdict(dict)
    for pair in pairs(sources, settings.arms.contrasts):
        axes = pair.axes
        if not outcome_family(pair.metric, axes.suite or "", settings) or sources.params(axes.ladder, axes.size) is None:
            continue
        ids, treated, reference = pair.values()
        groups = [pair.group_of()[i].group for i in ids]
        for node, arm, values in (
            (pair.reference, pair.reference.axes.arm, reference),
            (pair.treated, axes.arm, treated),
            (pair.treated, pair.contrast, treated - reference),
        ):
            where = (axes.ladder, arm, node.axes.train_samples, axes.suite, pair.metric)
            runs[where][axes.size or "", node.axes.seed] = (ids, groups, values)
    return [trend for where, cells in runs.items() for trend in _trends(where, cells, sources)]


def _trends(
    where: tuple[Any, ...], cells: Mapping[tuple[str, int | None], tuple[list[str], list[str], np.ndarray]], sources: Sources
) -> list[Trend]:
    """One trend a training seed; from three seeds that stand at every size, one over the seeds' means."""
    ladder = where[0]
    by_seed: dict[int | None, list[str]] = defaultdict(list)
    for size in sources.sizes[ladder]:
        for held, seed in cells:
            if held == size:
                by_seed[seed].append(size)
    every = [size for size in sources.sizes[ladder] if all(size in held for held in by_seed.values())]
    if len(by_seed) >= SEEDS_CROSSED and len(every) > 1:
        means = {size: np.mean([cells[size, seed][2] for seed in by_seed], axis=0) for size in every}
        first = next(iter(by_seed))
        return [_trend(where, ALL_SEEDS, every, means, cells[every[0], first], sources)]
    return [
        _trend(where, seed, held, {size: cells[size, seed][2] for size in held}, cells[held[0], seed], sources)
        for seed, held in by_seed.items()
        if len(held) > 1
    ]


def _trend(
    where: tuple[Any, ...],
    seed: int | str | None,
    sizes: Sequence[str],
    values: Mapping[str, np.ndarray],
    table: tuple[list[str], list[str], np.ndarray],
    sources: Sources,
) -> Trend:
    ladder, arm, train_samples, suite, metric = where
    params = [sources.params(ladder, size) or 0 for size in sizes]
    x = np.log10(params)
    strata = table[1]
    matrix = np.stack([values[size] for size in sizes])
    means = matrix @ Strata.of(strata, matrix.shape[1]).weights
    slope = size_slope(means, x) if len(sizes) >= SIZES_FOR_SLOPE else None
    return Trend(
        ladder,
        arm,
        train_samples,
        seed,
        suite,
        metric,
        len(sizes),
        prompt_slope(matrix, x, strata),
        slope,
        None if slope is None else rises_with_size(slope, len(sizes)),
        tuple(zip(sizes, params, (float(mean) for mean in means), strict=True)),
    )
