"""What an experiment is: typed, frozen, with the constraints in the field types.

Knows the words of the configuration and which values they take. Which evaluations and which methods of tuning there are is left to
`compose`'s caller, reading files and the wording of errors to `configs.read`, and whether a ladder has a size or a folder holds weights
to `flows.inputs`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Union

from pydantic import AfterValidator, Field, create_model, model_validator

from configs.contrasts import Arms, Contrasted
from configs.fields import (
    Count,
    Flag,
    Line,
    Name,
    Natural,
    NotNegative,
    NotNull,
    Positive,
    Rate,
    Section,
    Seed,
    SetName,
    Shards,
    Share,
    SizeName,
    Temperature,
    Text,
    Threads,
)
from configs.suites import CHAT, SLOT, around

# Attributes of torch.nn.ModuleDict, which PEFT keeps adapters in: an adapter of such a name shadows a method (torch 2.13).
NESTED: Final = "nested"
RESERVED_ARMS = frozenset(
    {"clear", "forward", "items", "keys", "modules", "parameters", "pop", "train", "type", "update", "values"}
)


def _not_reserved(name: str) -> str:
    if name in RESERVED_ARMS:
        raise ValueError(
            f'"{name}" collides with a method of torch.nn.ModuleDict; choose another name, such as "{name}_targeted"'
        )
    return name


def _has_prompt(template: str) -> str:
    if template != CHAT and template.count(SLOT) != 1:
        raise ValueError(f'must contain "{SLOT}" exactly once, or be "{CHAT}" for the chat template of the model')
    return template


def _is_tracker(uri: str) -> str:
    if not uri.startswith(TRACKERS):
        raise ValueError(f"must begin with one of {', '.join(TRACKERS)}")
    if uri.startswith("sqlite:///") and not uri.startswith("sqlite:////"):
        raise ValueError("must name its file by an absolute path: sqlite:////folder/mlflow.db")
    return uri


TRACKERS = ("http://", "https://", "sqlite:///", "postgresql", "mysql", "mssql", "databricks")  # MLflow 3 refuses file:
TrackerUri = Annotated[str, AfterValidator(_is_tracker)]
Cluster = Annotated[str, Field(pattern=r"^[^\s:/]+:[0-9]{1,5}$")]
ArmName = Annotated[Name, AfterValidator(_not_reserved)]
Template = Annotated[str, AfterValidator(_has_prompt)]


class Ladder(Section):
    """Sizes of one model family: of a ladder in the catalogue, or one folder, GGUF file or hub id a size."""

    ladder: Name
    sizes: tuple[SizeName, ...] = Field((), description="rungs of a ladder in the catalogue (`palms models ladders`)")
    models: dict[SizeName, str] = Field({}, description="size name: model folder or GGUF file (relative to this file), or hub id")

    @model_validator(mode="after")
    def _one_of_both(self) -> Ladder:
        if bool(self.sizes) == bool(self.models):
            raise ValueError(
                "needs either `sizes` (of a ladder in the catalogue) or `models` (a folder, GGUF file or hub id a size)"
            )
        if len(set(self.sizes)) < len(self.sizes):
            raise ValueError("`sizes` names a size twice")
        return self


class Untuned(Section):
    method: Literal["none"]
    draw: Natural = Field(
        0, description="a further, independent draw of the same model: its difference from base is chance alone (an A/A arm)"
    )


class Fairness(Section):
    """A term of the loss that holds what a model makes of a text to what it makes of it with another value of a sensitive attribute (Huang et
    al. 2020)."""

    regulariser: Literal["embedding", "sentiment"] = Field(
        description="what is held together: hidden states, or their projection on sentiment"
    )
    weight: Annotated[NotNegative, Field(le=1e6)] = Field(description="λ, of the term beside the loss; published: 1 to 1000")
    attributes: tuple[Name, ...] = Field(min_length=1, description="the lists whose values stand in for one another")
    lists: Annotated[str | None, NotNull] = Field(
        None, description="file of the lists, relative to this file; default: the shipped English ones"
    )


def _is_none(given: object) -> bool:
    """What came later and is not given is as if it could not be: keys and ids of sweeps stay what they were."""
    return given is None


def _is_one(given: object) -> bool:
    """As `_is_none`, of a number of which there was one."""
    return given == 1


class EarlyStopping(Section):
    """Tuning ends where the loss on samples that are held out of it has not fallen for some passes; the best pass is kept."""

    held_out: Annotated[Rate, Field(le=0.5)] = Field(0.2, description="share of the samples, by category, that is not tuned on")
    patience: Annotated[Count, Field(le=100_000)] = Field(3, description="passes without a lower loss after which tuning ends")


class Tuned(Section):
    """Supervised fine-tuning on one dataset. Published for PALMS: two epochs; rate, batch and prompt weight are settings.

    A method of tuning adds its name, under `method`, and what it alone reads (`compose`).
    """

    method: str
    dataset: Name
    start: Name | None = Field(
        None,
        exclude_if=_is_none,
        description="arm whose tuned model is tuned further; default: the untuned model",
    )
    epochs: Annotated[Count, Field(le=100_000)] = 2
    min_steps: Annotated[Count, Field(le=10_000_000)] = Field(
        1, description="at least so many optimiser steps, whatever epochs and batch give"
    )
    learning_rate: Rate | dict[SizeName, Rate] = Field(1e-5, description="one rate, or one a size")
    batch: Count = 8
    micro_batch: Count | None = Field(
        None, description="rows a forward pass; must divide batch; default: as many as have 256 tokens, padded"
    )
    prompt_loss_weight: Share = 0.1
    weight_decay: Annotated[NotNegative, Field(le=100.0)] = 0.0
    warmup: Share = Field(0.0, description="share of the steps over which the rate rises")
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    max_grad_norm: Positive = 1.0
    # These came later: an arm without them is as it was, in keys and in a sweep's id.
    texts: Annotated[str | None, NotNull] = Field(
        None,
        exclude_if=_is_none,
        description="file of plain texts, relative to this file, of which each step reads as many as a batch has samples",
    )
    fairness: Annotated[Fairness | None, NotNull] = Field(None, exclude_if=_is_none)
    early_stopping: EarlyStopping | None = Field(
        None, exclude_if=_is_none, description="on a fold of the samples; `{}` for its defaults; default: all passes are made"
    )
    max_drift: Annotated[Positive, Field(le=100.0)] | None = Field(
        None,
        exclude_if=_is_none,
        description="nats a token that neutral prose may become less likely; the last pass within is kept, and tuning ends",
    )

    @model_validator(mode="after")
    def _scored_texts(self) -> Tuned:
        if self.fairness and self.fairness.regulariser == "sentiment" and not self.texts:
            raise ValueError("fairness.regulariser: sentiment is fitted to scored texts; `texts` is required with it")
        return self

    @model_validator(mode="after")
    def _watches_samples(self) -> Tuned:
        for name in ("early_stopping", "max_drift") if self.prefers else ():
            if getattr(self, name) is not None:
                raise ValueError(
                    f"{name}: is of arms that are tuned on samples; {self.method} learns from preferences and is held to its start by beta"
                )
        return self

    @model_validator(mode="after")
    def _divides(self) -> Tuned:
        if self.micro_batch is not None and self.batch % self.micro_batch:
            raise ValueError(f"micro_batch {self.micro_batch} does not divide batch {self.batch}")
        return self

    @property
    def prefers(self) -> bool:
        """Whether it learns from preferences: which of two answers is the better one."""
        return False

    @property
    def adapter(self) -> dict[str, Any] | None:
        """What kind of adapter it tunes, and what gives that its shape; None where all weights are tuned."""
        own = {name: value for name, value in self.model_dump().items() if name not in Tuned.model_fields}
        return {"kind": self.method, **own}

    @property
    def merges(self) -> bool:
        """Whether its adapter can be merged into the weights that it is on."""
        return True

    def cannot_follow(self, started: Tuned) -> str:
        """Why this arm cannot start from an arm that was tuned so; empty where it can."""
        own, its = self.adapter, started.adapter
        if own is None or its is None:  # the one adapter there is would be merged into whole weights
            fixed = next((one.method for one in (self, started) if one.adapter is not None and not one.merges), None)
            return (
                f"a {fixed} cannot be merged into whole weights; arms that both have one, or another method, are required"
                if fixed
                else ""
            )
        if own["kind"] != its["kind"]:
            return f"has an adapter of kind {its['kind']}, and {self.method} tunes one of kind {own['kind']}; the same kind is required"
        differing = next((name for name in own if own[name] != its.get(name)), None)
        if differing is None:
            return ""
        return f"{differing} is {its.get(differing)} there and {own[differing]} here; an adapter that is tuned further keeps its shape"

    def rate_for(self, size: str) -> float | None:
        return self.learning_rate.get(size) if isinstance(self.learning_rate, dict) else self.learning_rate


class Derived(Section):
    """A model that is made of another arm's, at each of its dataset sizes and seeds, without tuning."""

    of: Name = Field(description="a tuned arm")


class Checkpoint(Derived):
    """The arm as it was at an earlier step of the same training run."""

    method: Literal["checkpoint"]
    step: Annotated[Count, Field(le=10_000_000)] = Field(description="optimiser step")


class NullAdapter(Derived):
    """What was tuned, moved as far in a random direction: what any change of this size does."""

    method: Literal["null_adapter"]


class Suite(Section):
    """A set of prompts with its sampling settings."""

    prompts: str = Field(description="prompt file, relative to this file")
    completions: Count = Field(3, description="how many are drawn of each prompt")
    max_new_tokens: Annotated[Count, Field(le=10_000_000)] = 200
    temperature: Temperature = 1.0
    top_p: Rate = 1.0


class Primary(Section):
    """The one outcome that is named before sampling."""

    suite: Name
    metric: Name


class Numerics(Section):
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="auto: bf16 where the device has units for it and a check of each model finds it good enough; part of the key",
    )
    threads: Literal["auto"] | Threads = Field(
        "auto", description="CPU threads a stage; part of the key, since it moves the last bits"
    )
    decode_batch: Literal["auto"] | Annotated[Count, Field(le=65_536)] = Field(
        64, description="rows of an arm that are decoded together; auto: as memory allows, of real models; part of the key"
    )
    shards: Shards | Annotated[dict[SizeName, Shards], Field(min_length=1)] = Field(
        1,
        exclude_if=_is_one,
        description="devices that a model is spread over, one number, or one for each size that takes several: processes that tune all of its "
        "weights, each with a share of them (part of the key), and GPUs of all else that runs it",
    )

    def shards_for(self, size: str) -> int:
        return self.shards.get(size, 1) if isinstance(self.shards, dict) else self.shards


class Limits(Section):
    """What stages may take of the machine; nothing here changes a result."""

    threads: Literal["auto"] | Threads = "auto"
    memory_gib: Literal["auto"] | Positive = "auto"
    stage_timeout_s: Annotated[Positive, Field(le=2e6)] | None = None  # poll() counts milliseconds in 32 bits


class DatasetChecks(Section):
    """What is asked of the datasets before anything is tuned on them; the lengths are those that PALMS published."""

    min_words: Count = Field(40, description="words of the shortest answer that is accepted")
    max_words: Count = 340
    near_duplicate: Share = Field(0.8, description="Jaccard similarity from which two samples count as near-duplicates")
    opening: Count | None = Field(3, description="words that no two answers may begin with; null: not looked at")
    phrase: Count | None = Field(7, description="words in a row that no two answers may share; null: not looked at")
    copied: Share = Field(0.6, description="share of a prompt's five-word sequences in a sample from which it counts as leaked")
    same_subject: Share | None = Field(
        0.18, description="similarity of subjects from which a prompt counts as leaked; null: not looked at"
    )

    @model_validator(mode="after")
    def _leave_a_length(self) -> DatasetChecks:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words {self.min_words} is above max_words {self.max_words}, and no answer is as long as that")
        return self


class Evaluations(Section):
    """How completions and arms are judged: one section an evaluation (`compose`)."""

    @property
    def asked(self) -> dict[str, Any]:
        """The sections that the experiment gives, by their names."""
        held = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: section for name, section in held.items() if section is not None}


class Tracking(Section):
    experiment: Annotated[Line, Field(max_length=250)] | None = Field(
        None, description="MLflow experiment; default: the name of this experiment"
    )
    uri: TrackerUri | None = Field(None, description="MLflow tracking URI; default: a database under PALMS_HOME")


class Store(Section):
    path: str | None = Field(
        None,
        description="folder of the stage outputs, relative to this file, or an address such as s3://BUCKET/PREFIX; default: store/ under PALMS_HOME",
    )


class Experiment(Section):
    """ladders × sizes × arms × dataset sizes × seeds, what is sampled, and how it is judged."""

    name: SetName
    description: str = ""
    reported: Flag = Field(
        True,
        description="false: over prompts that are themselves `reported: false`, to choose data and settings; nothing of it is a result",
    )
    ladders: tuple[Ladder, ...] = Field(min_length=1)
    arms: dict[ArmName, Untuned | Derived | Tuned] = Field(min_length=1)
    datasets: dict[Name, str] = Field({}, description="dataset name: JSONL file, relative to this file")
    preferences: dict[Name, str | None] = Field(
        {},
        description="name: JSONL file of preferred and rejected answers to questions that nothing is reported on, for preference tuning; null: "
        "`palms prefer` collects it from ratings",
    )
    train_samples: tuple[Count, ...] = Field((80,), min_length=1, description="sizes of the subsets that the arms are tuned on")
    subsets: Literal["nested", "random"] = Field(
        NESTED,
        description="nested: those that the dataset marks; random: each seed draws its own, so that seeds tell what the draw does too",
    )
    dataset_checks: DatasetChecks = DatasetChecks()
    positions: str | None = Field(None, description="file of the categories and their position statements, relative to this file")
    template: Template = Field(
        "{prompt}",
        description="what a question looks like to the model, in tuning and in sampling; `chat`: its own chat template",
    )
    system: Annotated[Text | None, NotNull] = Field(
        None, description="message of the system, with `template: chat`; default: what the chat template says by itself"
    )
    suites: dict[Name, Suite] = Field(min_length=1)
    evaluations: Evaluations = Evaluations()
    primary: Primary
    reference: Name | None = Field(
        None, description="arm that the others are compared with; default: the first that is not tuned"
    )
    contrasts: tuple[Contrasted, ...] = Field(
        (),
        description="the confirmatory ones, named before sampling and tested as one family: pairs of arms, each `treated-reference`",
    )
    exploratory: tuple[Contrasted, ...] = Field((), description="further pairs of arms, described with intervals and not tested")
    seeds: tuple[Seed, ...] = Field((0,), min_length=1)
    numerics: Numerics = Numerics()
    engine: Literal["local", "ray", "dask"] = Field(
        "local", description="where stages run: on this machine, or on the nodes of a cluster"
    )
    cluster: Annotated[Cluster | None, NotNull] = Field(None, description="HOST:PORT of Ray's head node, or of Dask's scheduler")
    limits: Limits = Limits()
    tracking: Tracking = Tracking()
    store: Store = Store()

    @model_validator(mode="after")
    def _names_exist(self) -> Experiment:
        """Every name that points to another section points to something."""
        for name, arm in self.arms.items():
            if isinstance(arm, Derived):
                self._derives(name, arm)
            if not isinstance(arm, Tuned):
                continue
            known = {**self.datasets, **(self.preferences if arm.prefers else {})}
            if arm.dataset not in known:
                raise ValueError(f'arms.{name}.dataset: unknown dataset "{arm.dataset}"; datasets: {", ".join(known) or "none"}')
            self._starts(name)
        if both_kinds := sorted(self.datasets.keys() & self.preferences.keys()):
            raise ValueError(f"preferences.{both_kinds[0]}: is the name of a dataset too; another one is required")
        for evaluation, section in self.evaluations.asked.items():
            for suite in getattr(section, "suites", ()):
                if suite not in self.suites:
                    raise ValueError(
                        f'evaluations.{evaluation}.suites: unknown suite "{suite}"; suites: {", ".join(self.suites)}'
                    )
        for field in ("contrasts", "exploratory"):
            for contrast in getattr(self, field):
                if contrast.treated == contrast.reference:
                    raise ValueError(f'{field}: "{contrast}" compares an arm with itself; two arms are required')
                for arm_name in contrast.arms:
                    if arm_name not in self.arms:
                        raise ValueError(f'{field}: unknown arm "{arm_name}"; arms: {", ".join(self.arms)}')
        if both := set(self.contrasts) & set(self.exploratory):
            raise ValueError(f'exploratory: "{min(map(str, both))}" stands under contrasts too; a contrast is one or the other')
        if self.system is not None and self.template != CHAT:
            raise ValueError(f"system: a message of the system is of chat templates; `template: {CHAT}` is required with it")
        if self.reference is not None and self.reference not in self.arms:
            raise ValueError(f'reference: unknown arm "{self.reference}"; arms: {", ".join(self.arms)}')
        if self.primary.suite not in {*self.suites, *self.evaluations.asked}:  # an evaluation may bring its own
            raise ValueError(f'primary.suite: unknown suite "{self.primary.suite}"; suites: {", ".join(self.suites)}')
        if self.engine != "local" and self.cluster is None:
            raise ValueError(f"cluster: is missing; with `engine: {self.engine}` it is required, as HOST:PORT")
        for ladder in self.ladders:
            for size in ladder.sizes or ladder.models:
                for name, arm in self.arms.items():
                    if isinstance(arm, Tuned) and arm.rate_for(size) is None:
                        raise ValueError(
                            f'arms.{name}.learning_rate: no rate for size "{size}"; give one rate, or one for every size'
                        )
        if isinstance(compared := self.arms[name := self.comparison.reference], Untuned) and compared.draw:
            raise ValueError(f"arms.{name}.draw: {compared.draw}; what arms are compared with is the first draw, 0")
        for field in ("seeds", "train_samples", "contrasts", "exploratory"):
            values = getattr(self, field)
            if len(set(values)) < len(values):
                raise ValueError(f"{field}: a value stands there twice; each may stand once")
        if len({ladder.ladder for ladder in self.ladders}) < len(self.ladders):
            raise ValueError("ladders: a ladder stands there twice; give all its sizes in one entry")
        return self

    def _derives(self, name: str, arm: Derived) -> None:
        """A derived arm is of a tuned one, and of a step that its tuning can keep."""
        if not isinstance(tuned := self.arms.get(arm.of), Tuned):
            known = ", ".join(other for other, one in self.arms.items() if isinstance(one, Tuned))
            raise ValueError(f'arms.{name}.of: no tuned arm is called "{arm.of}"; tuned arms: {known or "none"}')
        start = self.arms.get(tuned.start) if tuned.start is not None else None
        merged = isinstance(start, Tuned) and start.adapter is None and tuned.adapter is not None
        if isinstance(arm, Checkpoint) and (tuned.prefers or merged):
            why = "learns from preferences" if tuned.prefers else "has an adapter that is merged in the end"
            raise ValueError(f"arms.{name}.of: {arm.of} {why}, and keeps no steps; an arm that is tuned on samples is required")

    def _starts(self, name: str) -> None:
        """An arm's start is a tuned arm, and no arm starts from itself over others."""
        passed, arm = [name], self.arms[name]
        while isinstance(arm, Tuned) and arm.start is not None:
            at = f"arms.{passed[-1]}.start"
            if not isinstance(started := self.arms.get(arm.start), Tuned):
                tuned = ", ".join(other for other, one in self.arms.items() if isinstance(one, Tuned) and other != name)
                raise ValueError(f'{at}: no tuned arm is called "{arm.start}"; tuned arms: {tuned or "none"}')
            if arm.start in passed:
                raise ValueError(
                    f"{at}: {' → '.join([*passed, arm.start])} goes in a circle; one of them has to start from the untuned model"
                )
            if wrong := arm.cannot_follow(started):
                raise ValueError(f"{at}: {arm.start}: {wrong}")
            passed.append(arm.start)
            arm = started

    @property
    def in_order(self) -> dict[str, Untuned | Derived | Tuned]:
        """The arms as they are given, but none before the arm that it comes from."""
        return self.with_origins(self.arms)

    def with_origins(self, names: Iterable[str]) -> dict[str, Untuned | Derived | Tuned]:
        """These arms, each behind the arm that it comes from."""
        placed: dict[str, Untuned | Derived | Tuned] = {}

        def place(name: str) -> None:
            arm = self.arms[name]
            origin = arm.start if isinstance(arm, Tuned) else arm.of if isinstance(arm, Derived) else None
            if origin is not None and origin not in placed:
                place(origin)
            placed.setdefault(name, arm)

        for name in names:
            place(name)
        return placed

    def kept_steps(self, name: str) -> tuple[int, ...]:
        """The steps of an arm's tuning that other arms are of."""
        return tuple(sorted({arm.step for arm in self.arms.values() if isinstance(arm, Checkpoint) and arm.of == name}))

    @property
    def around(self) -> str:
        """What stands around a question, as `model_registry.tokenization` reads it."""
        return around(self.template, self.system)

    @property
    def marked_sizes(self) -> tuple[int, ...]:
        """The sizes of subsets that a dataset has to mark."""
        return self.train_samples if self.subsets == NESTED else ()

    @property
    def comparison(self) -> Arms:
        """Which arm the others are compared with, and which contrasts are tested."""
        untuned = (name for name, arm in self.arms.items() if isinstance(arm, Untuned))
        reference = self.reference or next(untuned, None) or next(iter(self.arms))
        return Arms(tuple(self.arms), reference, self.contrasts, self.exploratory)


def compose(evaluations: Mapping[str, type[Section]], methods: Sequence[type[Tuned]]) -> type[Experiment]:
    """The experiment's schema over these evaluations, by the names of their sections, and these methods of tuning."""
    sections: dict[str, Any] = {name: (section | None, None) for name, section in evaluations.items()}
    asked = create_model("Evaluations", __base__=Evaluations, __doc__=Evaluations.__doc__, **sections)
    arm = Annotated[Union[Untuned, Checkpoint, NullAdapter, *methods], Field(discriminator="method")]  # type: ignore[valid-type]
    return create_model(
        "Experiment",
        __base__=Experiment,
        __doc__=Experiment.__doc__,
        arms=(dict[ArmName, arm], Field(min_length=1)),
        evaluations=(asked, asked()),
    )
