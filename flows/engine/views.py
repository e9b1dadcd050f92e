"""What MLflow's page of an experiment opens on: saved views, and the addresses that lead to them.

A saved view is an experiment's tag in a format of MLflow's interface that no document promises (read off MLflow 3.17): its state is JSON,
deflated, in base64. `tests/test_tracking_pages.py` holds it to the locked version, in a browser. A version that reads it no more ignores
it, and the address opens the plain list of runs. Pure: says what to tag, tags nothing.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from flows.engine.headline_metrics import CAPABILITIES, CAPABILITY, COST, OUTCOME, TOXICITIES, TOXICITY, TRAINING

TAG = "mlflow.sharedViewState."
ARMS, CHARTS, ANSWERS = "arms-by-size", "charts", "answers-side-by-side"
MODES = {CHARTS: {"compareRunsMode": "CHART"}, ANSWERS: {"compareRunsMode": "ARTIFACT"}}  # of the page; else a table
TITLES = {ARMS: "Arms by size", CHARTS: "Charts", ANSWERS: "Answers side by side"}
ORDER = "tags.`palms`"  # the text of that tag sorts runs as the table is to show them
PINNED = {
    "attributes.`Run Name`": 200,
    "runDateAndNestInfo": 120,
}  # name and start, which stand first and cannot be hidden, with their widths in pixels
LETTER_PX, AROUND_PX = 6.7, 26  # of a column's heading
ALL_RUNS = 100  # that a chart shows
CARD_PX = 320


def route(experiment: str, view: str | None = ARMS) -> str:
    """Where a view of an experiment is, behind the `#` of MLflow's address; the list of its runs without a view."""
    asked = {"workflowType": "machine_learning"}  # without it the page opens on traces
    if view is not None:
        asked |= {"viewStateShareKey": view, **MODES.get(view, {})}
    return f"/experiments/{experiment}/runs?{urlencode(asked)}"


def run_route(experiment: str, run: str, artifact: str = "") -> str:
    """A run's page, or that of one of its artifacts."""
    return f"/experiments/{experiment}/runs/{run}" + (f"/artifacts/{artifact}" if artifact else "")


@dataclass(frozen=True)
class Shown:
    """What a sweep's views are made of. `metrics`: those that its runs have; `called`: a metric's words; `against`: arms that the treated
    ones are compared with."""

    sweep: str
    primary: str
    metrics: frozenset[str]
    called: Mapping[str, str]
    against: Sequence[str]
    largest: str | None  # the size whose answers are shown
    when: int  # in milliseconds since 1970


def tags(shown: Shown) -> dict[str, str]:
    """The experiment's tags, by their keys."""
    runs = f"params.sweep = '{shown.sweep}' AND tags.superseded IS NULL"
    table = _table(shown)
    state = {
        "searchFilter": runs,
        "orderByKey": ORDER,
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "runsHiddenMode": "SHOWALL",
        "selectedColumns": list(table),
        "columnOrder": [*PINNED, *table],
        "columnWidths": PINNED | table,
        **_charts(shown),
    }
    of_largest = f"{runs} AND params.size = '{shown.largest}'" if shown.largest else runs
    states = {ARMS: state, CHARTS: state, ANSWERS: state | {"searchFilter": of_largest, "runListHidden": True}}
    return {f"{TAG}{key}": _saved(TITLES[key], one, shown.when) for key, one in states.items()}


def _saved(name: str, state: Mapping[str, Any], when: int) -> str:
    packed = "deflate;" + b64encode(zlib.compress(json.dumps(state).encode())).decode()
    return json.dumps({"name": name, "createdAt": when, "updatedAt": when, "state": packed})


def _table(shown: Shown) -> dict[str, int]:
    """Column → its width: size and arm, the primary outcome and its differences, toxicity, capability, seconds."""
    wanted = [
        f"{OUTCOME}/{shown.primary}",
        *(f"{OUTCOME}/vs_{arm}" for arm in shown.against),
        f"{TOXICITY}/{TOXICITIES[0]}",
        *(f"{TOXICITY}/vs_{arm}" for arm in shown.against),
        *(f"{CAPABILITY}/{metric}" for metric in CAPABILITIES),
        f"{COST}/seconds",
    ]
    widths = {f"metrics.`{name}`": int(LETTER_PX * len(name) + AROUND_PX) for name in wanted if name in shown.metrics}
    return {"params.`size`": 64, "params.`arm`": 112} | widths


# ---- charts -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chart:
    """`against`: the parameter that lies on the x axis of points; bars without, and a line for a curve."""

    metric: str
    against: str = ""
    curve: bool = False
    shown: bool = True

    def state(self, uuid: str, section: str) -> dict[str, Any]:
        common = {
            "uuid": uuid,
            "metricSectionId": section,
            "deleted": not self.shown,
            "isGenerated": False,
            "runsCountToCompare": ALL_RUNS,
        }
        if self.against:
            x, y = {"key": self.against, "type": "PARAM"}, {"key": self.metric, "type": "METRIC"}
            return common | {"type": "SCATTER", "xaxis": x, "yaxis": y}
        if not self.curve:
            return common | {"type": "BAR", "metricKey": self.metric}
        return common | {
            "type": "LINE",
            "metricKey": self.metric,
            "lineSmoothness": 0,
            "scaleType": "linear",
            "xAxisScaleType": "linear",
            "xAxisKey": "step",
            "selectedXAxisMetricKey": "",
            "useGlobalXaxisKey": True,
            "useGlobalLineSmoothing": True,
            "range": {},
            "yAxisKey": "metric",
            "yAxisExpressions": [],
            "ignoreOutliers": False,
        }


def _charts(shown: Shown) -> dict[str, Any]:
    """Sections of charts. A metric that none of them shows gets a chart that counts as deleted, or the page would add one of its own."""
    sections = _sections(shown)
    drawn = {chart.metric for _, charts in sections for chart in charts if not chart.against}
    rest = [Chart(name, curve=name.startswith(TRAINING), shown=False) for name in sorted(shown.metrics - drawn)]
    sections = [*sections[:-1], (sections[-1][0], [*sections[-1][1], *rest])]
    return {
        "isAccordionReordered": True,  # else the page sorts the sections by their names
        "compareRunSections": [
            {
                "uuid": f"section-{i}",
                "name": name,
                "display": True,
                "isReordered": True,
                "deleted": False,
                "isGenerated": False,
                "columns": 2,
                "cardHeight": CARD_PX,
            }
            for i, (name, _) in enumerate(sections)
        ],
        "compareRunCharts": [
            chart.state(f"chart-{i}-{j}", f"section-{i}")
            for i, (_, charts) in enumerate(sections)
            for j, chart in enumerate(charts)
        ],
    }


def _sections(shown: Shown) -> list[tuple[str, list[Chart]]]:
    """By what they are about; a metric that no run has is in none."""
    outcome, toxicity, loss = f"{OUTCOME}/{shown.primary}", f"{TOXICITY}/{TOXICITIES[0]}", f"{TRAINING}/loss"
    sections = [
        (shown.called.get(shown.primary, shown.primary), [*_levels(outcome), *_vs(OUTCOME, shown.against)]),
        ("toxicity", [*_levels(toxicity), *_vs(TOXICITY, shown.against)]),
        ("capability", [Chart(f"{CAPABILITY}/{metric}") for metric in CAPABILITIES]),
        ("cost", [Chart(f"{COST}/seconds"), Chart(f"{COST}/peak_memory_gib")]),
        ("training", [Chart(loss, curve=True)]),
    ]
    there = [(name, [chart for chart in charts if chart.metric in shown.metrics]) for name, charts in sections]
    return [(name[:1].upper() + name[1:], charts) for name, charts in there if charts]


def _levels(metric: str) -> Iterable[Chart]:
    return [Chart(metric), Chart(metric, against="parameters")]


def _vs(group: str, against: Sequence[str]) -> Iterable[Chart]:
    return [Chart(f"{group}/vs_{arm}") for arm in against]
