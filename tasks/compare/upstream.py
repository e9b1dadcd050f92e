"""What the comparison reads: the committed outputs of the other stages, by what they are and where they stand.

Knows the files of an output folder (manifest, metrics, prompts, scores, series, words, model). Computes nothing. How long an output
took, when and on what (`made`) goes to the page alone: the comparison's tables must not depend on how fast its inputs were made, and
the page is no part of its content.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from configs.contrasts import Arms
from tasks.contract import PROMPTS, SERIES, Axes, Measure, Metric, read_json, read_metrics, read_rows
from tasks.levels import further_groups
from tasks.sampling.completions import read_completions
from tasks.sampling.stage import STAGE as SAMPLING

SCORES, LABELS, WORDS, RATINGS = "scores.csv", "labels.csv", "words.csv", "ratings.csv"
MODEL, MISSING = "model.json", "missing.csv"


@dataclass(frozen=True)
class PromptValue:
    """One prompt's mean over its `n` completions; kind is "rate" (a share) or "score"."""

    group: str
    kind: str
    value: float
    n: int


class Tables:
    """The tables of one committed folder, each read once, whichever copy of its output asks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, list[dict[str, str]]] = {}

    def rows(self, name: str) -> list[dict[str, str]]:
        """Empty where the stage keeps no such table."""
        if name not in self._read:
            path = self._folder / name
            self._read[name] = read_rows(path) if path.exists() else []
        return self._read[name]


@dataclass(frozen=True)
class Output:
    """One committed folder."""

    folder: Path
    label: str
    stage: str
    axes: Axes
    key: str
    metrics: tuple[Metric, ...]
    made: Mapping[str, Any] = field(default_factory=dict)  # seconds, finished, peak_memory_gib, cores, gpus, versions, commit
    identity: Mapping[str, Any] = field(default_factory=dict)  # what its key is of
    digest: str = ""  # of its content, by which others read it
    left_out: frozenset[str] = frozenset()  # prompts that some arm could not be measured on
    tables: Tables = field(default=None, compare=False, repr=False)  # type: ignore[assignment]  # of the folder

    def __post_init__(self) -> None:
        if self.tables is None:
            object.__setattr__(self, "tables", Tables(self.folder))

    def level(self, metric: str, group: str = "all") -> Metric | None:
        return next((row for row in self.metrics if row.metric == metric and row.group == group), None)

    @cached_property
    def prompts(self) -> dict[str, dict[str, PromptValue]]:
        """metric → prompt id → value; empty for a stage that measures no prompts."""
        table: dict[str, dict[str, PromptValue]] = defaultdict(dict)
        for row in self.tables.rows(PROMPTS):
            prompt, metric = row["prompt_id"], row["metric"]
            if prompt in self.left_out:
                continue
            if prompt in table[metric]:
                raise ValueError(
                    f"{self.label}: {PROMPTS} gives {metric} of prompt {prompt} twice; one row a prompt and metric is accepted"
                )
            table[metric][prompt] = PromptValue(row["group"], row["kind"], float(row["value"]), int(row["n"]))
        return dict(table)

    def completions(self, metric: str) -> dict[str, np.ndarray] | None:
        """prompt id → that prompt's completion-level scores, or None where this output keeps none.

        A rate's completions are zeros and ones, so its mean and count are all there is to know of them.
        """
        if metric not in self._completions:
            self._completions[metric] = self._completions_of(metric)
        return self._completions[metric]

    @cached_property
    def _completions(self) -> dict[str, dict[str, np.ndarray] | None]:
        """By metric, those that were asked for: each category asks anew."""
        return {}

    def _completions_of(self, metric: str) -> dict[str, np.ndarray] | None:
        values = self.prompts.get(metric, {})
        if values and all(prompt.kind == "rate" for prompt in values.values()):
            if any(abs(p.value * p.n - round(p.value * p.n)) > 1e-6 for p in values.values()):
                return None  # a mean over sets of completions, such as any_toxic_k: no zeros and ones behind it
            return {name: np.repeat([1.0, 0.0], [round(p.value * p.n), p.n - round(p.value * p.n)]) for name, p in values.items()}
        rows = self.scores
        if not rows or metric not in rows[0] or "prompt_id" not in rows[0]:
            return None
        scores: dict[str, list[float]] = defaultdict(list)
        for row in rows:
            if row[metric]:  # empty where this completion has no such score
                scores[row["prompt_id"]].append(float(row[metric]))
        return {prompt: np.array(found) for prompt, found in scores.items()}

    @property
    def scores(self) -> list[dict[str, str]]:
        """A row a completion; empty for a stage that keeps none."""
        return self.tables.rows(SCORES)

    @property
    def labels(self) -> list[dict[str, str]]:
        """A row a completion; empty for a stage that gives none."""
        return self.tables.rows(LABELS)

    @property
    def ratings(self) -> list[dict[str, str]]:
        """A row a rating by a person; empty for a stage that has none."""
        return self.tables.rows(RATINGS)

    @cached_property
    def series(self) -> dict[str, list[list[float]]]:
        path = self.folder / SERIES
        return read_json(path) if path.exists() else {}

    @property
    def words(self) -> list[dict[str, str]]:
        return self.tables.rows(WORDS)


@dataclass(frozen=True)
class Sources:
    """All outputs of one sweep, in the order of their labels."""

    nodes: tuple[Output, ...]
    arms: Arms
    models: Mapping[tuple[str, str], Mapping[str, Any]]  # (ladder, size) → model.json
    measures: Mapping[str, Measure] = field(default_factory=dict)  # metric → what readers are told of it

    def params(self, ladder: str | None, size: str | None) -> int | None:
        model = self.models.get((ladder or "", size or ""))
        return None if model is None else int(model["params"])

    def of(self, stage: str) -> list[Output]:
        """The outputs of one stage, in the order of the report."""
        return sorted((node for node in self.nodes if node.stage == stage), key=lambda node: self.order(node.axes))

    @cached_property
    def sizes(self) -> dict[str, list[str]]:
        """ladder → its sizes from small to large; a size of unknown parameters comes last."""
        found: dict[str, set[str]] = defaultdict(set)
        for node in self.nodes:
            if node.axes.ladder and node.axes.size:
                found[node.axes.ladder].add(node.axes.size)
        return {
            ladder: sorted(found[ladder], key=lambda size: (self.params(ladder, size) or float("inf"), size))
            for ladder in sorted(found)
        }

    @cached_property
    def kinds(self) -> dict[str, str]:
        """metric → "rate" or "score", as the prompt tables say."""
        return {metric: next(iter(table.values())).kind for node in self.nodes for metric, table in node.prompts.items() if table}

    @cached_property
    def further(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """suite → prompt id → its further groups, such as `kind:challenging`, as what was sampled tells."""
        found: dict[str, dict[str, tuple[str, ...]]] = {}
        for node in self.nodes:
            if node.stage == SAMPLING.name and node.axes.suite and node.axes.suite not in found:
                found[node.axes.suite] = {row.prompt_id: further_groups(row) for row in read_completions(node.folder)}
        return found

    def words(self, metric: str) -> str:
        """A metric as its evaluation says it, with the unit that it names; one that none lists by its name."""
        if (measure := self.measures.get(metric)) is None:
            return metric.replace("_", " ")
        return f"{measure.words} in {measure.unit}" if measure.unit else measure.words

    def named(self, ladder: str | None, size: str | None) -> str:
        """The size as the report names it: with its ladder only where there are several."""
        return f"{ladder} {size}" if len(self.sizes) > 1 else str(size)

    def order(self, axes: Axes) -> tuple[Any, ...]:
        """Sorts by ladder, size, suite, arm (the reference first, then as the experiment lists them), dataset size and seed."""
        sizes = self.sizes.get(axes.ladder or "", [])
        rank = sizes.index(axes.size) if axes.size in sizes else -1
        return (
            axes.ladder or "",
            rank,
            axes.suite or "",
            self.arms.place(axes.arm),
            axes.train_samples or 0,
            -1 if axes.seed is None else axes.seed,
        )


def references(axes: Axes, arm: str) -> Iterator[Axes]:
    """Where the output of another arm may stand that this one is compared with: at its seed and dataset size, or at none, as an untuned
    arm does, which was tuned on nothing and may have been sampled once for all seeds."""
    for seed in dict.fromkeys((axes.seed, None)):
        for samples in dict.fromkeys((axes.train_samples, None)):
            yield replace(axes, arm=arm, train_samples=samples, seed=seed)


def read(inputs: Mapping[str, Path], places: Mapping[str, Axes], arms: Arms, measures: Sequence[Measure] = ()) -> Sources:
    """Read the outputs that `inputs` names (role → folder).

    Where an output stands comes from `places`, not from its manifest, which tells where it stood when it was made: an arm that was
    renamed, or two that are equal, share outputs. A prompt that one arm could not be measured on is left out of all: they stay paired.
    """
    nodes = sorted((_output(role, folder, places[role]) for role, folder in inputs.items()), key=lambda node: node.label)
    without: dict[tuple[str, str | None], frozenset[str]] = defaultdict(frozenset)
    for node in nodes:
        without[node.stage, node.axes.suite] |= _unmeasured(node)
    nodes = [replace(node, left_out=without[node.stage, node.axes.suite]) for node in nodes]
    models = {
        (node.axes.ladder or "", node.axes.size or ""): read_json(node.folder / MODEL)
        for node in nodes
        if (node.folder / MODEL).exists()
    }
    return Sources(tuple(nodes), arms, models, {one.metric: one for one in measures})


def _output(role: str, folder: Path, axes: Axes) -> Output:
    manifest = read_json(folder / "manifest.json")
    return Output(
        folder=folder,
        label=role,
        stage=manifest["stage"],
        axes=axes,
        key=manifest["key"],
        metrics=tuple(read_metrics(folder)),
        made=manifest.get("facts", {}),
        identity=manifest.get("identity", {}),
        digest=manifest.get("digest", ""),
    )


def _unmeasured(node: Output) -> frozenset[str]:
    """The prompts of which this output could measure no completion at all, as it says itself: no arm is then compared on them."""
    missing = frozenset(row["prompt_id"] for row in node.tables.rows(MISSING))
    return missing - {row["prompt_id"] for row in node.tables.rows(PROMPTS)} if missing else missing
