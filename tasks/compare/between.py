"""Two sweeps against each other: what changed in configuration, data and code, and in each effect.

A is the earlier of the two as they are given, B the later, and every difference is B − A. Knows which effects of two sweeps answer to one
another and over which prompts they are paired; reads nothing but the outputs that it is handed. A difference between sweeps was named in
neither's preregistration and is in no family: it is exploratory, and its interval unadjusted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from configs.contrasts import Contrast
from tasks.compare.contrasts import SINGLE_RUN
from tasks.compare.pairing import Pair, pairs
from tasks.compare.summary import ALL_SEEDS
from tasks.compare.upstream import Output, Sources
from tasks.datasets.changes import row_changes
from tasks.sampling.completions import read_completions
from tasks.sampling.stage import STAGE as SAMPLING
from tasks.statistics import Interval, crossed_difference, paired_difference

RULED = "measured otherwise (scorer, settings or version of the evaluation): the change is one of the measure too"
MEASURED = ("completions", "suite", "model", "tuned")  # roles

# ---- what was asked for, read and run -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """Something that is not the same in both; None: not there."""

    name: str
    before: Any
    after: Any


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """What differs between two documents, by key path (`arms.control.epochs`; of a list of sections `ladders.0.sizes`)."""
    old, new = dict(_flat(before)), dict(_flat(after))
    return [
        Change(path, old.get(path), new.get(path)) for path in sorted(old.keys() | new.keys()) if old.get(path) != new.get(path)
    ]


def _flat(document: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    sections = isinstance(document, list | tuple) and any(isinstance(one, Mapping) for one in document)
    if not (isinstance(document, Mapping) or sections):
        yield path, list(document) if isinstance(document, tuple) else document
        return
    for key, value in document.items() if isinstance(document, Mapping) else enumerate(document):
        yield from _flat(value, f"{path}.{key}" if path else str(key))


@dataclass(frozen=True)
class Data:
    """A file by its content, and its rows by their ids as far as they are at hand."""

    digest: str
    rows: Mapping[str, Hashable] | None = None


@dataclass(frozen=True)
class DataChange:
    """`rows`: added, removed and changed ones by id; None where those of one sweep are not at hand."""

    name: str
    before: Data | None
    after: Data | None
    rows: tuple[list[str], list[str], list[str]] | None = None


def data_changes(before: Mapping[str, Data], after: Mapping[str, Data]) -> list[DataChange]:
    """What is not the same file, by name; rows in the order of their file."""
    found = []
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if old and new and old.digest == new.digest:
            continue
        rows = None
        if old and new and old.rows is not None and new.rows is not None:
            rows = row_changes(old.rows, new.rows)
        found.append(DataChange(name, old, new, rows))
    return found


# ---- effects ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """An effect of one sweep, with its 95 % interval; shares for rates, else the unit of the metric."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Effect:
    """The effect of one contrast at one size in both sweeps; None where a sweep has none.

    change: B − A over the `shared` prompts, paired by prompt (and by seed, where seeds are crossed); None where no pairing is sound, and
    `note` says why. Where all prompts are shared its value is the difference of the two.
    """

    contrast: Contrast
    ladder: str
    size: str
    train_samples: str
    seed: str  # of the sweep that has it; "all" where seeds were crossed with prompts
    suite: str
    metric: str
    kind: str
    before: Estimate | None
    after: Estimate | None
    change: Interval | None = None
    shared: int = 0
    note: str = ""


Row = Mapping[str, str]  # of contrasts.csv
Cell = tuple[str, ...]  # everything that names a comparison but the seed


@dataclass(frozen=True)
class Side:
    """One sweep: its outputs, and the rows of its contrasts.csv."""

    sources: Sources
    rows: Sequence[Row]

    @cached_property
    def cells(self) -> dict[Cell, list[Row]]:
        """The overall rows that speak for a comparison."""
        held: dict[Cell, list[Row]] = defaultdict(list)
        for row in self.rows:
            if row["group"] == "all" and row["family"] != SINGLE_RUN:
                held[tuple(row[name] for name in ("contrast", "ladder", "size", "train_samples", "suite", "metric"))].append(row)
        return held

    @cached_property
    def runs(self) -> dict[Cell, list[Pair]]:
        """Every run of every comparison, prompt by prompt, in the order of their seeds."""
        contrasts = [Contrast.parse(text) for text in dict.fromkeys(row["contrast"] for row in self.rows)]
        held: dict[Cell, list[Pair]] = defaultdict(list)
        for pair in sorted(pairs(self.sources, contrasts), key=_seed):
            axes = pair.axes
            samples = "" if axes.train_samples is None else str(axes.train_samples)
            held[str(pair.contrast), axes.ladder or "", axes.size or "", samples, axes.suite or "", pair.metric].append(pair)
        return held

    def behind(self, cell: Cell, row: Row) -> list[Pair]:
        """The runs behind a row: its own, or all where seeds were crossed."""
        return [pair for pair in self.runs.get(cell, []) if row["seed"] in (ALL_SEEDS, _seed(pair))]

    @cached_property
    def prompts(self) -> dict[str, dict[str, tuple[str, str]]]:
        """suite → prompt id → its text and category, as any arm was asked."""
        held: dict[str, dict[str, tuple[str, str]]] = {}
        for node in self.sources.of(SAMPLING.name):
            if (suite := node.axes.suite or "") not in held:
                held[suite] = {row.prompt_id: (row.prompt, row.group) for row in read_completions(node.folder)}
        return held


def effects(before: Side, after: Side, outcomes: Sequence[tuple[str, str]]) -> list[Effect]:
    """Every effect of all prompts on these outcomes (suite, metric), in their order; sizes as the tables have them.

    Where both sweeps have one run of a comparison, these answer to one another whatever their seeds; else runs of equal seeds do.
    """
    found = []
    for cell in dict.fromkeys([*before.cells, *after.cells]):
        if cell[-2:] not in outcomes:
            continue
        for old, new in _answering(before.cells.get(cell, []), after.cells.get(cell, [])):
            made = _effect(old, new)
            if old is not None and new is not None:
                prompts = [side.prompts.get(made.suite, {}) for side in (before, after)]
                made = _changed(made, before.behind(cell, old), after.behind(cell, new), prompts[0], prompts[1])
            found.append(made)
    contrasts = list(dict.fromkeys(one.contrast for one in found))
    return sorted(found, key=lambda one: (outcomes.index((one.suite, one.metric)), contrasts.index(one.contrast)))


def _answering(old: Sequence[Row], new: Sequence[Row]) -> Iterator[tuple[Row | None, Row | None]]:
    if len(old) == len(new) == 1:
        yield old[0], new[0]
        return
    was, now = ({row["seed"]: row for row in rows} for rows in (old, new))
    yield from ((was.get(seed), now.get(seed)) for seed in dict.fromkeys([*was, *now]))


def _effect(old: Row | None, new: Row | None) -> Effect:
    row = new or old or {}
    return Effect(
        contrast=Contrast.parse(row["contrast"]),
        ladder=row["ladder"],
        size=row["size"],
        train_samples=row["train_samples"],
        seed=row["seed"],
        suite=row["suite"],
        metric=row["metric"],
        kind=row["kind"],
        before=_estimate(old) if old else None,
        after=_estimate(new) if new else None,
    )


def _estimate(row: Row) -> Estimate:
    return Estimate(float(row["value"]), float(row["ci_low"]), float(row["ci_high"]))


def _seed(pair: Pair) -> str:
    return "" if pair.axes.seed is None else str(pair.axes.seed)


def _changed(
    made: Effect, old: Sequence[Pair], new: Sequence[Pair], was: Mapping[str, Hashable], now: Mapping[str, Hashable]
) -> Effect:
    """The effect with what can be said of its change; `was` and `now`: the prompts of the suite in both sweeps."""
    if not old or not new:
        return replace(made, note="the values of its prompts are not in the store")
    if len(old) != len(new) or (len(old) > 1 and [_seed(one) for one in old] != [_seed(one) for one in new]):
        return replace(made, note="not the same seeds")
    notes = [RULED] if any(_ruler(a.treated) != _ruler(b.treated) for a, b in zip(old, new, strict=True)) else []
    if len(old) == 1 and _seed(old[0]) != _seed(new[0]):
        notes.append(f"seed {_seed(old[0]) or 'none'} against {_seed(new[0]) or 'none'}")
    groups = [side[0].group_of() for side in (old, new)]
    shared = [
        prompt
        for prompt in sorted(groups[0].keys() & groups[1].keys())
        if groups[0][prompt].group == groups[1][prompt].group
        and (
            was == now or (prompt in was and was[prompt] == now.get(prompt))
        )  # of pairs and templates all prompts have to be the same
    ]
    if len(shared) < 2:
        return replace(made, shared=len(shared), note="; ".join([*notes, "no prompts in common"]))
    moved = np.stack([_of(b, shared) - _of(a, shared) for a, b in zip(old, new, strict=True)])
    strata = [groups[1][prompt].group for prompt in shared]
    change = crossed_difference(moved, strata) if len(old) > 1 else paired_difference(moved[0], strata)
    if all((a.treated.key, a.reference.key) == (b.treated.key, b.reference.key) for a, b in zip(old, new, strict=True)):
        notes.append("the same outputs")
    elif not moved.any():
        notes.append("equal at every prompt")
    if {len(shared)} != {len(group) for group in groups}:
        notes.append(f"over the {len(shared)} prompts that both have")
    return replace(made, change=change, shared=len(shared), note="; ".join(notes))


def _of(pair: Pair, prompts: Sequence[str]) -> np.ndarray:
    """The effect at each of these prompts [prompts]."""
    ids, treated, reference = pair.values()
    at = dict(zip(ids, treated - reference, strict=True))
    return np.array([at[prompt] for prompt in prompts])


def _ruler(output: Output) -> dict[str, Any]:
    """What measured an output: its stage, settings and inputs, but for the arm, the prompts and the completions that were measured."""
    inputs = {role: digest for role, digest in output.identity["inputs"].items() if role not in MEASURED}
    return {**output.identity, "inputs": inputs}
