"""`palms rerun`: runs again what failed of a sweep and what hangs on it, and nothing else."""

from __future__ import annotations

from typing import Annotated

import typer

from configs.problems import BadInput
from flows.claim import ended
from flows.commands.run import carry_out
from flows.commands.words import Sets, Sweep, Verify, out
from flows.engine.home import Home
from flows.prepared import planned, reopen
from flows.start import Start


def rerun(
    sweep: Sweep = None,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="STAGE", help="make this stage and all that hangs on it anew, even where it is there"),
    ] = None,
    size: Annotated[str | None, typer.Option(help="with --from: at this size alone")] = None,
    arm: Annotated[str | None, typer.Option(help="with --from: of this arm alone")] = None,
    sets: Sets = None,
    verify: Verify = False,
) -> None:
    """Run again what failed of a sweep and what hangs on it, and nothing else.

    Examples:  palms rerun   |   palms rerun gpt2-3f --from toxicity   |   palms rerun --from finetune --size 355m --arm control
    |   palms rerun --set limits.stage_timeout_s=null
    """
    if start is None and (size or arm):
        raise BadInput("--size and --arm say where --from begins; give a stage with --from")
    begin = None if start is None else Start(start, size, arm)
    home = Home.open()
    home.settle_environment()
    run = reopen(home, sweep, sets=sets or [], verify=verify, start=begin)
    if ended(run) and all(row.state == "cached" for row in planned(run)):
        out.print(
            f"sweep {run.dag.sweep}: all {len(run.dag.nodes)} stages are there; `--from STAGE` makes them anew", highlight=False
        )
        return
    raise typer.Exit(carry_out(run))
