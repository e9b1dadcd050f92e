"""The text above an experiment's runs in MLflow, in Markdown: what its newest sweep found, in one sentence, then in a table, then where
to go on. MLflow shows the first line until a reader unfolds it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from configs.called import suite_words
from configs.contrasts import is_shown
from flows.engine.headline_metrics import OUTCOME, TOXICITY, Comparison
from flows.engine.tracked import CALIBRATION_NOTE
from flows.engine.views import ANSWERS, ARMS, CHARTS, TITLES, route, run_route

AXES = ("ladder", "size", "train_samples", "seed")
APART = "&emsp;"  # the page sets tables without any room between columns
MOST_ROWS = 40  # of a table: the tag that holds the note takes 20,000 characters
REPORT = "compare/report.html"


def experiment_note(compared: Comparison, sweep: str, *, calibration: bool, experiment: str, run: str) -> str:
    """`experiment` and `run` (the sweep's own) are MLflow's ids."""
    return "\n".join(_lines(compared, sweep, calibration, experiment, run))


def _lines(compared: Comparison, sweep: str, calibration: bool, experiment: str, run: str) -> Iterator[str]:
    yield f"**{'Calibration, not about real models: ' if calibration else ''}{compared.finding}**\n"
    if calibration:
        yield f"*{CALIBRATION_NOTE}*\n"
    for group in (OUTCOME, TOXICITY):
        rows = compared.rows(group)
        if crossed := [row for row in rows if row["seed"] and not row["seed"].isdigit()]:  # seeds and prompts together
            rows = crossed
        if rows:
            yield from _table(compared, group, rows)
    yield "Differences with their 95 % intervals; bold where the test that is adjusted for its family shows one.\n"
    pages = [f"[{TITLES[view]}](#{route(experiment, view)})" for view in (ARMS, CHARTS, ANSWERS)]
    further = [f"[report](#{run_route(experiment, run, REPORT)})", f"[sweep {sweep}](#{run_route(experiment, run)})"]
    yield " · ".join([*pages, *further])


def _table(compared: Comparison, group: str, rows: list[Mapping[str, str]]) -> Iterator[str]:
    """A row a size, with whatever else differs between rows, and a column a contrast."""
    suite, metric = compared.outcomes[group]
    contrasts = list(dict.fromkeys(row["contrast"] for row in rows))
    axes = [axis for axis in AXES if axis == "size" or len({row[axis] for row in rows}) > 1]
    places: dict[tuple[str, ...], dict[str, Mapping[str, str]]] = {}
    for row in rows:
        places.setdefault(tuple(row[axis] for axis in axes), {})[row["contrast"]] = row
    yield f"**{compared.called.get(metric, metric)}** ({suite_words(suite)})\n"
    yield _row([*(axis.replace("_", " ") for axis in axes), *(one.replace("_", " ").replace("-", " − ") for one in contrasts)])
    yield "| --- " * (len(axes) + len(contrasts)) + "|"
    for place, held in list(places.items())[:MOST_ROWS]:
        yield _row([*place, *(_cell(held.get(one)) for one in contrasts)])
    if len(places) > MOST_ROWS:
        yield _row([f"{len(places) - MOST_ROWS} more: see the report", *[""] * (len(axes) + len(contrasts) - 1)])
    yield ""


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell + APART for cell in cells)} |"


def _cell(row: Mapping[str, str] | None) -> str:
    if row is None:
        return "–"
    value = f"{float(row['value']):+.3f}"
    shown = is_shown(float(row["p_adjusted"]) if row["p_adjusted"] else None)
    return (f"**{value}**" if shown else value) + f" [{float(row['ci_low']):+.3f}, {float(row['ci_high']):+.3f}]"
