"""The small table that a terminal has room for: one row a size and arm, read back from a committed comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from configs.contrasts import Contrast
from tasks.contract import read_json, read_rows

OUTCOME = "outcome.json"


def read_outcome(folder: Path) -> dict[str, Any]:
    """What the table is of (suite, metric, secondary_suite, secondary_metric, reference, arms, contrasts; `called` and
    `suites`: metrics and suites in words), and the comparison's `finding` in a sentence."""
    return read_json(folder / OUTCOME)


def summary_rows(folder: Path) -> list[dict[str, Any]]:
    """One row a (ladder, size, arm, train_samples, seed), in the order of the tables.

    Keys: ladder, size, params, arm, train_samples, seed, primary and secondary (the arm's levels), difference, ci_low, ci_high
    (from the reference arm, of the primary outcome), p_adjusted. A number that was not measured is None; units are those of metrics.csv.
    """
    outcome = read_outcome(folder)
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for line in read_rows(folder / "metrics.csv"):
        if line["group"] != "all" or line["arm"] not in outcome["arms"]:
            continue
        column = _column(line, outcome)
        if column is not None:
            where = tuple(line[name] for name in ("ladder", "size", "arm", "train_samples", "seed"))
            rows.setdefault(where, _empty(line))[column] = float(line["value"])
    for line in read_rows(folder / "contrasts.csv"):
        contrast, said = Contrast.parse(line["contrast"]), (line["group"], line["suite"], line["metric"])
        if contrast.reference == outcome["reference"] and said == ("all", outcome["suite"], outcome["metric"]):
            where = (line["ladder"], line["size"], contrast.treated, line["train_samples"], line["seed"])
            row = rows.setdefault(where, {**_empty(line), "arm": contrast.treated, "primary": float(line["treated"])})
            row |= {
                "difference": float(line["value"]),
                **{name: _number(line[name]) for name in ("ci_low", "ci_high", "p_adjusted")},
            }
    arms = [outcome["reference"], *(arm for arm in outcome["arms"] if arm != outcome["reference"])]
    return sorted(rows.values(), key=lambda row: _order(row, arms))


def _order(row: dict[str, Any], arms: list[str]) -> tuple[Any, ...]:
    """Small sizes first, the reference arm before the others, the runs of an arm before all of them together."""
    train_samples, seed = row["train_samples"] or 0, row["seed"] or ""
    return (
        row["ladder"],
        row["params"] or float("inf"),
        row["size"],
        arms.index(row["arm"]),
        train_samples,
        seed == "all",
        int(seed) if seed.isdigit() else 0,
    )


def _column(line: dict[str, str], outcome: dict[str, str]) -> str | None:
    if (line["suite"], line["metric"]) == (outcome["suite"], outcome["metric"]):
        return "primary"
    return "secondary" if (line["suite"], line["metric"]) == (outcome["secondary_suite"], outcome["secondary_metric"]) else None


def _empty(line: dict[str, str]) -> dict[str, Any]:
    return {
        "ladder": line["ladder"],
        "size": line["size"],
        "params": _number(line["params"]),
        "arm": line.get("arm"),
        "train_samples": _number(line["train_samples"]),
        "seed": line["seed"] or None,
        "primary": None,
        "secondary": None,
        "difference": None,
        "ci_low": None,
        "ci_high": None,
        "p_adjusted": None,
    }


def _number(text: str) -> float | int | None:
    if not text:
        return None
    number = float(text)
    return int(number) if number.is_integer() and "." not in text else number


def summary_cells(rows: Sequence[dict[str, Any]], outcome: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The comparison as one row a size and arm; axes with one value are left out."""
    varied = [axis for axis in ("train_samples", "seed") if len({row[axis] for row in rows} - {None}) > 1]
    beside = ["secondary"] if any(row["secondary"] is not None for row in rows) else []  # none if it is the primary outcome
    primary, further = f"{outcome['metric']} ({outcome['suite']})", [outcome["secondary_metric"] for _ in beside]
    cells = []
    for row in rows:
        difference = ""
        if row["difference"] is not None:
            limits = "" if row["ci_low"] is None else f"  ({row['ci_low']:+.3f} to {row['ci_high']:+.3f})"
            difference = f"{row['difference']:+.3f}{limits}"
        model, params = f"{row['ladder']}-{row['size']}", "" if row["params"] is None else f"{row['params']:,}"
        values = [shown(row[name]) for name in (*varied, "primary", *beside)]
        cells.append([model, params, row["arm"], *values, difference])
    return ["size", "params", "arm", *varied, primary, *further, f"difference from {outcome['reference']} (95 % interval)"], cells


def shown(value: Any) -> str:
    """A cell of a table on the screen."""
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
