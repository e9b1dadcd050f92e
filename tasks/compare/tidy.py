"""The comparison's tidy tables: levels and differences, the contrasts in full, the trends, and the tracker's few numbers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from configs.called import suite_words
from tasks.compare.capability import Verdict
from tasks.compare.comparison import Comparison
from tasks.compare.contrasts import Difference
from tasks.compare.raters import Ratings
from tasks.compare.report.headline import headline
from tasks.compare.summary import ALPHA, OUTCOME
from tasks.compare.trends import Trend
from tasks.compare.upstream import Sources
from tasks.contract import Metric, write_json, write_metrics, write_rows
from tasks.statistics import DEGENERATE, Interval

TIDY = ("ladder", "size", "params", "arm", "seed", "suite", "group", "metric", "value", "ci_low", "ci_high", "n", "train_samples")


def write(folder: Path, found: Comparison) -> None:
    sources, settings = found.sources, found.settings
    simulated = {"simulated": True} if found.ratings.simulated else {}
    write_rows(folder / "metrics.csv", levels(sources) + [_tidy(row) for row in found.differences], TIDY)
    write_rows(
        folder / "contrasts.csv",
        [asdict(row) | {"contrast": str(row.contrast)} for row in found.differences],
        tuple(Difference.__dataclass_fields__),
    )
    write_rows(folder / "trend.csv", [_slope(row) for row in found.slopes], TREND)
    write_rows(folder / "capability.csv", [asdict(row) for row in found.verdicts], tuple(Verdict.__dataclass_fields__))
    write_json(folder / OUTCOME, {**outcomes(sources, settings), **simulated, "finding": headline(found)})
    write_metrics(folder, [*(_metric(row) for row in found.differences if _primary(row, settings)), *agreement(found.ratings)])


def agreement(ratings: Ratings) -> list[Metric]:
    """How far raters agree, of each arm and over all; none where nothing was rated."""
    return [Metric(ALPHA, one.alpha.value, one.alpha.n, one.arm or "all", *_ends(one.alpha)) for one in ratings.alphas]


def _ends(interval: Interval) -> tuple[float | None, float | None]:
    return (None, None) if interval.method.startswith(DEGENERATE) else (interval.low, interval.high)


def outcomes(sources: Sources, settings: Any) -> dict[str, Any]:
    """Which suite and metric the primary outcome and the one secondary column of a small table come from, and which arms there are."""
    secondary = next(iter(settings.secondary), None)
    suites = sorted({node.axes.suite or "" for node in sources.nodes if secondary in node.prompts})
    preferred = next((suite for suite in (secondary, settings.primary_suite, *suites) if suite in suites), None)
    return {
        "suite": settings.primary_suite,
        "metric": settings.primary_metric,
        "secondary_suite": preferred,
        "secondary_metric": secondary,
        "reference": settings.arms.reference,
        "arms": list(settings.arms.names),
        "contrasts": [str(contrast) for contrast in settings.arms.confirmatory],
        "suites": {name: suite_words(name) for name in sorted({node.axes.suite or "" for node in sources.nodes} - {""})},
        "called": {metric: sources.words(metric) for metric in dict.fromkeys((settings.primary_metric, *settings.secondary))},
    }


def levels(sources: Sources) -> list[dict[str, Any]]:
    """What each stage measured on each arm, one row a metric and group."""
    return [
        {
            "ladder": node.axes.ladder,
            "size": node.axes.size,
            "params": sources.params(node.axes.ladder, node.axes.size),
            "arm": node.axes.arm,
            "seed": node.axes.seed,
            "suite": node.axes.suite,
            "group": row.group,
            "metric": row.metric,
            "value": row.value,
            "ci_low": row.ci_low,
            "ci_high": row.ci_high,
            "n": row.n,
            "train_samples": node.axes.train_samples,
        }
        for node in sorted(sources.nodes, key=lambda node: (sources.order(node.axes), node.label))
        if node.axes.ladder is not None
        for row in node.metrics
    ]


def _tidy(row: Difference) -> dict[str, Any]:
    return {name: str(row.contrast) if name == "arm" else getattr(row, name) for name in TIDY}


TREND = (
    "ladder",
    "arm",
    "train_samples",
    "seed",
    "suite",
    "metric",
    "sizes",
    "unit",
    "prompt_slope",
    "prompt_low",
    "prompt_high",
    "size_slope",
    "size_low",
    "size_high",
    "size_df",
    "verdict",
)


def _slope(row: Trend) -> dict[str, Any]:
    sizes = row.over_sizes
    return {
        "ladder": row.ladder,
        "arm": str(row.arm),
        "train_samples": row.train_samples,
        "seed": row.seed,
        "suite": row.suite,
        "metric": row.metric,
        "sizes": row.sizes,
        "unit": "per tenfold parameters",
        "prompt_slope": row.prompts.value,
        "prompt_low": row.prompts.low,
        "prompt_high": row.prompts.high,
        "size_slope": sizes and sizes.value,
        "size_low": sizes and sizes.low,
        "size_high": sizes and sizes.high,
        "size_df": sizes and sizes.df,
        "verdict": row.verdict,
    }


def _primary(row: Difference, settings: Any) -> bool:
    return row.group == "all" and (row.suite, row.metric) == (settings.primary_suite, settings.primary_metric)


def _metric(row: Difference) -> Metric:
    """The axes go into the name, for the comparison stands above all of them."""
    parts = [row.metric, str(row.contrast), f"{row.ladder}-{row.size}"]
    parts += [f"n{row.train_samples}"] if row.train_samples is not None else []
    parts += [f"seed{row.seed}"] if row.seed is not None else []
    return Metric("/".join(parts), row.value, row.n, row.group, row.ci_low, row.ci_high)
