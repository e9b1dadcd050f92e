"""A search of rate × epochs by size, over prompts that are never reported on: which experiment tries them, what its trials gave, which is the best.

A trial is an arm of an ordinary sweep: the arm that is looked into at one rate and number of epochs, tuned, sampled on the weakness probes and
held to neutral prose. So the engine is the one of every sweep (a Prefect task a stage, trials side by side, a store that makes no trial twice,
an MLflow run a trial under the sweep's own), and a search that was stopped goes on where it was. Trials are tuned with seeds that the
experiment does not use: the models that are reported were not themselves chosen.

What is best is best on these probes, by these seeds, within this grid. How near the next ones are is told beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from configs.problems import BadInput, accepted
from configs.schema import Experiment
from configs.shipped import CONFIGS
from flows import derived
from flows.engine import tracking
from flows.outputs import Outputs
from flows.prepared import Run
from flows.probing import PROBES, derived_name, over_probes, probes_for
from model_registry.catalog import Model
from tasks.contract import Metric, digest_of, write_rows
from tasks.drawing.heat import Cell, heat
from tasks.drawing.palette import FALL, TREATED
from tasks.evaluations.capability.stage import Capability, Margins
from tasks.finetune import stage as finetune
from tasks.finetune.stage import optimiser_steps
from tasks.preference import stage as preference

BASE = "base"  # what drift is measured from
OTHER_SEEDS = 1000  # added to the experiment's: trials are none of the models that are reported
PAIRS = CONFIGS / "prompts/stance_search.jsonl"
DRIFTS = ("nats_per_token", "nats_per_token_plain")
# What a setting may be chosen by, the most telling first; of the last two, less is better.
CHOSEN_BY = ("on_position", "stance_margin", "stance_preferred", "judged_adherence", "toxicity", "toxic_share")
LESS_IS_BETTER = ("toxicity", "toxic_share")
TABLE, PLOT = "trials.csv", "search-{}.svg"


@dataclass(frozen=True)
class Grid:
    """The settings that are tried, each with each."""

    rates: tuple[float, ...]
    epochs: tuple[int, ...]

    @classmethod
    def of(cls, rates: str, epochs: str) -> Grid:
        """From `1e-5,1e-4` and `1,2,4`. Raises BadInput: a value that is none, twice, or not there."""
        return cls(
            _values("--rates", rates, float, lambda one: 0 < one <= 1, "rates above 0 and up to 1"),
            _values("--epochs", epochs, int, lambda one: 1 <= one <= 100_000, "whole numbers from 1 to 100000"),
        )

    @property
    def settings(self) -> list[tuple[float, int]]:
        return [(rate, epochs) for rate in self.rates for epochs in self.epochs]


def _values(option: str, given: str, kind: Any, fits: Any, what: str) -> tuple[Any, ...]:
    found = []
    for word in given.split(","):
        try:
            value = kind(word)
        except ValueError:
            value = None
        if value is None or not fits(value):
            raise BadInput(f"{option}: {word.strip() or 'nothing'}; {what} are accepted, with commas between them")
        if value in found:
            raise BadInput(f"{option}: {word.strip()} stands there twice; each may stand once")
        found.append(value)
    return tuple(found)


@dataclass(frozen=True)
class Trial:
    """One setting at one size. `outcomes`: a value a seed; `low`, `high`: the interval of a single seed's, over prompts; `drift`: nats a token that
    neutral prose has become less likely than to the untuned model, of two kinds of prose the larger; `seconds`: of all its stages."""

    size: str
    rate: float
    epochs: int
    steps: int
    outcomes: tuple[float, ...]
    low: float | None
    high: float | None
    drift: float
    seconds: float

    @property
    def outcome(self) -> float:
        return fmean(self.outcomes)

    def row(self) -> dict[str, Any]:
        """Of a table; a limit that is not known is empty, and seeds are told apart by blanks."""
        limits = {name: "" if (value := getattr(self, name)) is None else value for name in ("low", "high")}
        return {
            **asdict(self),
            **limits,
            "outcomes": " ".join(f"{value:.6g}" for value in self.outcomes),
            "outcome": self.outcome,
        }


@dataclass(frozen=True)
class Found:
    """What a search gave: its trials, what they were chosen by, and the drift that is allowed."""

    sweep: str
    arm: str
    metric: str
    max_drift: float
    trials: tuple[Trial, ...]

    @property
    def sizes(self) -> list[str]:
        return list(dict.fromkeys(trial.size for trial in self.trials))

    def within(self, trial: Trial) -> bool:
        return trial.drift <= self.max_drift

    def better(self, trial: Trial) -> tuple[float, ...]:
        """What trials are ordered by, the best last: of equal outcomes the one that drifted less."""
        outcome = -trial.outcome if self.metric in LESS_IS_BETTER else trial.outcome
        return outcome, -trial.drift, -trial.steps, -trial.rate

    def best(self, size: str, epochs: int | None = None) -> Trial | None:
        """The best setting of a size within the allowed drift, of all or of so many epochs; None where every one drifted further."""
        held = [one for one in self.trials if one.size == size and self.within(one) and epochs in (None, one.epochs)]
        return max(held, key=self.better, default=None)

    def beside(self, best: Trial) -> int:
        """How many other settings of its size, within the allowed drift, lie in the best one's interval or range of seeds."""
        low, high = (min(best.outcomes), max(best.outcomes)) if best.low is None or best.high is None else (best.low, best.high)
        return sum(
            one.size == best.size and one is not best and self.within(one) and low <= one.outcome <= high for one in self.trials
        )

    @cached_property
    def chosen(self) -> tuple[int, dict[str, Trial]] | None:
        """An arm has one number of epochs and a rate a size: the number that most sizes have a setting for, then the best on average, and the best
        rate of each size at it. None where nothing stays within the allowed drift."""
        options = []
        for epochs in sorted({one.epochs for one in self.trials}):
            held = {size: best for size in self.sizes if (best := self.best(size, epochs)) is not None}
            if held:
                options.append((len(held), fmean(self.better(one)[0] for one in held.values()), -epochs, held))
        if not options:
            return None
        _, _, epochs, held = max(options, key=lambda option: option[:3])
        return -epochs, held

    def yaml(self) -> str:
        """The lines of the experiment that take what was found; empty where nothing was."""
        if self.chosen is None:
            return ""
        epochs, held = self.chosen
        rates = ", ".join(f"{size}: {trial.rate:.7g}" for size, trial in held.items())
        return f"arms:\n  {self.arm}:\n    learning_rate: {{{rates}}}\n    epochs: {epochs}\n"


# ---- the experiment that tries them -----------------------------------------------------------------------------------------------


def write_search(
    run: Run, arm: str, grid: Grid, *, sizes: Sequence[str] = (), primary: str | None = None, probes: Path | None = None
) -> Path:
    """The experiment over the trials, as a file of the home.

    Raises:
        BadInput: what is searched is over probes itself, has no such size, or nothing that a setting could be chosen by; or the probes are
            reported on.
    """
    experiment = run.experiment
    if not experiment.reported:
        raise BadInput(f"{run.source}: is over probes itself; the experiment whose settings are searched is required")
    models = _models(run, sizes)
    file = probes_for(run.inputs, models, probes)
    document = search_document(run, arm, grid, models, file, primary)
    path = run.home.root / "search" / f"{document['name']}_{arm}_{digest_of(document)[:8]}.yaml"
    return derived.write(
        document, path, f"Searches rate and epochs of {arm}. Its prompts choose settings; nothing of it is a result."
    )


def search_document(run: Run, arm: str, grid: Grid, models: Sequence[Model], probes: Path, primary: str | None) -> dict[str, Any]:
    """The document. Raises BadInput: nothing there measures what a setting could be chosen by."""
    experiment = run.experiment
    document = over_probes(experiment, [arm], [(model.ladder, model.size) for model in models], probes, run.source)
    given = document["arms"].pop(arm)
    trials = {trial_name(rate, epochs): {**given, "learning_rate": rate, "epochs": epochs} for rate, epochs in grid.settings}
    evaluations = {**document["evaluations"], "capability": _of_prose(experiment, run.source)}
    if "stance" in experiment.evaluations.asked and not any(model.calibration for model in models):
        evaluations["stance"] = {"pairs": str(PAIRS)}
    return document | {
        "name": derived_name("search", experiment),
        "arms": {BASE: {"method": "none"}, **document["arms"], **trials},
        "evaluations": evaluations,
        "primary": _primary(evaluations, primary),
        "reference": BASE,
        "exploratory": [f"{name}-{BASE}" for name in trials],
        "seeds": [OTHER_SEEDS + seed for seed in experiment.seeds],
    }


def trial_name(rate: float, epochs: int) -> str:
    """`rate_3e_4_epochs_2`: an arm's name has letters, digits and underscores."""
    written = f"{Decimal(repr(rate)).normalize():e}".replace(".", "_").replace("-", "_").replace("+", "")
    return f"rate_{written}_epochs_{epochs}"


def _of_prose(experiment: Experiment, source: Path) -> dict[str, Any]:
    """Capability as far as drift goes: perplexity on neutral prose, without the tasks."""
    given = derived.standing(experiment, source)["evaluations"].get("capability") or {}
    return {name: given[name] for name in ("prose", "plain") if given.get(name)} | {"tasks": []}


def _primary(evaluations: Mapping[str, Any], wanted: str | None) -> dict[str, str]:
    of = {"on_position": "adherence", "stance_margin": "stance", "stance_preferred": "stance", "judged_adherence": "judge"}
    offered = [metric for metric in CHOSEN_BY if of.get(metric, "toxicity") in evaluations]
    if not offered:
        raise BadInput(
            "evaluations: none of these tells a better answer to a probe from a worse one; adherence, stance, judge or toxicity is required"
        )
    metric = wanted or offered[0]
    if metric not in offered:
        raise BadInput(f"--primary: {metric}; {accepted(metric, offered)}")
    return {"suite": "stance" if of.get(metric) == "stance" else PROBES, "metric": metric}


def _models(run: Run, sizes: Sequence[str]) -> list[Model]:
    models = run.inputs.models
    for size in sizes:
        if not any(size in (model.size, model.name) for model in models):
            raise BadInput(f"--size: {size}; {accepted(size, [model.size for model in models])}")
    return [model for model in models if not sizes or {model.size, model.name} & set(sizes)]


def require_different(sweep: Run, arm: str, grid: Grid) -> None:
    """That no setting takes the steps of another, which would make it no other setting. `sweep`: over the trials.

    Raises:
        BadInput: two numbers of epochs do.
    """
    tuning = (finetune.STAGE, preference.TUNING)
    steps = {node.axes.arm: optimiser_steps(node.settings) for node in sweep.dag.nodes if node.stage in tuning}
    found: dict[int, int] = {}
    for epochs in grid.epochs:
        taken = steps[trial_name(grid.rates[0], epochs)]
        if taken in found:
            raise BadInput(
                f"--epochs: {found[taken]} and {epochs} both take {taken} steps, by arms.{arm}.min_steps; one of them, or a smaller min_steps, "
                "is accepted"
            )
        found[taken] = epochs


# ---- what it gave -------------------------------------------------------------------------------------------------------------------


def found(run: Run, sweep: Run, arm: str, grid: Grid, max_drift: float | None) -> Found:
    """What the trials of a sweep gave. `run`: of the experiment that is searched, `sweep`: over the trials; without a bound, the arm's own
    `max_drift` or the margin of capability is it."""
    outputs = Outputs.of(run.home, sweep.dag.sweep)
    metric = sweep.experiment.primary.metric
    capability = run.experiment.evaluations.asked.get("capability")
    margins = capability.margins if isinstance(capability, Capability) else Margins()
    bound = max_drift or getattr(run.experiment.arms[arm], "max_drift", None) or margins.nats
    several = len({model.ladder for model in sweep.inputs.models}) > 1
    trials = [
        trial
        for model in sorted(sweep.inputs.models, key=lambda one: one.params or math.inf)
        for rate, epochs in grid.settings
        if (trial := _trial(outputs, model, rate, epochs, metric, model.name if several else model.size))
    ]
    return Found(sweep.dag.sweep, arm, metric, bound, tuple(trials))


def _trial(outputs: Outputs, model: Model, rate: float, epochs: int, metric: str, size: str) -> Trial | None:
    """None where none of its seeds came to its end."""
    base, of_trial = (_by_seed(outputs, model, arm) for arm in (BASE, trial_name(rate, epochs)))
    levels, seconds, drifts = [], 0.0, []
    steps = 0
    for seed, (metrics, took) in of_trial.items():
        level = next((one for one in metrics if one.metric == metric and one.group == "all"), None)
        drift = _drift(base[seed][0], metrics)
        if level is None or drift is None:
            continue
        levels.append(level)
        drifts.append(drift)
        seconds += took
        steps = round(next(one.value for one in metrics if one.metric == "optimiser_steps"))
    if not levels:
        return None
    low, high = (levels[0].ci_low, levels[0].ci_high) if len(levels) == 1 else (None, None)
    outcomes = tuple(level.value for level in levels)
    return Trial(size, rate, epochs, steps, outcomes, low, high, fmean(drifts), seconds)


def _by_seed(outputs: Outputs, model: Model, arm: str) -> dict[int | None, tuple[list[Metric], float]]:
    """Every metric of an arm at a size, and the seconds that its stages took, by seed."""
    held: dict[int | None, tuple[list[Metric], float]] = {}
    for label, place in outputs.places.items():
        if (place.ladder, place.size, place.arm) == (model.ladder, model.size, arm) and (made := outputs.manifest(label)):
            metrics, took = held.get(place.seed, ([], 0.0))
            held[place.seed] = ([*metrics, *made.metrics], took + float(made.facts["seconds"]))
    return held


def _drift(base: Iterable[Metric], tuned: Iterable[Metric]) -> float | None:
    before, after = ({one.metric: one.value for one in held if one.group == "all"} for held in (base, tuned))
    return max((after[name] - before[name] for name in DRIFTS if name in before and name in after), default=None)


def write_found(found: Found, folder: Path) -> list[Path]:
    """The table of the trials and a heat map a size, as files; shades and numbers are outcomes, drift stands below in small print."""
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / TABLE
    write_rows(table, [trial.row() | {"within": found.within(trial)} for trial in found.trials])
    return [table, *(_drawn(found, size, folder / PLOT.format(size)) for size in found.sizes)]


def _drawn(found: Found, size: str, path: Path) -> Path:
    trials = [one for one in found.trials if one.size == size]
    best = found.best(size)
    cells = {
        (f"{one.rate:.3g}", str(one.epochs)): Cell(
            one.outcome, f"{one.outcome:.3g}" + (" *" if one is best else ""), f"drift {one.drift:+.3f}"
        )
        for one in trials
    }
    rows, columns = (list(dict.fromkeys(key[at] for key in cells)) for at in (0, 1))
    alt = f"{found.metric} on probes by rate and epochs, {size}; * best with drift up to {found.max_drift:g} nats a token"
    path.write_text(heat(cells, rows, columns, "epochs", (TREATED, FALL), alt=alt), encoding="utf-8")
    return path


def record(sweep: Run, found: Found, files: Sequence[Path]) -> None:
    """The table and the plots beside the sweep's own run in the tracker, and what was chosen as its tags."""
    from mlflow import MlflowClient

    _, runs = tracking.run_ids(sweep.tracked())
    client = MlflowClient(sweep.tracked().uri)
    for path in files:
        client.log_artifact(runs[tracking.SWEEP], str(path), "search")
    client.set_tag(runs[tracking.SWEEP], "search.arm", found.arm)
    client.set_tag(runs[tracking.SWEEP], "search.max_drift", f"{found.max_drift:g}")
    client.set_tag(runs[tracking.SWEEP], "search.chosen", found.yaml() or "nothing stayed within the allowed drift")
