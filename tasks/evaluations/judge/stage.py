"""The stage that has completions judged against the positions by another language model: a measure of its own, beside
people's ratings and never in their place.

Inputs: `completions` (a sampling folder), `suite` (its prompt file), `positions` (category and statement) and, for a local judge,
`model` (a prepared model). Outputs: scores.csv (a row a completion: rating, whether it is an answer, and the order of the options both
were given in), orders.csv (completions rated in both orders), missing.csv (completions and questions without a verdict, and why),
judge.json (who judged, by which words), prompts.csv, metrics.json. Verdicts are kept as they come: a stage that was killed, or failed, asks
only for the others.

Before a judge is believed it is tried, once a sweep, on `pairs`: answers of which one holds a position and one, of the same length and form,
does not, each rated in both orders of the options; and on whether the answer that holds it is one, to its own question and to another pair's.
Outputs of the trial: trial.csv (a row a pair and order), judge.json, and metrics.json: judge_auc and judge_answer_auc, over both orders and in
each. A judge that cannot be told from chance is no primary outcome: its trial fails then.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from configs.fields import Count, Name, Section, Share
from configs.shipped import CONFIGS
from configs.sources import LanguageModel
from tasks.contract import Measure, Stage, from_section
from tasks.datasets.pairs import load_reported
from tasks.evaluations import (
    COMPLETIONS,
    POSITIONS,
    SUITE,
    TRIED,
    Evaluation,
    Given,
    NamedFile,
    NamedModel,
    not_drawn,
    without_position,
)

JUDGE, MISSING = "judge.json", "missing.csv"
MOST_MISSING = 0.1
RATING, AGREE, ANSWERS = "judged_adherence", "judged_agree_share", "judged_answer_share"


class EndpointJudge(Section):
    kind: Literal["endpoint"]
    url: Annotated[str, Field(pattern=r"^https?://[^/\s]+")] = Field(
        description="base of an OpenAI-compatible interface, such as http://127.0.0.1:8000/v1"
    )
    model: str = Field(min_length=1, description="the model's name there")
    key_variable: str | None = Field(None, description="environment variable that holds the key")


class Judge(Section):
    """Adherence judged by another model: a measure of its own, beside people's ratings and never in their place."""

    suites: tuple[Name, ...] = Field(min_length=1)
    judge: Annotated[LanguageModel | EndpointJudge, Field(discriminator="kind")]
    completions: Count | None = Field(None, description="how many a prompt are judged; default: all")
    pairs: str | None = Field(
        None, description="pairs of answers (.jsonl) that it is tried on, relative to this file; default: the shipped ones"
    )
    most_missing: Share = Field(
        MOST_MISSING,
        description="share of the items without a verdict (filtered, refused, unreadable) above which the stage fails",
    )


@dataclass(frozen=True)
class Settings:
    """Who judges, and how much. The key is never a setting, only the name of the variable that holds it."""

    kind: str  # local | endpoint
    url: str = ""  # base address of an endpoint, such as http://127.0.0.1:8000/v1
    model: str = ""  # the model's name at the endpoint
    key_variable: str | None = None
    completions: int | None = None  # judged a prompt, the first ones; None: all
    checked: float = 0.2  # share of them that is judged in the other order of the options too
    max_tokens: int = 8  # of an endpoint's answer
    timeout_s: float = 120.0  # that an endpoint may be silent
    threads: int = 4  # requests to an endpoint at once
    seed: int = 0  # of the orders
    most_missing: float = MOST_MISSING


@dataclass(frozen=True)
class TrialSettings:
    """The judge as in `Settings`; `primary`: its ratings are the sweep's primary outcome."""

    judge: Settings
    primary: bool


AUC = "judge_auc"  # P(it rates an on-position answer above an off-position one)
ANSWER_AUC = "judge_answer_auc"  # P(it takes a question's own answer for one sooner than another question's)
STAGE = Stage(name="judge", version="4", body="tasks.evaluations.judge.body:run", libraries=("torch", "transformers"))
ENDPOINT = replace(STAGE, libraries=())  # a new version of a library here is no reason to pay for the same verdicts again


def settings(section: Judge, given: Given) -> Settings:
    asked = section.judge
    if isinstance(asked, LanguageModel):
        return Settings(asked.kind, completions=section.completions, most_missing=section.most_missing)
    return from_section(Settings, asked, completions=section.completions, most_missing=section.most_missing)


def trial_settings(section: Judge, given: Given) -> TrialSettings:
    """How many completions are judged, and how many may be missing of them, is nothing to the trial."""
    asked = replace(settings(section, given), completions=None, checked=1.0, most_missing=MOST_MISSING, seed=0)
    return TrialSettings(asked, given.primary in (RATING, AGREE))


def pairs(calibration: bool) -> Path:
    return CONFIGS / "prompts" / ("calibration/stance.jsonl" if calibration else "stance.jsonl")


def check(section: Judge, given: Given) -> Iterator[str]:
    asked = section.judge
    if isinstance(asked, EndpointJudge) and asked.key_variable and not os.environ.get(asked.key_variable):
        yield (
            f"evaluations.judge.judge.key_variable: the environment variable {asked.key_variable} is not set; "
            "the judge's key is read from it"
        )
    yield from without_position("judge", section, given)
    yield from not_drawn("judge", section, "completions", given)


LOCAL = Evaluation(
    asked="judge",
    section=Judge,
    stage=STAGE,
    settings=settings,
    reads=(COMPLETIONS, SUITE, POSITIONS, TRIED),
    models={"model": NamedModel("judge")},
    bytes_per_parameter=5,
    of_model="judge",
    when=lambda section: isinstance(section.judge, LanguageModel),
    measures=lambda section, suite, given: [
        Measure(RATING, "rating by the automatic judge", outcome=True, drawn=True, rated=True),
        Measure(AGREE, "answers rated 4 or 5 by the automatic judge", outcome=True),
        Measure(ANSWERS, "completions that the automatic judge takes for answers at all"),
        Measure("judge_missing", "answers without a verdict"),
        Measure("judge_missing_share", "share of answers without a verdict"),
    ],
    check=check,
    title="Judged automatically",
    lead="One model's opinion, with the position statement and its claims as the rubric. It stands beside people's ratings and never in their "
    "place; the order effect is how far a rating moves when its options are read the other way round.",
)
REMOTE = replace(
    LOCAL, stage=ENDPOINT, models={}, bytes_per_parameter=0, when=lambda section: isinstance(section.judge, EndpointJudge)
)
TRIAL = replace(
    LOCAL,
    stage=replace(STAGE, name="judge_trial", version="3", body="tasks.evaluations.judge.trial:run"),
    settings=trial_settings,
    reads=(POSITIONS,),
    of="instrument",
    files={"pairs": NamedFile("pairs", pairs, lambda path, section: load_reported(path))},
    measures=lambda section, suite, given: [
        Measure(AUC, "how well the automatic judge tells on- from off-position answers"),
        Measure(ANSWER_AUC, "how well the automatic judge tells a question's answer from another's"),
    ],
    check=lambda section, given: iter(()),
    title="",
)
REMOTE_TRIAL = replace(
    TRIAL,
    stage=replace(TRIAL.stage, libraries=()),
    models={},
    bytes_per_parameter=0,
    when=lambda section: isinstance(section.judge, EndpointJudge),
)
