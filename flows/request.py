"""What a person asks for when a sweep is to be run: the form in the dashboard, the parameters of a schedule, the words of a command.

The constraints stand in the field types, so that the orchestrator refuses a bad value when it is handed in. What an experiment is and
whether its files are there is left to `configs.read` and to `flows.prepared`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from configs.fields import Count, Flag, Name, Positive, Section, Seed, Share, SizeName
from configs.shipped import find_experiment, shipped
from flows.start import Start
from tasks.ratings.preferences import Rule

DEPLOYMENT = "sweep/palms"  # where a request is handed in, as the orchestrator names it: flow/deployment
SKIPPED = "Skipped"  # the state of one that found its sweep being run
Overlap = Literal["skip", "wait"]


def _known(config: str) -> str:
    if config not in shipped() and not Path(config).is_absolute():
        raise ValueError("neither a shipped experiment nor the absolute path of a YAML file")
    return config


Config = Annotated[
    str,
    AfterValidator(_known),
    WithJsonSchema(
        {
            "anyOf": [
                {"title": "shipped", "type": "string", "enum": sorted(shipped())},
                {"title": "file", "type": "string", "pattern": "^/"},
            ]
        }
    ),
]
# checked with its experiment, which knows what would be accepted; the pattern is for the form
Override = Annotated[str, WithJsonSchema({"type": "string", "pattern": r"^[^=\s]+="})]


class Prefer(Section):
    """A turn of preference tuning: which arm's settings each round has, and which ratings make a preference (`tasks.ratings.preferences`)."""

    arm: Name = Field(description="whose preferences are collected; each round starts from the one before")
    size: SizeName | None = Field(None, description="size whose answers are rated; default: the largest")
    probes: str | None = Field(
        None, description="absolute path of prompts that are `reported: false`; default: the shipped weakness probes"
    )
    margin: Positive = Field(Rule.margin, description="points of the scale, or ranks, below which a pair is a tie")
    agreement: Share = Field(Rule.agreement, description="share of a pair's raters who have to prefer the answer")
    uses: Count = Field(Rule.uses, description="pairs that one text may stand in")
    least: Count = Field(8, description="preferences that make a round")


class Request(Section):
    """One sweep, as asked for."""

    config: Config = Field(description="a shipped experiment, or the absolute path of a YAML file on the runner's machine")
    overrides: tuple[Override, ...] = Field((), description="values to change, each key.path=value: arms.control.epochs=4")
    seeds: tuple[Seed, ...] = Field((), description="instead of the experiment's own")
    train_samples: tuple[Count, ...] = Field((), description="instead of the experiment's own")
    verify: Flag = Field(False, description="check every stored output by its full content, not by size and time alone")
    strict_code: Flag = Field(False, description="run a stage again when its code changed, even under the same STAGE_VERSION")
    start: Start | None = Field(
        None, description="make this stage and all that hangs on it anew; a retry makes it anew once more"
    )
    prefer: Prefer | None = Field(
        None, exclude_if=lambda given: given is None, description="a turn of preference tuning, in place of the sweep alone"
    )
    overlap: Overlap = Field("skip", description="if this very sweep is being run already: skip it with a note, or wait")

    @property
    def sets(self) -> tuple[str, ...]:
        """Everything that is changed, as `--set` takes it."""
        axes = {"seeds": self.seeds, "train_samples": self.train_samples}
        return (*self.overrides, *(f"{name}={list(values)}" for name, values in axes.items() if values))


def request(
    config: str,
    sets: Sequence[str] = (),
    *,
    verify: Flag = False,
    strict_code: Flag = False,
    start: Start | None = None,
    overlap: Overlap = "skip",
    prefer: Prefer | None = None,
) -> Request:
    """What a command asks for; its paths hold wherever they are read later.

    Raises:
        BadInput: there is no such experiment.
    """
    source = find_experiment(config)
    name = next((name for name, path in shipped().items() if path == source), str(source.absolute()))
    return Request(
        config=name, overrides=tuple(sets), verify=verify, strict_code=strict_code, start=start, overlap=overlap, prefer=prefer
    )
