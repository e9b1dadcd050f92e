"""How far two arms lie apart, paired by prompt, and whether that could be chance."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tasks.statistics.checks import numbers
from tasks.statistics.interval import Interval, t_interval
from tasks.statistics.strata import Labels, Strata

_CELLS = 2**19  # signs held at once
_TIE = 1e-9  # flips whose statistic differs from the observed one by rounding alone are ties


def paired_difference(differences: ArrayLike, strata: Labels, *, level: float = 0.95) -> Interval:
    """Stratified t interval of the mean difference between two arms.

    differences [prompts]: a prompt's mean in one arm minus its mean in the other, in the unit of the score; strata [prompts].
    Equal-weight strata mean ± t(prompts − strata)·√(Σ_h s²_h Σ w²) (Cochran 1977, chapter 5; pairing and clustering by
    prompt: Miller 2024). Strata of one prompt are collapsed (see `Strata`). In a single category of five prompts it is
    descriptive. Differences without any spread give value = low = high and a `method` that starts with `DEGENERATE`.
    Raises ValueError for bad input or a single prompt.
    """
    paired = numbers("differences", differences)
    design = Strata.of(strata, paired.size)
    value, variance = design.mean(paired), design.variance(paired)
    return t_interval(value, variance, design.df, paired.size, design.name("t on prompt differences"), level)


def sign_flip(differences: ArrayLike, strata: Labels, *, draws: int = 9999, seed: int = 0) -> float:
    """Two-sided p of no difference between the arms: a stratified, studentised sign-flip test.

    differences [prompts] and strata [prompts] as in `paired_difference`. If the arms do not differ, a prompt's difference is
    as likely as its negative; the statistic is the stratified |t|, formed anew for every draw of signs, and
    p = (b + 1)/(draws + 1) with b draws at least as large as the observed one, ties counted (Phipson & Smyth 2010). Where there are
    fewer patterns of signs than draws, below 14 prompts at 9,999, each is taken once and p is their exact share: it cannot fall
    below 2/2ⁿ, and five prompts never reach 0.05. All-zero differences give p = 1.
    Raises ValueError for bad input, a single prompt, or no draws.
    """
    paired = numbers("differences", differences)
    design = Strata.of(strata, paired.size)
    if draws < 1:
        raise ValueError(f"draws: expected at least 1, got {draws}")
    largest = np.max(np.abs(paired))
    if largest == 0:
        return 1.0
    paired = paired / largest
    # Signs enter through sums alone (a flip leaves every square as it is), so one product of matrices holds all that t needs.
    columns = np.zeros((paired.size, 1 + len(design.groups)))
    columns[:, 0] = design.weights * paired
    for number, group in enumerate(design.groups, start=1):
        columns[group, number] = paired[group]
    sizes = np.array([group.size for group in design.groups])
    squares = np.array([np.sum(paired[group] ** 2) for group in design.groups])
    factors = np.array([design.squares(group) for group in design.groups]) / (sizes - 1)

    def statistic(signs: np.ndarray) -> np.ndarray:
        sums = signs @ columns
        signal = sums[:, 0] ** 2
        noise = np.maximum(squares - sums[:, 1:] ** 2 / sizes, 0.0) @ factors
        total = signal + noise
        # signal/(signal + noise) orders draws as |t| does, and stays finite where a draw has no spread
        return np.divide(signal, total, out=np.zeros_like(signal), where=total > 0)

    observed = statistic(np.ones((1, paired.size)))[0]
    if 2**paired.size <= draws:
        patterns = np.arange(2**paired.size)[:, None] >> np.arange(paired.size) & 1
        return float(np.mean(statistic(2.0 * patterns - 1.0) >= observed - _TIE))
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS // paired.size)
    extreme = 0
    for start in range(0, draws, step):
        heads = rng.integers(2, size=(min(step, draws - start), paired.size), dtype=np.int8)
        extreme += int(np.count_nonzero(statistic(2.0 * heads - 1.0) >= observed - _TIE))
    return (extreme + 1) / (draws + 1)
