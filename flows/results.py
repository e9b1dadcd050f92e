"""A finished sweep's results, found again in the store by the sweep's id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from configs.problems import BadInput
from flows.engine.board import read_board
from flows.engine.home import Home
from flows.engine.notes import store_of, sweep_note
from flows.engine.store import MANIFEST, Damaged, Manifest, Store
from flows.prepared import find_sweep
from tasks.compare.stage import STAGE as COMPARE
from tasks.compare.summary import CONTRASTS, read_outcome
from tasks.compare.truth import EXACT, PLANTED
from tasks.contract import Axes, Node, Stage, read_json, read_rows

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


def outputs(home: Home, sweep: str) -> list[tuple[Node, Manifest | None]]:
    """Every node of a sweep in the order of its DAG, with its output as far as the store holds one; nodes know their stage's name and axes.

    Raises:
        Unreadable: a note of the sweep is damaged, or its store is not there.
    """
    folder = home.sweeps / sweep
    left = sweep_note(folder)
    store = Store(store_of(home, folder, left))
    rows = []
    for entry in read_board(folder / "state.json"):
        name = entry.label.split("/")[0]
        found = store.find(name, entry.key) if entry.key else None
        node = Node(Stage(name, "", ""), Axes(**left.places[entry.label]), None)
        rows.append((node, found if isinstance(found, Manifest) else None))
    return rows


def comparison(home: Home, sweep: str | None) -> tuple[str, Path]:
    """The sweep's id and the folder of its comparison.

    Raises:
        BadInput: no such sweep, it has not come to its comparison, or what it left is damaged.
    """
    name = find_sweep(home, sweep)
    folder = home.sweeps / name
    note = sweep_note(folder)
    key = next((entry.key for entry in read_board(folder / "state.json") if entry.label.split("/")[0] == COMPARE.name), None)
    store = Store(store_of(home, folder, note))
    found = store.find(COMPARE.name, key) if key else None
    if isinstance(found, Damaged):
        raise BadInput(
            f"sweep {name}: its comparison is damaged: {store.folder(COMPARE.name, key or '')}: {found.why}; `palms rerun {name}`"
        )
    if not isinstance(found, Manifest):
        raise BadInput(f"sweep {name} has no comparison yet; `palms status {name}` tells how far it is")
    return name, found.folder


def report_path(home: Home, sweep: str | None) -> Path:
    return comparison(home, sweep)[1] / "report.html"


def metric_rows(home: Home, sweep: str | None) -> list[dict[str, Any]]:
    """The tidy metrics; an axis or limit that does not apply is None."""
    name, folder = comparison(home, sweep)
    rows = [{"sweep": name, **row} for row in read_rows(folder / "metrics.csv")]
    return [{column: _typed(column, row[column]) for column in COLUMNS} for row in rows]


def outcome_metrics(home: Home, sweep: str | None) -> frozenset[str]:
    """The metrics of the primary and of the secondary outcomes."""
    return frozenset(read_outcome(comparison(home, sweep)[1])["called"])


def units(home: Home, sweep: str | None) -> dict[str, str]:
    """Metric → `%` for a share, its unit where it was declared, or `score`; a metric that is not there has its unit in its name."""
    folder = comparison(home, sweep)[1]
    kinds = {row["metric"]: row["kind"] for row in read_rows(folder / CONTRASTS)}
    found = {metric: "%" if kind == "rate" else kind for metric, kind in kinds.items()}
    found |= {f"{of}{metric}": unit for metric, unit in found.items() if unit == "%" for of in (EXACT, PLANTED)}
    measures = read_json(folder / MANIFEST)["identity"]["settings"]["measures"]
    return found | {one["metric"]: one["unit"] for one in measures if one["unit"]}


def _typed(column: str, text: str) -> Any:
    return None if text == "" else NUMBERS.get(column, str)(text)
