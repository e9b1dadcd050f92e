"""What people said of an arm's completions: a level a measure, and every rating with who gave it.

Knows how ratings of one completion become one value. Leaves raters' agreement, severity and drift, which are of all arms together, to the
comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from tasks.contract import Job, Metric, sha256_file, write_metrics, write_rows
from tasks.evaluations.human_eval.stage import ANSWERS, RANKED, RATING
from tasks.levels import PromptRow, level_metrics, place, write_prompt_rows
from tasks.ratings.kept import Rated, of_completions, read_rated
from tasks.ratings.project import RATED, REPEATED
from tasks.sampling.completions import COMPLETIONS, Completion, by_prompt, read_completions

Place = tuple[str, int]  # prompt, repeat
COLUMNS = (
    "prompt_id",
    "group",
    "repeat",
    "rater",
    "rating",
    "is_answer",
    "rank",
    "skipped",
    "again",
    "order",
    "rater_group",
    "simulated",
)


def run(jobs: Sequence[Job]) -> None:
    """Raises ValueError where nobody rated any of a job's completions."""
    for job in jobs:
        completions = read_completions(job.inputs["completions"])
        held = of_completions(read_rated(job.inputs["ratings"]), sha256_file(job.inputs["completions"] / COMPLETIONS))
        first = [one for one in held if one.why == RATED]
        said = [one for one in first if not one.skipped]
        if not said:
            raise ValueError(
                f"{job.label}: none of its {len(completions)} completions is rated; ratings of these texts, as `palms ratings export` gives "
                "them out, are required"
            )
        rows = prompt_rows(completions, first)
        write_rows(job.work / "ratings.csv", [_row(one) for one in held], COLUMNS, mark="needed")
        write_rows(
            job.work / "scores.csv", score_rows(completions, first), ("prompt_id", "group", "repeat", RATING, ANSWERS, "raters")
        )
        write_prompt_rows(job.work, rows)
        rated = {(one.task.prompt_id, one.task.repeat) for one in said}
        counts = [
            Metric("ratings", len(said), n=len(rated)),
            Metric("raters", len({(one.project, one.rater) for one in said}), n=len(rated)),
            Metric("unrated_share", 1 - len(rated) / len(completions), n=len(completions)),
        ]
        write_metrics(job.work, [*level_metrics(rows), *counts])
        job.say(
            f"{len(said)} ratings of {len(rated)} of {len(completions)} completions"
            + (", simulated" if said[0].simulated else "")
        )
        job.commit()


def score_rows(completions: Sequence[Completion], held: Sequence[Rated]) -> list[dict[str, object]]:
    """A row a completion that somebody rated: the mean of its ratings, the share that take it for an answer, and how many raters."""
    given = _by_place(held)
    return [
        {
            "prompt_id": row.prompt_id,
            "group": row.group,
            "repeat": row.repeat,
            RATING: _mean([one.rating for one in members]),
            ANSWERS: _mean([one.is_answer for one in members]),
            "raters": len(members),
        }
        for row in completions
        if (members := given.get((row.prompt_id, row.repeat)))
    ]


def prompt_rows(completions: Sequence[Completion], held: Sequence[Rated]) -> list[PromptRow]:
    """Measures of each prompt over its rated completions, each completion the mean over its raters; a prompt without a rating has no row.

    rating: 1 to 5 (Solaiman & Dennison 2021). human_answer_share: how many take it for an answer at all. human_rank_share: the share of the
    completions beside it, of the other arms, that a rater ranked below it, ties half; 0.5 is no preference.
    """
    given, rows = _by_place(held), []
    for members in by_prompt(completions).values():
        own = [given[row.prompt_id, row.repeat] for row in members if (row.prompt_id, row.repeat) in given]
        values = {
            RATING: [mean for one in own if (mean := _mean([rating.rating for rating in one])) is not None],
            ANSWERS: [mean for one in own if (mean := _mean([rating.is_answer for rating in one])) is not None],
            RANKED: [mean for one in own if (mean := _mean([rating.share for rating in one])) is not None],
        }
        for metric, found in values.items():
            if found:
                rows.append(PromptRow(metric=metric, kind="score", value=fmean(found), n=len(found), **place(members[0])))
    return rows


def _by_place(held: Sequence[Rated]) -> Mapping[Place, list[Rated]]:
    found: dict[Place, list[Rated]] = {}
    for one in held:
        if not one.skipped:
            found.setdefault((one.task.prompt_id, one.task.repeat), []).append(one)
    return found


def _mean(values: Sequence[float | bool | None]) -> float | None:
    there = [float(value) for value in values if value is not None]
    return fmean(there) if there else None


def _row(one: Rated) -> dict[str, object]:
    return {
        "prompt_id": one.task.prompt_id,
        "group": one.task.group,
        "repeat": one.task.repeat,
        "rater": one.rater,
        "rating": one.rating,
        "is_answer": None if one.is_answer is None else int(one.is_answer),
        "rank": one.rank,
        "skipped": one.skipped,
        "again": int(one.why == REPEATED),
        "order": one.order,
        "rater_group": one.group,
        "simulated": int(one.simulated),
    }
