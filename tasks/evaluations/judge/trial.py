"""Tries a judge on pairs of answers of which it is known which one holds the position, and on answers that are another question's.

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
from tasks.evaluations.judge.body import ASKED, ask, judge_of
from tasks.evaluations.judge.judge import Missing, Verdicts
from tasks.evaluations.judge.rubric import ADHERENCE, ANSWER, ORDERS
from tasks.evaluations.judge.stage import ANSWER_AUC, AUC, JUDGE, TrialSettings
from tasks.sampling.completions import Completion
from tasks.statistics import discrimination
from tasks.trial import conclude

ON, OFF, STRAY = 0, 1, 2  # as repeats of one prompt: its own answers, and another prompt's
TRIED = (  # the question, what is the higher and the lower there, the measure, and what is to be told apart
    (ADHERENCE, ON, OFF, AUC, "on- from off-position answers"),
    (ANSWER, ON, STRAY, ANSWER_AUC, "answers to a question from answers to another"),
)


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
        requests = [
            judge.request(row, question, order, rubrics[row.group])
            for question, *answers, _, _ in TRIED
            for order in ORDERS
            for row in texts(pairs)
            if row.repeat in answers
        ]
        by, answering = judge_of(job, settings.judge, loaded)
        missing = Missing(len(requests), settings.judge.most_missing)
        rows = rated(pairs, ask(job, requests, answering, missing))
        write_rows(job.work / "trial.csv", rows, ("pair", "category", "question", "order", "higher", "lower"))
        write_json(job.work / JUDGE, {"judge": by, "named": rubric.judged_by(by), "kind": settings.judge.kind, "asked": ASKED})
        found = metrics(rows)
        write_metrics(job.work, found)
        overall = {metric.metric: metric for metric in found if metric.group == "all"}
        for said in conclude(
            job.work, [(by, overall[auc], apart) for *_, auc, apart in TRIED], "pairs", primary=settings.primary
        ):
            job.say(said)
        job.commit()


def texts(pairs: Sequence[Pair]) -> Iterator[Completion]:
    """Each pair's two answers to its question, and the on-position answer to the next question, the first's following the last."""
    for pair, following in zip(pairs, (*pairs[1:], pairs[0]), strict=True):
        for repeat, text in ((ON, pair.on), (OFF, pair.off), (STRAY, following.on)):
            yield Completion(pair.id, pair.category, None, pair.question, repeat, text)


def rated(pairs: Sequence[Pair], verdicts: Verdicts) -> list[dict[str, Any]]:
    """One row a pair, question and order of the options in which both texts have a verdict."""
    return [
        {
            "pair": pair.id,
            "category": pair.category,
            "question": question.name,
            "order": order,
            "higher": given[pair.id, higher].value,
            "lower": given[pair.id, lower].value,
        }
        for question, higher, lower, _, _ in TRIED
        for order in ORDERS
        for given in [verdicts[question.name, order]]
        for pair in pairs
        if {(pair.id, higher), (pair.id, lower)} <= given.keys()
    ]


def metrics(rows: Sequence[Mapping[str, Any]]) -> list[Metric]:
    """Each question's area over the mean of both orders, which is what cancels a liking for a letter, and in each order; 95 % intervals over
    pairs."""
    return [
        area
        for question, _, _, auc, _ in TRIED
        for area in _areas(auc, [row for row in rows if row["question"] == question.name])
    ]


def _areas(auc: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    by_pair: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_pair.setdefault(row["pair"], []).append(row)
    groups = {"all": [_mean(held) for held in by_pair.values() if len(held) == len(ORDERS)]}
    groups |= {f"order:{order}": [_mean([row]) for row in rows if row["order"] == order] for order in ORDERS}
    for group, held in groups.items():
        found = discrimination([higher for higher, _ in held], [lower for _, lower in held])
        yield Metric(auc, found.value, n=found.n, group=group, ci_low=found.low, ci_high=found.high)


def _mean(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The two verdicts of one pair, over the orders."""
    return fmean(float(row["higher"]) for row in rows), fmean(float(row["lower"]) for row in rows)
