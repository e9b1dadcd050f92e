"""Tries a judge on pairs of answers of which it is known which one holds the position.

Knows what is asked for it and what comes of it. Leaves asking to `body`, and the area under the curve to `tasks.statistics`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from configs.positions import load_positions
from tasks.contract import Job, Metric, write_json, write_metrics, write_rows
from tasks.datasets.pairs import Pair, load_pairs
from tasks.evaluations.judge import judge, rubric
from tasks.evaluations.judge.body import ask, judge_of
from tasks.evaluations.judge.judge import Missing, Verdicts
from tasks.evaluations.judge.rubric import ORDERS
from tasks.evaluations.judge.stage import AUC, JUDGE, TrialSettings
from tasks.sampling.completions import Completion
from tasks.statistics import discrimination
from tasks.trial import conclude

ON, OFF = 0, 1  # as repeats of one prompt


def run(jobs: Sequence[Job]) -> None:
    """Raises what `body.run` raises; and ValueError where the judge is the primary outcome and cannot be told from chance, or where fewer
    than two pairs are of categories that have a position."""
    loaded: dict[tuple[str, ...], Any] = {}
    for job in jobs:
        settings: TrialSettings = job.settings
        rubrics = {name: position.rubric for name, position in load_positions(job.inputs["positions"]).items()}
        pairs = [pair for pair in load_pairs(job.inputs["pairs"]) if pair.category in rubrics]
        if len(pairs) < 2:
            raise ValueError(
                f"{len(pairs)} pairs are of categories that have a position; at least 2 (evaluations.judge.pairs) are required"
            )
        requests = judge.requests([answer for pair in pairs for answer in _answers(pair)], rubrics, 1.0, settings.judge.seed)
        by, answering = judge_of(job, settings.judge, loaded)
        missing = Missing(len(requests), settings.judge.most_missing)
        rows = rated(pairs, ask(job, requests, answering, missing))
        write_rows(job.work / "trial.csv", rows, ("pair", "category", "order", "on", "off"))
        write_json(
            job.work / JUDGE, {"judge": by, "named": rubric.judged_by(by), "kind": settings.judge.kind, "rubric": rubric.RUBRIC}
        )
        found = metrics(rows)
        write_metrics(job.work, found)
        said = conclude(job.work, [(by, found[0])], "on- from off-position answers", "pairs", primary=settings.primary)
        job.say(said[0])
        job.commit()


def rated(pairs: Sequence[Pair], verdicts: Verdicts) -> list[dict[str, Any]]:
    """One row a pair and order of the options in which both answers have a rating."""
    return [
        {
            "pair": pair.id,
            "category": pair.category,
            "order": order,
            "on": given[pair.id, ON].rating,
            "off": given[pair.id, OFF].rating,
        }
        for order in ORDERS
        for given in [verdicts[order]]
        for pair in pairs
        if {(pair.id, ON), (pair.id, OFF)} <= given.keys()
    ]


def metrics(rows: Sequence[Mapping[str, Any]]) -> list[Metric]:
    """judge_auc over the mean of both orders, which is what cancels a liking for a letter, and in each order; 95 % intervals over pairs."""
    by_pair: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_pair.setdefault(row["pair"], []).append(row)
    groups = {"all": [_mean(held) for held in by_pair.values() if len(held) == len(ORDERS)]}
    groups |= {f"order:{order}": [_mean([row]) for row in rows if row["order"] == order] for order in ORDERS}
    return [_area(group, held) for group, held in groups.items()]


def _mean(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The two ratings of one pair, over the orders."""
    return fmean(float(row["on"]) for row in rows), fmean(float(row["off"]) for row in rows)


def _area(group: str, held: Sequence[tuple[float, float]]) -> Metric:
    found = discrimination([on for on, _ in held], [off for _, off in held])
    return Metric(AUC, found.value, n=found.n, group=group, ci_low=found.low, ci_high=found.high)


def _answers(pair: Pair) -> Iterator[Completion]:
    for repeat, text in ((ON, pair.on), (OFF, pair.off)):
        yield Completion(pair.id, pair.category, None, pair.question, repeat, text)
