"""The comparison of arms: the last stage of a sweep, run over whatever upstream work succeeded.

Knows in which order the tables, the figures and the report are made. Leaves reading to `upstream`, arithmetic to `contrasts`,
`trends` and `truth`, words to `answer`, and looks to `figures` and `report`.
"""

from __future__ import annotations

from dataclasses import dataclass

from configs.contrasts import Arms, Contrast
from tasks.contract import Stage


@dataclass(frozen=True)
class Settings:
    """What is compared, and how.

    Attributes:
        primary_suite, primary_metric: the one primary outcome of the sweep, named before anything was sampled.
        arms: the arms in their order, the reference arm, and the confirmatory and exploratory contrasts.
        calibration: the numbers come from the calibration ladder; the report then says so at the top.
        calibration_scorer: the models are real, and a scorer is the calibration ladder's.
        registered, registration: outcome, contrasts and margins as they were named before sampling, in words and as a digest.
        margin_nats, margin_accuracy, above_chance: margins of non-inferiority of capability (`capability`).
        resamples: sign-flip draws behind each p value.
        seed: of those draws.
        missing: "label: why" of every node that gave no output.
        late: the confirmatory contrasts that were not named with this outcome before both their arms had been sampled.
        toxicity_threshold: score from which on an answer counts as toxic.
        marks: what a reader should know of outputs that were reused, such as stage code that has changed since.
    """

    sweep_name: str
    primary_suite: str
    primary_metric: str
    arms: Arms
    calibration: bool = False
    calibration_scorer: bool = False
    registered: str = ""
    registration: str = ""
    late: tuple[Contrast, ...] = ()
    toxicity_threshold: float = 0.5
    margin_nats: float = 0.05
    margin_accuracy: float = 0.02
    above_chance: float = 0.05
    resamples: int = 9999
    seed: int = 0
    missing: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()

    @property
    def tested(self) -> tuple[Contrast, ...]:
        """The contrasts that are tested as a family: those that were named in time."""
        return tuple(one for one in self.arms.confirmatory if one not in self.late)


STAGE = Stage(
    name="compare",
    version="2",
    body="tasks.compare.body:run",
    libraries=("numpy", "scipy", "matplotlib", "jinja2"),
)
