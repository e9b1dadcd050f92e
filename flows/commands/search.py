"""`palms search`: which learning rate and how many epochs, at each size, on prompts that are never reported on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from configs.problems import BadInput
from flows.commands.estimate import costs, together
from flows.commands.run import carry_out
from flows.commands.words import Config, Sets, duration, out, plain, plural, show
from flows.engine.home import Home
from flows.prepared import Run, planned, prepare_run
from flows.probing import probed_arm
from flows.request import request
from flows.search import Found, Grid, Trial, found, record, require_different, write_found, write_search
from flows.serving.interruption import INTERRUPTED


def search(
    config: Config,
    rates: Annotated[str, typer.Option(help="learning rates to try: 1e-5,1e-4")],
    epochs: Annotated[str, typer.Option(help="numbers of epochs to try: 1,2,4")],
    arm: Annotated[str | None, typer.Option(help="default: the first that a confirmatory contrast treats")] = None,
    primary: Annotated[
        str | None,
        typer.Option(help="the outcome on the probes that is chosen by, such as on_position; default: the most telling"),
    ] = None,
    size: Annotated[list[str] | None, typer.Option(help="of the experiment; may be given several times; default: all")] = None,
    probes: Annotated[
        Path | None, typer.Option(help="prompts marked `reported: false`; default: the shipped weakness probes")
    ] = None,
    max_drift: Annotated[
        float | None,
        typer.Option(
            help="nats a token that neutral prose may become less likely; default: the arm's max_drift, or the margin of capability"
        ),
    ] = None,
    sets: Sets = None,
) -> None:
    """Try every rate with every number of epochs, size by size, on weakness probes: how far each moves the outcome, and how far it drifts.

    Each trial is tuned, sampled and scored as an arm of a sweep: what is there is not made again, and what was stopped goes on. Nothing of it is a
    result.

    Example:  palms search calibration --arm values_targeted --rates 1e-4,3e-4,1e-3 --epochs 1,2,4
    """
    grid = Grid.of(rates, epochs)
    if max_drift is not None and not max_drift > 0:
        raise BadInput(f"--max-drift: {max_drift:g}; a number above 0 is accepted")
    home = Home.open()
    home.settle_environment()
    run = prepare_run(home, request(config, sets or []))
    looked_at = probed_arm(run.experiment, arm)
    source = write_search(run, looked_at, grid, sizes=size or (), primary=primary, probes=probes)
    sweep = prepare_run(home, request(str(source)))
    require_different(sweep, looked_at, grid)
    unmade = [node for node, row in zip(sweep.dag.nodes, planned(sweep), strict=True) if row.state != "cached"]
    _tell_before(sweep, grid, len(unmade))
    if unmade:
        whole = together(costs(unmade, sweep.session.store).values())
        if whole.known:
            less = f"; of {whole.nodes - whole.known} nothing is known" if whole.known < whole.nodes else ""
            out.print(f"estimate, from earlier runs: {duration(whole.seconds)} of work{less}", highlight=False)
        status = carry_out(sweep)
        if status == INTERRUPTED:
            raise typer.Exit(status)
    else:
        status = 0
    gave = found(run, sweep, looked_at, grid, max_drift)
    if not gave.trials:
        raise typer.Exit(status)
    files = write_found(gave, home.root / "search" / sweep.dag.sweep)
    record(sweep, gave, files)
    _tell(gave)
    out.print(f"table and plots: {files[0].parent}; in MLflow: sweep {gave.sweep}, a run a trial", highlight=False, markup=False)
    raise typer.Exit(status)


def _tell_before(sweep: Run, grid: Grid, unmade: int) -> None:
    seeds, sizes = len(sweep.experiment.seeds), len(sweep.dag.sizes)
    out.print(
        f"{plural(len(grid.settings), 'setting')} × {plural(sizes, 'size')} × {plural(seeds, 'seed')}: {plural(unmade, 'stage')} of "
        f"{len(sweep.dag.nodes)} to run",
        highlight=False,
    )


def _tell(gave: Found) -> None:
    """A table a size, what is best, and the lines that take it."""
    for size in gave.sizes:
        best = gave.best(size)
        out.print(
            f"\n{size}: {gave.metric} on probes, drift up to {gave.max_drift:g} nats a token allowed",
            style="bold",
            highlight=False,
        )
        table = plain("rate", "epochs", "steps", gave.metric, "drift", "seconds", "")
        for one in (trial for trial in gave.trials if trial.size == size):
            mark = "← best" if one is best else "" if gave.within(one) else "drifted too far"
            table.add_row(
                f"{one.rate:.3g}", str(one.epochs), str(one.steps), _outcome(one), f"{one.drift:+.3f}", f"{one.seconds:.1f}", mark
            )
        show(out, table)
        if best is None:
            out.print("no setting stays within; lower rates or fewer epochs drift less", style="yellow", highlight=False)
        elif beside := gave.beside(best):
            are = "lies" if beside == 1 else "lie"
            of = "interval" if best.low is not None else "range over seeds"
            out.print(
                f"{plural(beside, 'other setting')} within the bound {are} in its {of}: these probes do not tell them apart",
                highlight=False,
            )
    if lines := gave.yaml():
        out.print("\ninto the experiment (an arm has one number of epochs, and a rate a size):", highlight=False)
        out.print(lines, highlight=False, markup=False, end="")


def _outcome(one: Trial) -> str:
    if len(one.outcomes) > 1:
        return f"{one.outcome:.3f} (seeds {', '.join(f'{value:.3f}' for value in one.outcomes)})"
    interval = "" if one.low is None or one.high is None else f" [{one.low:.3f}, {one.high:.3f}]"
    return f"{one.outcome:.3f}{interval}"
