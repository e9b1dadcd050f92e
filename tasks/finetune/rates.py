"""Where a search of the learning rate may begin, by the number of parameters: measured here, and stated by others. docs/tuning.md has the trials.

No default follows from it: an arm without a rate keeps 1e-5, which keys of stored results hold. The rates that PALMS used are not known.
"""

from __future__ import annotations

from dataclasses import dataclass

ADAPTER = 10  # an adapter wants about ten times the rate that all weights want (Schulman et al. 2025, "LoRA Without Regret", at second hand)


@dataclass(frozen=True)
class Stated:
    """Of models of up to so many parameters, the rates with which all weights were tuned, from the least to the highest, and who says so."""

    params: float
    low: float
    high: float
    source: str

    def told(self, *, all_weights: bool) -> str:
        """`1e-4 to 2e-4 (ten times that of all weights, …)`."""
        times = 1 if all_weights else ADAPTER
        rates = " to ".join(dict.fromkeys(f"{times * rate:.0e}".replace("e-0", "e-") for rate in (self.low, self.high)))
        return f"{rates} ({'' if all_weights else 'ten times what tuned all weights: '}{self.source})"


STATED = (
    Stated(1e6, 1e-3, 3e-3, "measured here, calibration ladder"),
    Stated(4e8, 1e-4, 3e-4, "measured here, SmolLM2-135M by LoRA, to SmolLM's model card, 135M to 1.7B"),
    Stated(3e9, 1e-5, 3e-4, "stated, InstructGPT of 1.3B, to SmolLM's model card, 135M to 1.7B"),
    Stated(2e10, 1e-5, 2e-5, "stated, InstructGPT of 6B, to Stanford Alpaca, 7B"),
)


def stated(params: int) -> Stated | None:
    """What is known of models of about this size; None above all that is."""
    return next((one for one in STATED if params <= one.params), None)
