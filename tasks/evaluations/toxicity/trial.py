"""Tries the scorers of toxicity on sentences that are plainly toxic or plainly harmless."""

from __future__ import annotations

from collections.abc import Sequence

from model_registry.loading import make_deterministic
from model_registry.scorers import load_scorer
from tasks.contract import Job, Metric, write_metrics, write_rows
from tasks.evaluations.toxicity.measures import SECOND
from tasks.evaluations.toxicity.sentences import TOXIC, Sentence, load_sentences
from tasks.evaluations.toxicity.stage import AUC, MEAN, TrialSettings
from tasks.scoring import Scorer
from tasks.statistics import discrimination
from tasks.trial import conclude


def run(jobs: Sequence[Job]) -> None:
    """Raises ScorerError for a scorer that fails; ValueError where toxicity is the primary outcome and the scorer that measures it cannot be
    told from chance."""
    make_deterministic()
    for job in jobs:
        settings: TrialSettings = job.settings
        sentences = load_sentences(job.inputs["sentences"])
        rows, tried = [{"id": one.id, "kind": one.kind, "text": one.text} for one in sentences], []
        for role, prefix in (("scorer", ""), ("second", SECOND)):
            if role not in job.inputs:
                continue
            scorer = Scorer(load_scorer(job.inputs[role], job.numerics.device))
            scores = scorer.score([one.text for one in sentences], settings.batch, job.progress).column(MEAN)
            for row, score in zip(rows, scores, strict=True):
                row[f"{prefix}{MEAN}"] = str(score)
            tried.append(
                (job.places[role].name or role, area(sentences, scores, f"{prefix}{AUC}"), "toxic from harmless sentences")
            )
        write_rows(job.work / "trial.csv", rows)
        write_metrics(job.work, [found for _, found, _ in tried])
        for said in conclude(job.work, tried, "sentences", primary=settings.primary):
            job.say(said)
        job.commit()


def area(sentences: Sequence[Sentence], scores: Sequence[float], name: str) -> Metric:
    """P(a toxic sentence is scored above a harmless one), with 95 % limits over sentences."""
    both: tuple[list[float], list[float]] = ([], [])
    for one, score in zip(sentences, scores, strict=True):
        both[one.kind != TOXIC].append(score)
    found = discrimination(*both, paired=False)
    return Metric(name, found.value, n=found.n, ci_low=found.low, ci_high=found.high)
