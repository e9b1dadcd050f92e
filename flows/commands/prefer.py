"""`palms prefer`: a turn of preference tuning: what people rated since the last one is learned, and what the model then says is given out again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.run import carry_out
from flows.commands.words import Config, Sets, Strict, Verify, out
from flows.engine.home import Home
from flows.preference import begin
from flows.prepared import prepare_run
from flows.request import Prefer, request
from flows.serving.servers import prefect_server

RULE = Prefer.model_fields


def prefer(
    config: Config,
    arm: Annotated[str, typer.Option(help="the arm whose `preferences` are collected: `preferences: {NAME: null}`")],
    size: Annotated[str | None, typer.Option(help="the size whose answers are rated; default: the largest")] = None,
    probes: Annotated[
        Path | None, typer.Option(help="prompts that are `reported: false`; default: the shipped weakness probes")
    ] = None,
    margin: Annotated[float, typer.Option(min=1e-9, help="points, or ranks, below which two answers are a tie")] = RULE[
        "margin"
    ].default,
    agreement: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="share of the raters of both who have to prefer the answer")
    ] = RULE["agreement"].default,
    uses: Annotated[int, typer.Option(min=1, help="pairs that one answer may stand in")] = RULE["uses"].default,
    least: Annotated[int, typer.Option(min=1, help="preferences that make a round")] = RULE["least"].default,
    sets: Sets = None,
    verify: Verify = False,
    strict_code: Strict = False,
) -> None:
    """Tune further on what people prefer, in rounds: each starts from the one before, and is an arm like any other.

    The first call gives answers to weakness probes out. Have them rated (`palms ratings export`, `import`), and call it again: what was rated
    since becomes the next round. `palms schedule CONFIG --cron … --prefer ARM` does so by the clock.

    Examples:

      palms prefer calibration_preferences --arm dpo

      palms prefer my.yaml --arm rloo --margin 2 --least 20
    """
    home = Home.open()
    home.settle_environment()
    rule = {"margin": margin, "agreement": agreement, "uses": uses, "least": least}
    wanted = Prefer(arm=arm, size=size, probes=str(probes.absolute()) if probes else None, **rule)
    turn = begin(home, request(config, sets or [], verify=verify, strict_code=strict_code, prefer=wanted))
    out.print(turn.told, highlight=False, markup=False)
    with prefect_server(home) as server:  # one for both sweeps: a process has one
        for asked in turn.sweeps():
            run = prepare_run(home, asked)
            if status := carry_out(run, server):
                raise typer.Exit(status)
    told = f"next: palms ratings export {run.dag.sweep} --raters 3   (and when they are back: palms ratings import FILE… --sweep {run.dag.sweep})"
    out.print(told, highlight=False, markup=False)
