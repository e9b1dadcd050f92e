"""Asks a judge about each completion, and keeps its verdicts as they come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from configs.positions import load_positions
from configs.suites import load_suite
from model_registry.loading import load_model, make_deterministic, prepared_folder
from model_registry.tokenization import load_tokenization
from tasks.contract import Job, read_json, write_json, write_metrics, write_rows
from tasks.evaluations.judge import judge, rubric
from tasks.evaluations.judge.endpoint import EndpointJudge
from tasks.evaluations.judge.judge import Asked, Missing, Request, Verdict
from tasks.evaluations.judge.local import LocalJudge
from tasks.evaluations.judge.rubric import ADHERENCE, ANSWER, ORDERS
from tasks.evaluations.judge.stage import JUDGE, MISSING, Settings
from tasks.levels import level_metrics, write_prompt_rows
from tasks.prepare.stage import MODEL_FILE
from tasks.sampling.completions import read_completions, require_prompts
from tasks.sampling.kept import Kept

ASKED = {question.name: question.words for question in (ADHERENCE, ANSWER)}


def run(jobs: Sequence[Job]) -> None:
    """Judge each job's completions; jobs with the same local judge share it in memory.

    Raises:
        ValueError: an unknown kind of judge, a category without a position, a judge that cannot be used or gives too few verdicts.
        ConnectionError: an endpoint that cannot be reached: worth another try.
    """
    loaded: dict[tuple[str, ...], Any] = {}
    for job in jobs:
        settings: Settings = job.settings
        completions = judge.first_of_each(read_completions(job.inputs["completions"]), settings.completions)
        suite = load_suite(job.inputs["suite"])
        require_prompts((row.prompt_id for row in completions), {prompt.id for prompt in suite.prompts}, suite.name)
        rubrics = {name: position.rubric for name, position in load_positions(job.inputs["positions"]).items()}
        requests = judge.requests(completions, rubrics, settings.checked, settings.seed)
        by, answering = judge_of(job, settings, loaded)
        missing = Missing(len(requests), settings.most_missing)
        verdicts = ask(job, requests, answering, missing)
        scores, both = judge.score_rows(completions, verdicts, settings.seed), judge.order_rows(verdicts)
        unjudged = judge.missing_rows(completions, missing, settings.seed)
        if not scores:
            raise ValueError(f"{job.label}: no completion has a verdict; {next(iter(missing.reasons.values()))}")
        rows = judge.prompt_rows(completions, scores)
        write_rows(job.work / "scores.csv", scores)
        write_rows(job.work / "orders.csv", both, columns=("prompt_id", "repeat", *rubric.ORDERS))
        write_rows(job.work / MISSING, unjudged, columns=("prompt_id", "group", "repeat", "question", "order", "reason"))
        write_json(job.work / JUDGE, {"judge": by, "named": rubric.judged_by(by), "kind": settings.kind, "asked": ASKED})
        write_prompt_rows(job.work, rows)
        metrics = judge.judge_metrics(len(completions), scores, both, unjudged)
        write_metrics(job.work, [*level_metrics(rows), *metrics])
        if off := next((row.value for row in metrics if row.metric == "judge_off_scale"), 0.0):
            job.say(f"{off:.0%} of the ratings come from a judge that would rather not have answered by letter")
        if unjudged:
            job.say(f"{metrics[0].value} of {metrics[0].n} completions lack a verdict, such as: {unjudged[0]['reason']}")
        job.commit()


def judge_of(job: Job, settings: Settings, loaded: dict[tuple[str, ...], Any]) -> tuple[str, Any]:
    """The judge's name, and who answers: a local one is loaded once."""
    if settings.kind == "endpoint":
        asked = (settings.url, settings.model, settings.key_variable, settings.max_tokens, settings.timeout_s, settings.threads)
        return settings.model, EndpointJudge(*asked)
    if settings.kind != "local":
        raise ValueError(f'{job.label}: unknown kind of judge "{settings.kind}"; accepted are local, endpoint')

    make_deterministic()
    folder = prepared_folder(job.inputs["model"])
    if (place := (str(folder), *job.numerics.loading.values())) not in loaded:
        loaded.clear()  # never two whole models in memory
        loaded[place] = LocalJudge(load_model(folder, **job.numerics.loading), load_tokenization(folder))
    return judge.local_name(read_json(job.inputs["model"] / MODEL_FILE)), loaded[place]


def ask(job: Job, requests: Sequence[Request], answering: Any, missing: Missing) -> dict[Asked, dict[tuple[str, int], Verdict]]:
    """The verdict of every request that gets one, going on from those of an earlier try; the others are added to `missing`."""
    kept = {(name, order): Kept(job.scratch / f"{name}_{order}.jsonl") for name in ASKED for order in ORDERS}
    open_ = [request for request in requests if request.place not in kept[request.asked]]
    done = len(requests) - len(open_)
    job.progress(done, len(requests), "verdict")
    for request, verdict in answering.verdicts(open_, missing):
        prompt_id, repeat = request.place
        kept[request.asked].add({"prompt_id": prompt_id, "repeat": repeat, "value": verdict.value, "mass": verdict.mass})
        done += 1
        job.progress(done, len(requests), "verdict")
    return {
        asked: {(row["prompt_id"], row["repeat"]): Verdict(row["value"], row["mass"]) for row in rows}
        for asked, rows in kept.items()
    }
