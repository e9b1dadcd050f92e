"""A finished sweep's results, found again in the store by the sweep's id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from configs.problems import BadInput
from flows.engine.home import Home
from flows.engine.stores.manifest import MANIFEST
from flows.outputs import Outputs
from tasks.compare.summary import ALL_SEEDS, CONTRASTS, EXACT, PLANTED, read_outcome
from tasks.contract import read_json, read_rows

COLUMNS = (
    "sweep",
    "ladder",
    "size",
    "params",
    "arm",
    "seed",
    "suite",
    "group",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "n",
    "train_samples",
)
NUMBERS = {"params": int, "seed": int, "value": float, "ci_low": float, "ci_high": float, "n": int, "train_samples": int}


def comparison(home: Home, sweep: str | None) -> tuple[str, Path]:
    """The sweep's id and the folder of its comparison.

    Raises:
        BadInput: no such sweep, it has not come to its comparison, or what it left is damaged.
    """
    left = Outputs.of(home, sweep)
    if left.comparison is None:
        raise BadInput(f"sweep {left.sweep} has no comparison yet; `palms status {left.sweep}` tells how far it is")
    return left.sweep, left.comparison.folder


def report_path(home: Home, sweep: str | None) -> Path:
    return comparison(home, sweep)[1] / "report.html"


def metric_rows(sweep: str, folder: Path) -> list[dict[str, Any]]:
    """The tidy metrics of a comparison; an axis or limit that does not apply is None."""
    rows = [{"sweep": sweep, **row} for row in read_rows(folder / "metrics.csv")]
    return [{column: _typed(column, row[column]) for column in COLUMNS} for row in rows]


def outcome_metrics(folder: Path) -> frozenset[str]:
    """The metrics of the primary and of the secondary outcomes."""
    return frozenset(read_outcome(folder)["called"])


def units(folder: Path) -> dict[str, str]:
    """Metric → `%` for a share, its unit where it was declared, or `score`; a metric that is not there has its unit in its name."""
    kinds = {row["metric"]: row["kind"] for row in read_rows(folder / CONTRASTS)}
    found = {metric: "%" if kind == "rate" else kind for metric, kind in kinds.items()}
    found |= {f"{of}{metric}": unit for metric, unit in found.items() if unit == "%" for of in (EXACT, PLANTED)}
    measures = read_json(folder / MANIFEST)["identity"]["settings"]["measures"]
    return found | {one["metric"]: one["unit"] for one in measures if one["unit"]}


def _typed(column: str, text: str) -> Any:
    if column == "seed" and text == ALL_SEEDS:  # of effects over several seeds
        return text
    return None if text == "" else NUMBERS.get(column, str)(text)
