"""How much raters agree so far, in a line: what can be told while ratings come in, without telling arms apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.ratings.kept import Rated
from tasks.statistics.raters import krippendorff_alpha


def said(ratings: Sequence[Rated]) -> str:
    """Krippendorff's ordinal alpha over the items that at least two raters rated, whatever arm they are of. Arms that differ raise it."""
    held = [one for one in ratings if one.rating is not None]
    items = {item: at for at, item in enumerate(sorted({one.item for one in held}))}
    raters = {rater: at for at, rater in enumerate(sorted({one.rater for one in held}))}
    table = np.full((len(items), len(raters)), np.nan)
    prompts = {one.item: one.block for one in held}
    for one in held:
        table[items[one.item], raters[one.rater]] = float(one.rating or np.nan)
    try:
        alpha = krippendorff_alpha(table, [prompts[item] for item in items])
    except ValueError:
        return "agreement: not enough was rated by two people yet"
    return f"agreement so far: Krippendorff's alpha {alpha.value:.2f} (ordinal), over {len(items)} texts of all arms together"
