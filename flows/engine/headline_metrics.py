"""The few numbers of a run that a person reads first: about fifteen, in groups that sort. All others stand in the stages' own tables.

`1_outcome/…` the primary outcome; `2_toxicity/…`; `3_capability/…`; `4_cost/…`; `5_training/…` curves against the optimiser's step;
`6_people/…` what people rated and how far they agree, `6_simulated_raters/…` where nobody did; `7_distance/…` how far from base an arm is.
A level or a difference with an interval has its limits beside it, as `_low` and `_high`. A difference is a number of the treated
arm's run, `vs_` and the arm that it is a difference from. Values are rounded to four digits, for a page of columns: the tables hold
every digit. Pure: reads committed outputs, knows no tracker.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from configs.contrasts import Contrast
from flows.engine.stores.manifest import Manifest
from tasks.compare.summary import ALPHA, read_outcome
from tasks.contract import Axes, Metric, Node, read_jsonl, read_rows
from tasks.evaluations.capability.stage import STAGE as CAPABILITY_STAGE
from tasks.evaluations.divergence.stage import KL, PER_TOKEN
from tasks.evaluations.divergence.stage import STAGE as DIVERGENCE
from tasks.evaluations.human_eval.stage import ANSWERS, RANKED, RATED, RATING
from tasks.evaluations.toxicity.stage import MEAN
from tasks.finetune.stage import STAGE as FINETUNE
from tasks.sampling.stage import COMPLETIONS
from tasks.sampling.stage import STAGE as SAMPLING

OUTCOME, TOXICITY, CAPABILITY, COST, TRAINING = "1_outcome", "2_toxicity", "3_capability", "4_cost", "5_training"
PEOPLE, SIMULATED, DISTANCE = "6_people", "6_simulated_raters", "7_distance"
TOXICITIES = (MEAN, "toxic_share")
CAPABILITIES = {
    "nats_per_token": "prose",
    "nats_per_token_plain": "plain",
    "accuracy": "tasks",
}  # as levels, and as the comparison's verdicts call them
DIGITS = 4


class Point(NamedTuple):
    name: str
    value: float
    step: int = 0


@dataclass(frozen=True)
class Comparison:
    """What a committed comparison says of whole suites. `outcomes`: group of numbers → (suite, metric)."""

    key: str
    finding: str
    called: Mapping[str, str]  # metric → its words
    outcomes: Mapping[str, tuple[str, str]]
    contrasts: tuple[Mapping[str, str], ...]  # rows of contrasts.csv
    verdicts: tuple[Mapping[str, str], ...]  # rows of capability.csv
    reference: str
    agreement: tuple[Metric, ...] = ()  # of raters, an arm each and over all; by simulated ones where `simulated`
    simulated: bool = False

    def against(self, treated: Sequence[str]) -> tuple[str, ...]:
        """The arms that these are compared with, in the primary outcome."""
        named = [Contrast.parse(row["contrast"]) for row in self.rows(OUTCOME)]
        return tuple(dict.fromkeys(one.reference for one in named if one.treated in treated))

    def rows(self, group: str) -> list[Mapping[str, str]]:
        return [row for row in self.contrasts if (row["suite"], row["metric"]) == self.outcomes.get(group)]


def read_comparison(compared: Manifest) -> Comparison:
    """A committed comparison, as far as whole suites go."""
    outcome = read_outcome(compared.folder)
    rows = tuple(row for row in read_rows(compared.folder / "contrasts.csv") if row["group"] == "all")
    primary = outcome["suite"], outcome["metric"]
    toxic_on = toxicity_suite((row["suite"] for row in rows if row["metric"] == MEAN), primary)
    return Comparison(
        key=compared.key,
        finding=outcome.get("finding", ""),  # one of an earlier version has none
        called=outcome.get("called", {}),
        outcomes={OUTCOME: primary} | ({TOXICITY: (toxic_on, MEAN)} if toxic_on else {}),
        contrasts=rows,
        verdicts=tuple(read_rows(compared.folder / "capability.csv")),
        reference=outcome["reference"],
        agreement=tuple(row for row in compared.metrics if row.metric == ALPHA),
        simulated=outcome.get("simulated", False),
    )


def levels(made: Mapping[Node, Manifest], primary: tuple[str, str]) -> Iterator[Point]:
    """What was measured on one arm, and what that took. `primary`: suite and metric."""
    toxic_on = toxicity_suite((node.axes.suite for node, out in made.items() if _has(out, MEAN)), primary)
    for node, manifest in made.items():
        for row in manifest.metrics:
            if row.group != "all":
                continue
            if (node.axes.suite, row.metric) == primary:
                yield from _limited(f"{OUTCOME}/{row.metric}", row)
            elif node.axes.suite == toxic_on and row.metric in TOXICITIES:
                yield from _limited(f"{TOXICITY}/{row.metric}", row)
            elif node.stage.name == RATED.stage.name and row.metric in (RATING, ANSWERS, RANKED):
                group = SIMULATED if _by_nobody(manifest) else PEOPLE
                yield from _limited(f"{group}/{row.metric}{_of_several(node, made)}", row)
            elif node.stage.name == DIVERGENCE.name and row.metric in (KL, PER_TOKEN):
                yield from _limited(f"{DISTANCE}/{row.metric}{_of_several(node, made)}", row)
            elif node.stage.name == CAPABILITY_STAGE.name and row.metric in CAPABILITIES:
                yield from _limited(f"{CAPABILITY}/{row.metric}", row)
    yield from cost(made)


def _of_several(node: Node, made: Mapping[Node, Manifest]) -> str:
    """The suite, where its stage measured several."""
    several = len({other.axes.suite for other in made if other.stage.name == node.stage.name}) > 1
    return f" {node.axes.suite}" if several else ""


def toxicity_suite(suites: Iterable[str | None], primary: tuple[str, str]) -> str | None:
    """Where toxicity is read besides the primary outcome: the suite that is named for it, else the primary one, else the first."""
    found = sorted(suite for suite in suites if suite is not None and (suite, MEAN) != primary)
    return next((suite for suite in (MEAN, primary[0], *found) if suite in found), None)


def cost(made: Mapping[Node, Manifest]) -> Iterator[Point]:
    """Seconds of all stages together, peak memory of the largest in GiB, and how fast tuning and sampling went, start-up included."""
    yield _point(f"{COST}/seconds", sum(manifest.facts["seconds"] for manifest in made.values()))
    yield _point(f"{COST}/peak_memory_gib", max(manifest.facts["peak_memory_gib"] for manifest in made.values()))
    for part, stage, tokens in (("tuning", FINETUNE, _seen), ("sampling", SAMPLING, _sampled)):
        outputs = [manifest for node, manifest in made.items() if node.stage.name == stage.name]
        if seconds := sum(manifest.facts["seconds"] for manifest in outputs):
            yield _point(f"{COST}/{part}_seconds", seconds)
            yield _point(f"{COST}/{part}_tokens_per_second", sum(map(tokens, outputs)) / seconds)


def _by_nobody(rated: Manifest) -> bool:
    return any(row["simulated"] == "1" for row in read_rows(rated.folder / "ratings.csv"))


def _seen(tuned: Manifest) -> float:
    """Tokens that a tuning read."""
    return sum(row.value for row in tuned.metrics if row.metric == "tokens_seen")


def _sampled(sampled: Manifest) -> int:
    """Tokens that a suite's completions have."""
    return sum(row["tokens"] for row in read_jsonl(sampled.folder / COMPLETIONS))


def curves(made: Mapping[Node, Manifest]) -> Iterator[Point]:
    """What training noted at its steps, in full."""
    for node, manifest in made.items():
        if node.stage.name == FINETUNE.name:
            for name, curve in manifest.series.items():
                yield from (Point(f"{TRAINING}/{name}", value, int(step)) for step, value in curve)


def differences(compared: Comparison, place: Axes) -> Iterator[Point]:
    """Of the run at a place: its arm minus each that it is compared with, and what the comparison says of its capability."""
    for group in compared.outcomes:
        for row in compared.rows(group):
            contrast = Contrast.parse(row["contrast"])
            if _at(row, place) and contrast.treated == place.arm:
                yield from _between(f"{group}/vs_{contrast.reference}", row, "value", "ci_low", "ci_high")
    for row in compared.verdicts:
        if _at(row, place) and row["arm"] == place.arm and row["value"]:
            metric = next(name for name, measure in CAPABILITIES.items() if measure == row["measure"])
            yield from _between(f"{CAPABILITY}/{metric}_vs_{compared.reference}", row, "value", "low", "high")


def effects(compared: Comparison) -> Iterator[Point]:
    """Each contrast as a curve: a difference at every size, the size's parameter count as the step. One of unknown count has no place."""
    for group in compared.outcomes:
        rows = [row for row in compared.rows(group) if row["params"]]
        ladders, samples, seeds = ({row[axis] for row in rows} for axis in ("ladder", "train_samples", "seed"))
        for row in rows:
            parts = [row["contrast"]]
            parts += [row["ladder"]] if len(ladders) > 1 else []
            parts += [f"n{row['train_samples']}"] if len(samples - {""}) > 1 else []
            parts += [f"seed{row['seed']}"] if len(seeds) > 1 and row["seed"].isdigit() else []
            yield from _between(f"{group}/{' '.join(parts)}", row, "value", "ci_low", "ci_high", step=int(float(row["params"])))
    for one in compared.agreement:
        of = "" if one.group == "all" else f" {one.group}"
        yield from _limited(f"{SIMULATED if compared.simulated else PEOPLE}/{one.metric}{of}", one)


def answers(made: Mapping[Node, Manifest], primary: tuple[str, str]) -> list[tuple[str, str]]:
    """The first completion of every prompt of the primary suite: prompt, completion."""
    for node, manifest in made.items():
        if node.stage.name == SAMPLING.name and node.axes.suite == primary[0]:
            rows = read_jsonl(manifest.folder / COMPLETIONS)
            return [(row["prompt"], row["text"].strip()) for row in rows if row["repeat"] == 0]
    return []


def _has(manifest: Manifest, metric: str) -> bool:
    return any(row.metric == metric for row in manifest.metrics)


def _at(row: Mapping[str, str], place: Axes) -> bool:
    axes = (place.ladder, place.size, place.train_samples, place.seed)
    return tuple(row[name] for name in ("ladder", "size", "train_samples", "seed")) == tuple(
        "" if a is None else str(a) for a in axes
    )


def _limited(name: str, row: Metric) -> Iterator[Point]:
    yield _point(name, row.value)
    if row.ci_low is not None and row.ci_high is not None:
        yield _point(f"{name}_low", row.ci_low)
        yield _point(f"{name}_high", row.ci_high)


def _between(name: str, row: Mapping[str, Any], *columns: str, step: int = 0) -> Iterator[Point]:
    for column, ending in zip(columns, ("", "_low", "_high"), strict=True):
        if row[column]:
            yield _point(name + ending, float(row[column]), step)


def _point(name: str, value: float, step: int = 0) -> Point:
    return Point(name, float(f"{value:.{DIGITS}g}"), step)
