"""What raters did, over all arms and sizes: how far they agree, how each of them rates, and what other raters might have made of it.

Knows which ratings belong into one table. Leaves the formulas to `tasks.statistics.raters`, and the words to the report.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean

import numpy as np

from configs.contrasts import Contrast
from tasks.compare.upstream import Output, Sources, references
from tasks.evaluations.human_eval.stage import RATED, RATING
from tasks.evaluations.judge.agreement import agreement_with_people
from tasks.evaluations.judge.stage import RATING as JUDGED
from tasks.evaluations.stance.stage import MARGIN
from tasks.evaluations.stance.stage import STAGE as STANCE
from tasks.statistics import Interval
from tasks.statistics.agreement import rank_correlation
from tasks.statistics.raters import (
    Consistency,
    GroupMeans,
    OfRater,
    consistency,
    crossed_interval,
    drift,
    group_means,
    krippendorff_alpha,
    severity,
)

Item = tuple[str, str, int]  # the output that it is of, prompt, repeat
BESIDE = {
    "judge": (JUDGED, "the automatic judge"),
    "toxicity": ("toxicity", "the toxicity scorer"),
}  # stage → its score, and who gave it


@dataclass(frozen=True)
class Alpha:
    """Agreement over an arm's completions, all sizes together; without an arm over all arms, which inflates it where arms differ."""

    arm: str | None
    alpha: Interval


@dataclass(frozen=True)
class Rater:
    """One rater over all that they rated."""

    name: str
    ratings: int
    severity: OfRater
    drift: OfRater
    repeats: Consistency | None


@dataclass(frozen=True)
class Crossed:
    """A difference in mean rating where raters are drawn as prompts are: it speaks of raters like these."""

    place: Output
    contrast: Contrast
    interval: Interval


@dataclass(frozen=True)
class With:
    """How far a score of another kind goes with people's ratings over the completions of one output."""

    place: Output
    who: str
    agreement: Interval


class Ratings:
    """All ratings of one sweep as a table of items by raters."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self.nodes = sources.of(RATED.stage.name)

    @cached_property
    def rows(self) -> list[tuple[Item, dict[str, str]]]:
        return [
            ((node.label, row["prompt_id"], int(row["repeat"])), row)
            for node in self.nodes
            for row in node.ratings
            if row["rating"] and row["again"] == "0"
        ]

    @property
    def simulated(self) -> bool:
        return any(row["simulated"] == "1" for node in self.nodes for row in node.ratings)

    @cached_property
    def raters(self) -> list[str]:
        return sorted({row["rater"] for _, row in self.rows})

    @cached_property
    def items(self) -> list[Item]:
        return list(dict.fromkeys(item for item, _ in self.rows))

    @cached_property
    def table(self) -> np.ndarray:
        return self._table("rating")

    @property
    def arms(self) -> list[str]:
        of = {node.label: node.axes.arm or "" for node in self.nodes}
        return [of[label] for label, _, _ in self.items]

    @property
    def prompts(self) -> list[str]:
        """Of each item; the same prompt in another suite or at another size is the same prompt."""
        return [prompt for _, prompt, _ in self.items]

    @cached_property
    def alphas(self) -> list[Alpha]:
        """Of each arm, then of all together; where nothing can be said there is none."""
        found = list[Alpha]()
        arms, prompts = np.array(self.arms), np.array(self.prompts)
        for arm in (*sorted(set(self.arms), key=self._sources.arms.place), None):
            there = np.full(len(arms), True) if arm is None else arms == arm
            with suppress(ValueError):
                found.append(Alpha(arm, krippendorff_alpha(self.table[there], list(prompts[there]))))
        return found

    def each(self) -> list[Rater]:
        if len(self.raters) < 2:
            return []
        found = zip(
            self.raters,
            severity(self.table, self.prompts),
            drift(self.table, self._table("order"), self.prompts),
            strict=True,
        )
        return [
            Rater(name, int(np.count_nonzero(~np.isnan(self.table[:, at]))), severe, drifting, self._repeats(name))
            for at, (name, severe, drifting) in enumerate(found)
        ]

    def groups(self) -> GroupMeans:
        """By what raters say of themselves, however they spell it."""
        said = {row["rater"]: " ".join(row["rater_group"].casefold().split()) for _, row in self.rows}
        return group_means(self.table, self.arms, [said[name] for name in self.raters])

    def crossed(self) -> Iterator[Crossed]:
        """Each contrast at each place where at least six raters rated both arms."""
        by_place = {node.axes: node for node in self.nodes}
        for contrast in self._sources.arms.contrasts:
            for node in (node for node in self.nodes if node.axes.arm == contrast.treated):
                other = next((by_place[at] for at in references(node.axes, contrast.reference) if at in by_place), None)
                if other is None:
                    continue
                one, two = self._by_prompt(node), self._by_prompt(other)
                prompts = [prompt for prompt in one if prompt in two and np.any(~np.isnan(one[prompt] - two[prompt]))]
                try:
                    apart = np.array([one[prompt] - two[prompt] for prompt in prompts])
                    strata = [node.prompts[RATING][prompt].group for prompt in prompts]
                    yield Crossed(node, contrast, crossed_interval(apart, strata))
                except (
                    ValueError
                ):  # too few raters, or not linked: there is then no such interval, and the report says from when on
                    continue

    def beside(self) -> Iterator[With]:
        """The rank correlation of people's ratings with what else was scored of the same completions."""
        for node in self.nodes:
            people = _scores(node, RATING)
            groups = {row["prompt_id"]: row["group"] for row in node.scores}
            for stage, (metric, who) in BESIDE.items():
                for other in self._sources.of(stage):
                    if other.axes != node.axes:
                        continue
                    try:
                        found = agreement_with_people(_scores(other, metric), people, groups)
                    except ValueError:
                        continue
                    yield With(node, who, found["judge_spearman"])
            if (moved := self._with_stance(node)) is not None:
                yield With(node, "stance, by category, as differences from the reference arm", moved)

    def _with_stance(self, node: Output) -> Interval | None:
        """Whether the categories that people find moved are those in which likelihood moved. Stance is of pairs and no completion has one, so that
        the units are categories; None where the arm is the reference, or either was not measured on both."""
        reference = self._sources.arms.reference
        if node.axes.arm == reference:
            return None
        stances = {other.axes: other for other in self._sources.of(STANCE.name)}
        moved: list[dict[str, float]] = []
        for outputs, metric, suite in (
            ({other.axes: other for other in self.nodes}, RATING, node.axes.suite),
            (stances, MARGIN, STANCE.name),
        ):
            own = outputs.get(replace(node.axes, suite=suite))
            other = next((outputs[at] for at in references(replace(node.axes, suite=suite), reference) if at in outputs), None)
            if own is None or other is None:
                return None
            of_arm, of_reference = (_by_category(output, metric) for output in (own, other))
            moved.append({name: of_arm[name] - of_reference[name] for name in of_arm if name in of_reference})
        categories = [name for name in moved[0] if name in moved[1]]
        try:
            rated, likely = ([[values[name]] for name in categories] for values in moved)
            return rank_correlation(rated, likely, ["all"] * len(categories))
        except ValueError:  # too few categories, or none moved otherwise than another
            return None

    def _repeats(self, rater: str) -> Consistency | None:
        """Of what this rater was shown twice."""
        first = {item: float(row["rating"]) for item, row in self.rows if row["rater"] == rater}
        again = {
            (node.label, row["prompt_id"], int(row["repeat"])): float(row["rating"])
            for node in self.nodes
            for row in node.ratings
            if row["rater"] == rater and row["again"] == "1" and row["rating"]
        }
        both = sorted(first.keys() & again.keys())
        if not both:
            return None
        return consistency([first[item] for item in both], [again[item] for item in both], [prompt for _, prompt, _ in both])

    def _table(self, column: str) -> np.ndarray:
        at = {item: number for number, item in enumerate(self.items)}
        of = {name: number for number, name in enumerate(self.raters)}
        table = np.full((len(at), len(of)), np.nan)
        for item, row in self.rows:
            table[at[item], of[row["rater"]]] = float(row[column])
        return table

    def _by_prompt(self, node: Output) -> dict[str, np.ndarray]:
        """Prompt → each rater's mean rating of its completions, NaN where there is none."""
        members: dict[str, list[int]] = defaultdict(list)
        for number, (label, prompt, _) in enumerate(self.items):
            if label == node.label:
                members[prompt].append(number)
        return {prompt: _means(self.table[held]) for prompt, held in members.items()}


def _means(table: np.ndarray) -> np.ndarray:
    there = ~np.isnan(table)
    return np.divide(np.nansum(table, axis=0), there.sum(axis=0), out=np.full(table.shape[1], np.nan), where=there.any(axis=0))


def _by_category(node: Output, metric: str) -> dict[str, float]:
    """Category → the mean over its prompts or pairs."""
    held: dict[str, list[float]] = defaultdict(list)
    for row in node.prompts.get(metric, {}).values():
        held[row.group].append(row.value)
    return {name: fmean(values) for name, values in held.items()}


def _scores(node: Output, metric: str) -> dict[tuple[str, int], float]:
    return {(row["prompt_id"], int(row["repeat"])): float(row[metric]) for row in node.scores if row.get(metric)}
