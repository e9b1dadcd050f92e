"""The `palms` command: what each word does, and which exit status it leaves.

0: done. 1: a sweep failed (what failed and the command that goes on are printed). 2: bad input, found before any stage started.
Imports Prefect and MLflow only where a command needs them, so that the others answer at once.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

from configs.problems import BadInput
from flows.cli_schedule import notify_app, schedule_app
from flows.serving.problems import ServerFailed

if TYPE_CHECKING:
    from flows.prepared import Run

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich", help="""
Does fine-tuning on fewer than 100 curated examples move a language model's behaviour toward stated values, at which size, by how much?

Examples:

  palms run calibration                          the built-in experiment, about two minutes on two cores

  palms plan gpt2 --set 'seeds=[0,1,2]'          what would run, without running it

  palms run my.yaml --set arms.control.epochs=4

  palms metrics --format csv > metrics.csv

  palms up                                       dashboards, and the runner of schedules

  palms schedule gpt2 --cron "0 2 * * 6"         every Saturday at two

  palms init library                             a set of values of your own
""")  # fmt: skip
models_app = typer.Typer(no_args_is_help=True, help="The catalogue of model ladders and scorers.")
dataset_app = typer.Typer(no_args_is_help=True, help="Check datasets and prompts, and compare datasets.")
mlflow_app = typer.Typer(no_args_is_help=True, help="The tracking database.")
app.add_typer(models_app, name="models")
app.add_typer(schedule_app, name="schedule")
app.add_typer(notify_app, name="notify")
app.add_typer(mlflow_app, name="mlflow")
app.add_typer(dataset_app, name="dataset")

out, err = Console(soft_wrap=True, emoji=False), Console(stderr=True, soft_wrap=True, emoji=False)

Config = Annotated[
    str,
    typer.Argument(
        help="a YAML file, or the name of a shipped experiment (calibration, calibration_controls, gpt2, pythia, opt, qwen3, biblioteca)"
    ),
]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="change one value; may be given several times")
]
Sweep = Annotated[str | None, typer.Argument(help="a sweep's id or the beginning of it; default: the latest")]
Verify = Annotated[bool, typer.Option(help="check every stored output by its full content, not by size and time alone")]
Strict = Annotated[bool, typer.Option(help="run a stage again when its code changed, even under the same STAGE_VERSION")]


def main() -> None:
    """The entry point: bad input is one line a problem on stderr, and status 2; a server that failed is one line, and status 1."""
    try:
        app()
    except BadInput as error:
        for line in error.lines:
            err.print(f"[red]error:[/red] {escape(line)}", highlight=False)
        sys.exit(2)
    except ServerFailed as error:
        err.print(f"[red]error:[/red] {escape(str(error))}", highlight=False)
        sys.exit(1)


@app.command()
def run(config: Config, sets: Sets = None, verify: Verify = False, strict_code: Strict = False) -> None:
    """Run a sweep: whatever is missing of it, and nothing else.

    Examples:  palms run calibration   |   palms run my.yaml --set 'seeds=[0,1,2]'
    """
    from flows.request import request
    from flows.run import run_command

    asked = request(config, sets or [], verify=verify, strict_code=strict_code)
    raise typer.Exit(run_command(asked, out, err))


@app.command()
def rerun(
    sweep: Sweep = None,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="STAGE", help="make this stage and all that hangs on it anew, even where it is there"),
    ] = None,
    size: Annotated[str | None, typer.Option(help="with --from: at this size alone")] = None,
    arm: Annotated[str | None, typer.Option(help="with --from: of this arm alone")] = None,
    verify: Verify = False,
) -> None:
    """Run again what failed of a sweep and what hangs on it, and nothing else.

    Examples:  palms rerun   |   palms rerun gpt2-3f --from toxicity   |   palms rerun --from finetune --size 355m --arm control
    """
    from flows.dag import Start
    from flows.run import rerun_command

    if start is None and (size or arm):
        raise BadInput("--size and --arm say where --from begins; give a stage with --from")
    begin = None if start is None else Start(start, size, arm)
    raise typer.Exit(rerun_command(sweep, begin, verify=verify, out=out, err=err))


@app.command()
def plan(
    config: Config,
    sets: Sets = None,
    verify: Verify = False,
    strict_code: Strict = False,
    explain: Annotated[bool, typer.Option("--explain", help="every reason why a stage would run, a line each")] = False,
    power: Annotated[
        bool,
        typer.Option("--power", help="instead: which differences it would find, and with how many prompts, samples and raters"),
    ] = False,
    difference: Annotated[
        float | None,
        typer.Option(help="with --power: a difference in the unit of the outcome, such as 0.1; how many prompts find it"),
    ] = None,
) -> None:
    """Show what a run would do, stage by stage, without doing it; or, with --power, what it could find.

    Examples:  palms plan my.yaml --explain   |   palms plan gpt2 --power --difference 0.05
    """
    from flows.engine.explain import line
    from flows.engine.home import Home
    from flows.plan import plan_rows
    from flows.prepared import prepare_run
    from flows.request import request

    prepared = prepare_run(Home.open(), request(config, sets or [], verify=verify, strict_code=strict_code))
    if difference is not None and not power:
        raise BadInput("--difference is what --power is asked for; give both")
    if power:
        _print_power(prepared, difference)
        return
    rows = plan_rows(prepared)
    width = max(len(row.label) for row in rows)
    colours = {"run": "yellow", "cached": "green", "waits": "dim"}
    for row in rows:
        first, *more = row.why if explain and row.why else [line(list(row.why))]
        out.print(f"[{colours[row.state]}]{row.state:7}[/] {row.label:{width}}  [dim]{escape(first)}[/dim]", highlight=False)
        for reason in more:
            out.print(f"{'':7} {'':{width}}  [dim]{escape(reason)}[/dim]", highlight=False)
    counts = [
        f"{sum(row.state == state for row in rows)} {word}"
        for state, word in (("cached", "cached"), ("run", "to run"), ("waits", "waiting"))
    ]
    out.print(", ".join(counts), highlight=False)


def _print_power(prepared: Run, difference: float | None) -> None:
    from flows.power import powers
    from flows.tables import power_cells, show

    if difference == 0:
        raise BadInput("--difference 0: no number of prompts shows a difference of nothing; any other number is accepted")
    try:
        tables = powers(prepared, difference)
    except ValueError as error:
        raise BadInput(f"--power: {error}") from None
    for one in tables:
        found = f"{one.prompts} prompts × {one.samples} samples" + (f" × {one.raters} raters" if one.raters > 1 else "")
        out.print(f"[bold]{one.outcome}[/bold]: {found} find a difference of ±{one.here:.3g} four times in five", highlight=False)
        if one.needed is not None:
            out.print(f"±{abs(one.difference or 0):g} takes {one.needed} prompts at as many samples", highlight=False)
        show(out, power_cells(one))
        parts = one.components
        sizes = f"prompt {parts.prompt:.3g}, sample {parts.sample:.3g}" + (f", rater {parts.rater:.3g}" if parts.rater else "")
        out.print(
            f"variance components {parts.source} ({sizes}); two-sided 5 %, Holm over {_plural(one.tests, 'test')} planned for by its first step",
            highlight=False,
            style="dim",
        )


@app.command()
def status(
    sweep: Sweep = None, watch: Annotated[bool, typer.Option("--watch", help="keep showing it until the sweep has ended")] = False
) -> None:
    """Every stage of a sweep: its state, how long it took, at which try, and why it ran or failed.

    Examples:  palms status   |   palms status gpt2-3f --watch
    """
    from flows.engine.home import Home
    from flows.status import print_status, read_status, watch_status

    if watch:
        watch_status(Home.open(), sweep, out)
    else:
        print_status(read_status(Home.open(), sweep), out)


@app.command()
def report(sweep: Sweep = None) -> None:
    """Where the report of a sweep is."""
    from flows.engine.home import Home
    from flows.results import report_path

    out.print(str(report_path(Home.open(), sweep)), highlight=False, markup=False)


@app.command()
def metrics(
    sweep: Sweep = None,
    output: Annotated[Literal["table", "csv", "json"], typer.Option("--format", help="table, csv or json")] = "table",
) -> None:
    """Every number of a sweep, one a row: sweep, ladder, size, params, arm, seed, suite, group, metric, value, ci_low, ci_high, n, samples.

    Example:  palms metrics --format csv > metrics.csv
    """
    from flows.engine.home import Home
    from flows.results import metric_rows
    from flows.tables import metrics_table, show, to_csv

    rows = metric_rows(Home.open(), sweep)
    if output == "csv":
        sys.stdout.write(to_csv(rows))
    elif output == "json":
        sys.stdout.write(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    else:
        show(out, metrics_table(rows))


@models_app.command("list")
def models_list() -> None:
    """The ladders of the catalogue, with their sizes, where they come from and their licences; and the scorers that it names."""
    from flows.tables import ladders_table, scorers_table, show
    from model_registry import catalog, scorers

    show(out, ladders_table([catalog.load_ladder(name) for name in catalog.names()]))
    out.print()
    show(out, scorers_table(list(scorers.known().values())))


@dataset_app.command("validate")
def dataset_validate(
    files: Annotated[
        list[str],
        typer.Argument(
            help="datasets and prose (.jsonl), prompt and position files (.yaml), or experiments (a file, its folder, or a shipped name)"
        ),
    ],
    suite: Annotated[
        list[Path] | None,
        typer.Option(help="a prompt file whose subjects no dataset given may share; may be given several times"),
    ] = None,
    positions: Annotated[
        Path | None, typer.Option(help="the positions of a dataset; default: positions.yaml beside it or one folder up")
    ] = None,
) -> None:
    """Check datasets, prompts, positions, or all that an experiment refers to. Each finding has its line; status 2 if one is an error.

    Examples:

      palms dataset validate gpt2

      palms dataset validate data.jsonl --suite configs/prompts/human_eval.yaml
    """
    from flows.datasets import validate
    from flows.tables import findings_table, show

    failed = False
    for given in files:
        try:
            for one in validate(given, suite or [], positions):
                if one.findings:
                    show(out, findings_table(one.path, one.findings))
                warnings = len(one.findings) - one.errors
                out.print(
                    f"{one.path}: {one.holds}: {_plural(one.errors, 'error')}, {_plural(warnings, 'warning')}",
                    highlight=False,
                    markup=False,
                )
                failed = failed or one.errors > 0
        except BadInput as error:  # the other files are still worth a check
            for line in error.lines:
                err.print(f"[red]error:[/red] {escape(line)}", highlight=False)
            failed = True
    raise typer.Exit(2 if failed else 0)


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


@dataset_app.command("nearest")
def dataset_nearest(
    file: Annotated[Path, typer.Argument(help="a dataset (.jsonl)")],
    suite: Annotated[list[Path], typer.Option(help="a prompt file; may be given several times")],
    top: Annotated[int, typer.Option(min=1, help="how many pairs are shown")] = 20,
) -> None:
    """The samples nearest to the prompts of an evaluation, to be read: a paraphrase in other words escapes every threshold.

    Example:  palms dataset nearest data.jsonl --suite configs/prompts/human_eval.yaml
    """
    from flows.datasets import nearest

    for one, prompt, asked in nearest(file, suite, top):
        out.print(f"{one.similarity:.2f}  both say: {one.shared or 'nothing rare'}", highlight=False, markup=False)
        out.print(f"      {one.prompt}: {prompt}", highlight=False, markup=False)
        out.print(f"      {one.sample} (line {one.line}): {asked}", highlight=False, markup=False)


@dataset_app.command("compare")
def dataset_compare(
    first: Annotated[Path, typer.Argument(help="a dataset, such as the values-targeted one")],
    second: Annotated[
        Path, typer.Argument(help="another, such as its control; `matches` in its lines names each sample's partner")
    ],
    page: Annotated[Path | None, typer.Option(help="write the comparison with its drawings to this HTML file")] = None,
) -> None:
    """Whether two datasets are written alike: the standardised difference of each measure of style, matched within ±0.25.

    Example:  palms dataset compare configs/datasets/values_targeted.jsonl configs/datasets/control.jsonl --page match.html
    """
    from flows.datasets import compare_files, write_matching
    from flows.tables import matching_table, show
    from tasks.datasets.matching import WITHIN

    matching, names = compare_files(first, second), (first.stem, second.stem)
    show(out, matching_table(matching, names, out.width))
    how = f"{matching.pairs} pairs" if matching.pairs else f"{matching.samples[0]} and {matching.samples[1]} samples, not paired"
    apart = ", ".join(f"{match.measure.part} {match.measure.name}" for match in matching.apart) or "none"
    out.print(f"{how}; further than ±{WITHIN:g} standard deviations apart: {apart}", highlight=False)
    if page:
        write_matching(page, names, matching)
        out.print(str(page), highlight=False, markup=False)


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="what the new set is called: lower-case letters, digits, - and _")],
    folder: Annotated[Path, typer.Option("--in", help="where the set's folder is made")] = Path(),
) -> None:
    """Start a set of values of your own: positions, datasets with their datasheet, prompts, and an experiment over them.

    Example:  palms init library && palms dataset validate library
    """
    from flows.datasets import scaffold

    made = scaffold(name, folder)
    for path in sorted(made.rglob("*")):
        if path.is_file():
            out.print(str(path), highlight=False, markup=False)
    out.print(f"next: edit the texts; `palms dataset validate {made}` says what is still missing", highlight=False)


@mlflow_app.command("rebuild")
def mlflow_rebuild() -> None:
    """Make the tracking database anew from the store and what sweeps noted; the old one is put aside.

    Example:  palms down && palms mlflow rebuild
    """
    from flows.engine.home import Home

    home = Home.open()
    home.settle_environment()
    from flows.rebuild import rebuild

    for line in rebuild(home):
        out.print(line, highlight=False, markup=False)


@app.command()
def up(detach: Annotated[bool, typer.Option("--detach", help="in the background, until `palms down`")] = False) -> None:
    """The dashboards of Prefect and MLflow, and the runner of schedules, on loopback: started and stopped together.

    While they are up, `palms run` hands its sweep to the runner, so that it can be watched, cancelled and retried in the dashboard.
    Examples:  palms up   |   palms up --detach
    """
    from flows.engine.home import Home
    from flows.serving import up as servers

    home = Home.open()
    home.settle_environment()
    if detach:
        servers.detach(home, out)
    else:
        servers.up_command(home, out)


@app.command()
def down() -> None:
    """Stop what `palms up` started; sweeps that the runner has are cancelled, and what they finished is kept."""
    from flows.engine.home import Home
    from flows.serving import up as servers

    for line in servers.down(Home.open()):
        out.print(line, highlight=False)


@app.command()
def doctor(verify: Verify = False) -> None:
    """Whether what a sweep leans on is in order: versions, disk, store, servers, sweeps left behind, hub. Changes nothing; status 1 on an error.

    Examples:  palms doctor   |   palms doctor --verify
    """
    from flows.doctor import doctor_command

    raise typer.Exit(doctor_command(verify=verify, out=out))


@app.command()
def schema() -> None:
    """The JSON Schema of experiment files, for editors."""
    from flows.experiment import json_schema

    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
