"""What a sweep's flow run shows in the orchestrator's dashboard: the comparison, where its runs are tracked, and what is missing.

One Markdown artifact a flow run; all of one experiment share a key, so that the dashboard lists them as versions of one another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from prefect.artifacts import create_markdown_artifact

from flows.engine import names, projected, views
from flows.engine.home import Home
from flows.engine.servers import PORTS, running
from flows.engine.session import Blocked
from flows.engine.stores.manifest import Manifest
from flows.engine.tracked import CALIBRATION_NOTE, Tracked, place_name
from flows.prepared import Run
from tasks.compare.stage import STAGE as COMPARE
from tasks.compare.summary import LEGEND, read_outcome, tables
from tasks.contract import Axes


def publish(run: Run) -> None:
    create_markdown_artifact("\n".join(markdown(run)), key=key(run), description=f"sweep {run.dag.sweep}")


def key(run: Run) -> str:
    return names.artifact(run.experiment.name)


def markdown(run: Run) -> Iterator[str]:
    yield f"# {run.dag.sweep}\n"
    if run.calibration:
        yield f"> {CALIBRATION_NOTE}\n"
    compared = run.session.outcome(run.dag.comparison)
    if isinstance(compared, Manifest):
        yield from _comparison(run, compared)
    yield from _missing(run)


def _comparison(run: Run, compared: Manifest) -> Iterator[str]:
    addresses = tracked_runs(run)
    yield f"**{_plain(read_outcome(compared.folder)['finding'])}**\n"
    found = tables(compared.folder)
    for one in found:
        yield f"{_plain(one.title)}\n"
        yield _line(one.headings)
        yield _line(["---"] * len(one.headings))
        for row, line in zip(one.rows, one.cells, strict=True):
            seed = int(row.seed) if row.seed is not None and row.seed.isdigit() else None  # `all` is no run
            place = Axes(ladder=row.ladder, size=row.size, arm=row.arm, train_samples=row.train_samples, seed=seed)
            yield _line(_linked(one.headings, line, addresses.get(place_name(place))))
        yield ""
    if found:
        yield f"{_plain(LEGEND)}\n"
    if "comparison" in addresses:
        yield f"- in MLflow, the experiment's newest comparison: [arms by size]({addresses['comparison']})"
    ways = [f"`palms report {run.dag.sweep} --open`"]
    if sweep := addresses.get("sweep"):
        ways.insert(0, f"[in MLflow]({sweep}/artifacts/{COMPARE.name}/report.html)")
        yield f"- all its runs: [{run.dag.sweep}]({sweep})"
    yield f"- report: {' or '.join(ways)}\n"


def _linked(headings: Sequence[str], cells: Sequence[str], address: str | None) -> list[str]:
    """A row whose arm leads to its tracked run."""
    told = map(_plain, cells)
    return [
        f"[{cell}]({address})" if address and heading == "arm" else cell for heading, cell in zip(headings, told, strict=True)
    ]


def _plain(text: str) -> str:
    """A text in which Markdown finds nothing to set."""
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", text)


def tracked_runs(run: Run) -> dict[str, str]:
    """The address of each place's tracked run, and of the experiment's `comparison`; at the server that `palms up` starts, unless the
    experiment names another."""
    tracked = run.tracked()
    server = running(run.home, "mlflow")
    base = tracked.uri if tracked.uri.startswith("http") else server.url if server else f"http://127.0.0.1:{PORTS['mlflow']}"
    experiment, runs = _run_ids(run.home, tracked)
    routes = {place: views.run_route(experiment, run_id) for place, run_id in runs.items()}
    return {place: f"{base}/#{route}" for place, route in (routes | {"comparison": views.route(experiment)}).items()}


def _run_ids(home: Home, tracked: Tracked) -> tuple[str, Mapping[str, str]]:
    """The tracker's experiment, and its run of each place."""
    if there := projected.shown(home, tracked):
        return there.experiment, there.runs
    from flows.engine import tracking  # with MLflow

    return tracking.run_ids(tracked)


def _missing(run: Run) -> Iterator[str]:
    failures = run.session.failures()
    blocked = sum(isinstance(run.session.outcome(node), Blocked) for node in run.dag.nodes)
    if failures:
        yield f"**Missing**: of {len(run.dag.nodes)} stages {len(failures)} failed and {blocked} could not run because of that;"
        yield f"`palms rerun {run.dag.sweep}` runs them.\n"
        yield from (f"- `{failure.label}`: {failure.crash.message}" for failure in failures)
        yield f"\nlog: `sweeps/{run.dag.sweep}/log.txt` under PALMS_HOME"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
