"""The stage that measures what a model can still do: how well it predicts neutral prose, and tasks of lm-evaluation-harness.

Inputs: `model` (a prepared model), `prose` and, but for the calibration ladder, `plain` (JSON Lines files of paragraphs) and, for a tuned
arm, `tuned` (what fine-tuning wrote). Outputs: prose.csv and plain.csv (a row a paragraph), items.csv (a row an item), prompts.csv,
harness.json (what each task asked) and metrics.json: nats_per_token, perplexity, both also `_plain`, accuracy (by task) and chance. The
verdict on an arm is the comparison's.

Two kinds of prose, since they can part: SmolLM2-135M-Instruct predicts `prose`, which is as composed as the shipped datasets, with 4.5
nats a token and `plain` with 2.4 (benchmarks/register.py). Tuning on composed prose can better the first and cost the second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from configs.fields import Count, Positive, Rate, Section, Share
from configs.shipped import CONFIGS
from model_registry.calibration.grammar import load_grammar
from tasks.contract import Measure, Stage, from_section
from tasks.datasets.paragraphs import load_paragraphs
from tasks.evaluations import ARM, Evaluation, Given, NamedFile

GRAMMAR_TASK = "calibration_topics"  # made here from the calibration grammar; every other task is the harness's own
HARNESS = "harness.json"  # task → how many items it asked, and their digest


class Margins(Section):
    """How much of a capability may be lost before tuning counts as having cost it."""

    nats: Annotated[Positive, Field(le=100.0)] = Field(0.05, description="nats a token, on prose")
    accuracy: Rate = Field(0.02, description="accuracy over the tasks, each of equal weight")
    above_chance: Share = Field(0.05, description="a task that base answers no better than this above chance is not assessable")


class Capability(Section):
    """What tuning cost: perplexity on held-out prose, and tasks of lm-evaluation-harness."""

    prose: str | None = Field(
        None, description="paragraphs (.jsonl) relative to this file; default: the shipped ones, English or the grammar's"
    )
    plain: str | None = Field(
        None, description="paragraphs of ordinary prose (.jsonl) relative to this file; default: the shipped English ones"
    )
    tasks: tuple[str, ...] = Field(
        ("lambada_openai", "hellaswag", "piqa", "arc_easy", "winogrande"),
        description="tasks of lm-evaluation-harness; `calibration_topics` is the calibration ladder's own",
    )
    limit: Count | None = Field(None, description="items a task; default: all")
    batch: Count = Field(8, description="requests scored together; the logits of one batch are the largest thing in memory")
    margins: Margins = Margins()

    @model_validator(mode="after")
    def _once(self) -> Capability:
        if len(set(self.tasks)) < len(self.tasks):
            raise ValueError("`tasks` names a task twice")
        return self


@dataclass(frozen=True)
class Settings:
    """`grammar` is the calibration grammar's digest where `calibration_topics` is among the tasks."""

    tasks: tuple[str, ...]
    limit: int | None  # items a task; None: all
    batch: int  # requests scored together; the numbers' last bits depend on it
    grammar: str = ""
    seed: int = 0  # of tasks that shuffle


STAGE = Stage(
    name="capability",
    version="3",
    body="tasks.evaluations.capability.body:run",
    libraries=("torch", "transformers", "peft", "lm_eval"),
    shrink="batch",
)


def settings(section: Capability, given: Given) -> Settings:
    grammar = load_grammar().digest if GRAMMAR_TASK in section.tasks else ""
    return from_section(Settings, section, grammar=grammar)


def prose(calibration: bool) -> Path:
    """The shipped paragraphs: the grammar's for the calibration ladder and English ones for all others."""
    return CONFIGS / "prompts" / ("calibration/neutral_text.jsonl" if calibration else "neutral_text.jsonl")


def plain(calibration: bool) -> Path | None:
    """Ordinary English; the calibration ladder has one kind of prose."""
    return None if calibration else CONFIGS / "prompts" / "plain_text.jsonl"


def check(section: Capability, given: Given) -> Iterator[str]:
    if GRAMMAR_TASK in section.tasks and given.real:
        yield f"evaluations.capability.tasks: {GRAMMAR_TASK} is of the calibration ladder only; leave it out"


EVALUATION = Evaluation(
    asked="capability",
    section=Capability,
    stage=STAGE,
    settings=settings,
    reads=(ARM,),
    of="arm",
    files={
        "prose": NamedFile("prose", prose, lambda path, section: load_paragraphs(path)),
        "plain": NamedFile("plain", plain, lambda path, section: load_paragraphs(path)),
    },
    bytes_per_parameter=12,  # with the logits of its batch: a 124M model peaked at 2.5 GiB with 16 requests together
    measures=lambda section, suite, given: [
        Measure("accuracy", "accuracy on tasks"),
        Measure("nats_per_token", "nats a token on neutral prose"),
        *([Measure("nats_per_token_plain", "nats a token on plain prose")] if section.plain or given.real else []),
    ],
    check=check,
    title="Capability",
)
