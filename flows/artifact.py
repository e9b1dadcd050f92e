"""What a sweep's flow run shows in the orchestrator's dashboard: the comparison, where its runs are tracked, and what is missing.

One Markdown artifact a flow run; all of one experiment share a key, so that the dashboard lists them as versions of one another.
"""

from __future__ import annotations

from collections.abc import Iterator

from prefect.artifacts import create_markdown_artifact

from flows.engine import names, tracking, views
from flows.engine.servers import PORTS, running
from flows.engine.session import Blocked
from flows.engine.store import Manifest
from flows.engine.tracked import CALIBRATION_NOTE
from flows.prepared import Run
from tasks.compare.summary import read_outcome, summary_cells, summary_rows
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
    rows = summary_rows(compared.folder)
    if rows:
        headings, cells = summary_cells(rows, read_outcome(compared.folder))
        yield _line(headings)
        yield _line(["---"] * len(headings))
        arm = headings.index("arm")
        for row, line in zip(rows, cells, strict=True):
            seed = int(row["seed"]) if (row["seed"] or "").isdigit() else None  # `all` is no run
            place = Axes(ladder=row["ladder"], size=row["size"], arm=row["arm"], train_samples=row["train_samples"], seed=seed)
            address = addresses.get(tracking.place_name(place))
            yield _line([f"[{cell}]({address})" if address and column == arm else cell for column, cell in enumerate(line)])
        yield ""
    if "comparison" in addresses:
        yield f"- in MLflow, the experiment's newest comparison: [arms by size]({addresses['comparison']})"
    if "sweep" in addresses:
        yield f"- in MLflow: [{run.dag.sweep}]({addresses['sweep']})"
    yield f"- report: `palms report {run.dag.sweep}` tells its path\n"


def tracked_runs(run: Run) -> dict[str, str]:
    """The address of each place's tracked run, and of the experiment's `comparison`; at the server that `palms up` starts, unless the
    experiment names another."""
    tracked = run.tracked()
    server = running(run.home, "mlflow")
    base = tracked.uri if tracked.uri.startswith("http") else server.url if server else f"http://127.0.0.1:{PORTS['mlflow']}"
    experiment, runs = tracking.run_ids(tracked)
    routes = {place: views.run_route(experiment, run_id) for place, run_id in runs.items()}
    return {place: f"{base}/#{route}" for place, route in (routes | {"comparison": views.route(experiment)}).items()}


def _missing(run: Run) -> Iterator[str]:
    failures = run.session.failures()
    blocked = sum(isinstance(run.session.outcome(node), Blocked) for node in run.dag.nodes)
    if failures:
        yield f"**Missing**: {len(failures)} stages failed, {blocked} wait for them; `palms rerun {run.dag.sweep}` runs them.\n"
        yield from (f"- `{failure.label}`: {failure.crash.message}" for failure in failures)
        yield f"\nlog: `sweeps/{run.dag.sweep}/log.txt` under PALMS_HOME"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
