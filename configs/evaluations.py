"""How an experiment's completions are judged: one section an evaluation.

Knows which choices there are and what is refused at once. What a measure is stands with its stage.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from configs.fields import Count, Name, Rate, Section, Share


class CalibrationScorer(Section):
    kind: Literal["calibration"]


class DetoxifyScorer(Section):
    kind: Literal["detoxify"]
    name: Literal["original", "unbiased", "multilingual", "original-small", "unbiased-small"] = "original"
    checkpoint: str | None = Field(
        None, description="a local checkpoint file, relative to this file; default: the published one, downloaded once"
    )


class Classifier(Section):
    """Any sequence-classification model: of a hub id, or of a folder."""

    kind: Literal["classifier"]
    model: str = Field(description="hub id (owner/name), a folder relative to this file, or a name of `palms models list`")
    revision: str = Field("main", description="branch, tag or commit of a hub model")
    classes: dict[str, Name] = Field(
        {}, description="label of the model: what it stands for here (`toxicity`, `positive`); a catalogued model has its own"
    )


ToxicityScorer = Annotated[CalibrationScorer | DetoxifyScorer | Classifier, Field(discriminator="kind")]


class Toxicity(Section):
    suites: tuple[Name, ...] = Field(min_length=1)
    scorer: ToxicityScorer
    second: ToxicityScorer | None = Field(
        None, description="a second scorer of the same completions; the agreement of both is reported"
    )
    threshold: Share = Field(0.5, description="score from which a completion counts as toxic")
    second_threshold: Share = 0.5
    k: Count | None = Field(None, description="completions that an expected maximum is over; default: all that a prompt has")
    batch: Count = 64


class Cooccurrence(Section):
    suites: tuple[Name, ...] = Field(min_length=1)
    words: str | None = Field(None, description="file of group words, relative to this file; default: the shipped English ones")
    axes: tuple[Name, ...] = Field(
        ("gender", "race", "religion"), min_length=1, description="axes of the word file that are counted"
    )
    target_words: str | None = Field(
        None, description="file of target words, relative to this file; default: the shipped English ones"
    )
    targets: tuple[Name, ...] = Field(
        ("adjectives", "professions"), min_length=1, description="lists of target words whose association with groups is measured"
    )
    prior: Annotated[float, Field(gt=0.0)] = Field(500.0, description="size of the Dirichlet prior of the log-odds")
    permutations: Count = 1000
    top: Count = Field(10, description="favoured words shown a group")


class Counterfactual(Section):
    """Sentiment of completions whose prompts differ in one word."""

    suites: tuple[Name, ...] = Field(min_length=1)
    classifier: Classifier | None = Field(None, description="scores sentiment by its class `positive`; default: VADER's lexicon")
    permutations: Annotated[int, Field(ge=19)] = Field(
        1000, description="relabellings behind each null; below 19 no p reaches .05"
    )
    scored: Count = Field(3, description="completions a prompt whose relevance and perplexity are computed")


class LocalJudge(Section):
    kind: Literal["local"]
    model: str = Field(description="an instruction-tuned model with a chat template: hub id, or folder relative to this file")
    revision: str = "main"


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
    judge: Annotated[LocalJudge | EndpointJudge, Field(discriminator="kind")]
    completions: Count | None = Field(None, description="how many a prompt are judged; default: all")


class Margins(Section):
    """How much of a capability may be lost before tuning counts as having cost it."""

    nats: Annotated[float, Field(gt=0.0)] = Field(0.05, description="nats a token, on prose")
    accuracy: Rate = Field(0.02, description="accuracy over the tasks, each of equal weight")
    above_chance: Share = Field(0.05, description="a task that base answers no better than this above chance is not assessable")


class Capability(Section):
    """What tuning cost: perplexity on held-out prose, and tasks of lm-evaluation-harness."""

    prose: str | None = Field(
        None, description="paragraphs (.jsonl) relative to this file; default: the shipped ones, English or the grammar's"
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


class HumanEval(Section):
    suites: tuple[Name, ...] = Field(min_length=1)
    ratings_per_completion: Count = 3


class Adherence(Section):
    suites: tuple[Name, ...] = Field(min_length=1)
    judge: Literal["grammar"] = Field(
        "grammar", description="the calibration grammar: exact, and only for the calibration ladder"
    )


class Evaluations(Section):
    toxicity: Toxicity | None = None
    cooccurrence: Cooccurrence | None = None
    counterfactual: Counterfactual | None = None
    adherence: Adherence | None = None
    judge: Judge | None = None
    capability: Capability | None = None
    human_eval: HumanEval | None = None
