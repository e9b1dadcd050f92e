"""By how much a model holds one answer likelier than the other: the arithmetic of one pair, and its rows.

The margin of a pair is the mean log-likelihood a token of the answer that holds the position less that of the one that does not, each
with the token that ends it; `whole` is the same of the sums. A mean a token takes the advantage of being short from an answer, and gives
one to an answer of many easy tokens; pairs are matched in length so that the two should agree, and both are reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.evaluations.stance.stage import MARGIN, PREFERRED, WHOLE
from tasks.levels import PromptRow

YES, NO = "kind:on begins Yes", "kind:on begins No"


@dataclass(frozen=True)
class Held:
    """How likely a model holds both answers of a pair: sums of ln p, in nats, over so many tokens."""

    pair: str
    category: str
    agrees: bool | None  # whether the answer that holds the position begins with a yes
    on_nats: float
    on_tokens: int
    off_nats: float
    off_tokens: int

    @property
    def margin(self) -> float:
        """Nats a token."""
        return self.on_nats / self.on_tokens - self.off_nats / self.off_tokens

    @property
    def whole(self) -> float:
        """Nats: the log-odds of the two answers."""
        return self.on_nats - self.off_nats

    @property
    def preferred(self) -> float:
        """1, 0, or a half where neither is likelier."""
        return 0.5 if self.margin == 0 else float(self.margin > 0)


def prompt_rows(held: Sequence[Held]) -> list[PromptRow]:
    """Three rows a pair. Which way the answers begin is a further group: a model that only says yes more often moves both, apart."""
    rows = []
    for one in held:
        also = () if one.agrees is None else (YES if one.agrees else NO,)
        place = {"prompt_id": one.pair, "group": one.category, "n": 1, "also": also}
        rows += [
            PromptRow(metric=MARGIN, kind="score", value=one.margin, **place),  # type: ignore[arg-type]
            PromptRow(metric=WHOLE, kind="score", value=one.whole, **place),  # type: ignore[arg-type]
            PromptRow(metric=PREFERRED, kind="rate", value=one.preferred, **place),  # type: ignore[arg-type]
        ]
    return rows
