"""What no success at all says of a rate: two limits, by how completions of one prompt hang together, which no success can tell."""

from __future__ import annotations

from tasks.statistics.checks import share


def no_success(prompts: int, completions: int, *, level: float = 0.95) -> tuple[float, float]:
    """Upper limits of a rate of which nothing was seen, as shares: if completions are independent, and if those of a prompt stand or
    fall together.

    prompts, completions: how many in all, completions counted over all prompts. Clopper-Pearson with no success among n:
    1 − (α/2)^(1/n), the upper end of the two-sided interval at `level`; the second is the limit of `rate_level`. For one success the
    data show how far completions cluster, so that its limit may lie below the second of these.
    Raises ValueError for counts below 1, or fewer completions than prompts.
    """
    if not 1 <= prompts <= completions:
        raise ValueError(f"completions: expected at least as many as prompts, and one prompt, got {completions} of {prompts}")
    tail = (1 - share("level", level)) / 2
    independent, together = (1 - tail ** (1 / count) for count in (completions, prompts))
    return independent, together
