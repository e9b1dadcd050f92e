"""The comparison of arms: the last stage of a sweep, run over whatever upstream work succeeded.

Knows in which order the tables, the figures and the report are made. Leaves reading to `upstream`, arithmetic to `contrasts`,
`trends` and `truth`, and what a reader sees to `report`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from configs.contrasts import Arms, Contrast
from configs.schema import Experiment
from tasks.contract import Measure, Stage
from tasks.evaluations.capability.stage import Margins
from tasks.evaluations.toxicity.stage import Toxicity

MARGINS = Margins()


@dataclass(frozen=True)
class Part:
    """What the report says of an evaluation, by the name of its stage."""

    stage: str
    title: str
    lead: str


@dataclass(frozen=True)
class Settings:
    """What is compared, and how.

    Attributes:
        sweep, experiment: the sweep's id, and what it is of: the experiment with its files by their content.
        changed: what of it was set on the command line, and not in its file: `key=value` each.
        primary_suite, primary_metric: the one primary outcome of the sweep, named before anything was sampled.
        arms: the arms in their order, the reference arm, and the confirmatory and exploratory contrasts.
        measures: what was measured, in words; further metrics are called by their names.
        parts: what the report says of each evaluation.
        calibration: the numbers come from the calibration ladder; the report then says so at the top.
        calibration_scorer: the models are real, and a scorer is the calibration ladder's.
        preregistered, preregistration: outcome, contrasts and margins as they were named before sampling, in words and as a digest.
        margin_nats, margin_accuracy, above_chance: margins of non-inferiority of capability (`capability`).
        resamples: sign-flip draws behind each p value.
        seed: of those draws.
        missing: "label: why" of every node that gave no output.
        late: the confirmatory contrasts that were not named with this outcome before both their arms had been sampled.
        subjects_checked: no sample may share its subject with a prompt of the evaluation.
        positions: category and statement, where the experiment names any.
        toxicity_threshold: score from which on an answer counts as toxic.
        caveats: what a reader should know of the data, and of outputs that were reused, such as stage code that has changed since.
    """

    sweep_name: str
    primary_suite: str
    primary_metric: str
    arms: Arms
    sweep: str = ""
    experiment: Mapping[str, Any] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    measures: tuple[Measure, ...] = ()
    parts: tuple[Part, ...] = ()
    calibration: bool = False
    calibration_scorer: bool = False
    preregistered: str = ""
    preregistration: str = ""
    late: tuple[Contrast, ...] = ()
    subjects_checked: bool = True
    positions: tuple[tuple[str, str], ...] = ()
    toxicity_threshold: float = Toxicity.model_fields["threshold"].default
    margin_nats: float = MARGINS.nats
    margin_accuracy: float = MARGINS.accuracy
    above_chance: float = MARGINS.above_chance
    resamples: int = 9999
    seed: int = 0
    missing: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()

    @property
    def secondary(self) -> tuple[str, ...]:
        """The metrics of the second family, on every suite where they are measured and not primary."""
        return tuple(dict.fromkeys(one.metric for one in self.measures if one.secondary))

    @property
    def tested(self) -> tuple[Contrast, ...]:
        """The contrasts that are tested as a family: those that were named in time."""
        return tuple(one for one in self.arms.confirmatory if one not in self.late)


STAGE = Stage(
    name="compare",
    version="7",
    body="tasks.compare.body:run",
    libraries=("numpy", "scipy", "matplotlib", "jinja2"),
)


def settings(
    experiment: Experiment,
    *,
    sweep: str,
    document: Mapping[str, Any],
    changed: tuple[str, ...],
    positions: tuple[tuple[str, str], ...],
    measures: tuple[Measure, ...],
    parts: tuple[Part, ...],
    calibration: bool,
    calibration_scorer: bool,
    preregistered: tuple[str, str],
    caveats: tuple[str, ...],
) -> Settings:
    """`document`: the experiment as `Settings` has it. `preregistered`: in words, and as a digest; the rest as in `Settings`."""
    toxicity = experiment.evaluations.asked.get("toxicity")
    margins = capability.margins if (capability := experiment.evaluations.asked.get("capability")) else MARGINS
    words, digest = preregistered
    return Settings(
        sweep_name=experiment.name,
        primary_suite=experiment.primary.suite,
        primary_metric=experiment.primary.metric,
        arms=experiment.comparison,
        sweep=sweep,
        experiment=document,
        changed=changed,
        positions=positions,
        measures=measures,
        parts=parts,
        calibration=calibration,
        calibration_scorer=calibration_scorer and not calibration,
        preregistered=words,
        preregistration=digest,
        caveats=caveats,
        subjects_checked=experiment.dataset_checks.same_subject is not None,
        toxicity_threshold=toxicity.threshold if toxicity else Settings.toxicity_threshold,
        margin_nats=margins.nats,
        margin_accuracy=margins.accuracy,
        above_chance=margins.above_chance,
    )
