"""`palms ratings`: completions out to people, and what they say of them back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from configs.problems import BadInput
from flows.commands.words import Sweep, out, plain, plural, read_all, show, writing
from flows.engine.home import Home
from flows.engine.notes import sweep_note
from flows.outputs import Outputs
from flows.prepared import find_sweep, reopen
from flows.rating import Kept, accepted, nothing_out, paired, projects, simulate, start_project, take_in
from flows.serving import rating_server
from tasks.datasets.preferences import preferences_text
from tasks.evaluations.human_eval.stage import HumanEval
from tasks.ratings import agreement
from tasks.ratings.formats import argilla, label_studio, page, potato, table
from tasks.ratings.formats.reading import read_any
from tasks.ratings.kept import Rated
from tasks.ratings.preferences import Rule
from tasks.ratings.project import CHECK, RATED, Extras, Mode, Project
from tasks.statistics import checks_passed

Form = Literal["html", "csv", "xlsx", "jsonl", "label-studio", "argilla", "potato"]
WRITERS: dict[Form, Callable[[Project, Path], list[Path]]] = {
    "html": page.write,
    "csv": table.write_csv,
    "xlsx": table.write_xlsx,
    "jsonl": table.write_jsonl,
    "label-studio": label_studio.write,
    "argilla": argilla.write,
    "potato": potato.write,
}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")

app = typer.Typer(no_args_is_help=True, help="Completions out to people, and what they say of them back.")


@app.command("export")
def export_command(
    sweep: Sweep = None,
    raters: Annotated[str, typer.Option(help="how many raters, or their names: 3, or ana,bo,cleo")] = "3",
    mode: Annotated[Mode, typer.Option(help="rate: each text from 1 to 5; rank: a prompt's texts beside each other")] = "rate",
    form: Annotated[Form, typer.Option("--format", help="in which form")] = "html",
    to: Annotated[Path, typer.Option("--out", help="the folder that the files for raters are written to")] = Path("ratings"),
    size: Annotated[
        list[str] | None, typer.Option("--size", help="of these sizes alone: 355m; may be given several times")
    ] = None,
    completions: Annotated[int | None, typer.Option(min=1, help="the first ones a prompt and arm; default: all")] = None,
    seed: Annotated[int, typer.Option(help="of who is shown what, and in which order")] = 0,
    repeats: Annotated[
        int, typer.Option(min=0, help="texts that each rater is shown twice, to see whether they agree with themselves")
    ] = 0,
    checks: Annotated[int, typer.Option(min=0, help="items mixed in for each rater that tell whether texts are read")] = 0,
) -> None:
    """Give a sweep's completions out to be rated, blinded: nothing in the files tells which arm or size wrote a text.

    Each completion goes to as many raters as its experiment wants ratings (`ratings_per_completion`), a prompt's to the same ones. The key stays in
    PALMS_HOME. The same call gives the same files.

    Examples:

      palms ratings export smollm2 --raters 3 --out rating

      palms ratings export --raters ana,bo,cleo,dan --mode rank

      palms ratings export --format xlsx --repeats 10 --checks 3
    """
    home = Home.open()
    name = find_sweep(home, sweep)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise BadInput(f"{to}: exists already and is not empty; --out names another folder")
    run = reopen(home, name)
    section = run.experiment.evaluations.asked.get("human_eval")
    wanted = section.ratings_per_completion if isinstance(section, HumanEval) else 1
    stated = {category: position.rubric for category, position in run.inputs.given.positions.items()}
    if mode == "rank" and (repeats or checks):
        raise BadInput("--repeats, --checks: are mixed into texts that are rated one by one; --mode rate takes them")
    outputs, sizes = Outputs.of(home, name), tuple(size or ())
    kept = start_project(
        home, outputs, stated, named(raters), wanted, seed, mode, Extras(repeats, checks), sizes=sizes, completions=completions
    )
    with writing(to):
        to.mkdir(parents=True, exist_ok=True)
        files = WRITERS[form](kept.project, to)
    for path in files:
        out.print(str(path), highlight=False, markup=False)
    loads = [len(packet.items) for packet in kept.project.packets]
    each = f"{min(loads)} to {max(loads)}" if min(loads) < max(loads) else str(loads[0])
    out.print(
        f"{plural(len(kept.tasks), 'text')}, {wanted} ratings each; {plural(len(loads), 'rater')}, {each} texts for each",
        highlight=False,
    )
    out.print(
        f"when they come back: palms ratings import FILE…   (how far they are: palms ratings status {name})",
        highlight=False,
        markup=False,
    )


@app.command("import")
def import_command(
    files: Annotated[list[Path], typer.Argument(help="what raters gave back, in any of the forms that went out")],
    sweep: Annotated[str | None, typer.Option(help="whose ratings they are; default: the latest sweep")] = None,
    revised: Annotated[bool, typer.Option("--revised", help="raters changed their minds: take what they say now")] = False,
) -> None:
    """Take ratings in, all of these files or none: several, partial ones and the same again are welcome.

    Examples:

      palms ratings import rating/*.json

      palms ratings import ana.csv bo.xlsx --sweep smollm2
    """
    home = Home.open()
    name = find_sweep(home, sweep)
    given = read_all(files, read_any)
    fresh = take_in(home, name, given, revised=revised)
    already = len([one for one in given if not one.says_nothing]) - len(fresh)
    kind = "new or revised rating" if revised else "new rating"
    told = f"{plural(len(fresh), kind)} of sweep {name}" + (f", {already} already known" if already else "")
    out.print(told, highlight=False, markup=False)
    if fresh:
        out.print(
            f"next: palms rerun {name}   (makes again what reads the ratings, and nothing else)", highlight=False, markup=False
        )


@app.command("serve")
def serve_command(
    sweep: Sweep = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="of 127.0.0.1; 0: any that is free")] = rating_server.PORT,
) -> None:
    """Offer what was exported last as pages on 127.0.0.1, a link for each rater; whatever they say is saved at once, until Ctrl-C.

    From another machine: `ssh -L 4700:127.0.0.1:4700 HOST`, and the links open there. At the same port a link stays the same at every start.

    Example:  palms ratings export --raters ana,bo,cleo && palms ratings serve
    """
    home = Home.open()
    name = find_sweep(home, sweep)
    known = projects(home, name)
    if not known:
        raise nothing_out(name)
    rating_server.serve(home, name, next(iter(known.values())).project, port, out)


@app.command("simulate")
def simulate_command(sweep: Sweep = None, seed: int = 0) -> None:
    """Have a sweep of the calibration ladder rated by raters who do not exist: circular by construction, and called simulated wherever it shows.

    Example:  palms ratings export --raters 6 --completions 1 && palms ratings simulate
    """
    home = Home.open()
    name = find_sweep(home, sweep)
    fresh = simulate(home, Outputs.of(home, name), seed)
    out.print(f"{plural(len(fresh), 'simulated rating')} of sweep {name}", highlight=False, markup=False)
    if fresh:
        out.print(f"next: palms rerun {name}", highlight=False, markup=False)


@app.command("pairs")
def pairs_command(
    sweep: Sweep = None,
    to: Annotated[Path, typer.Option("--out", help="where the preferences are written")] = Path("preferences.jsonl"),
    margin: Annotated[float, typer.Option(min=1e-9, help="points, or ranks, below which two answers are a tie")] = Rule.margin,
    agreement: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="share of the raters of both who have to prefer the answer")
    ] = Rule.agreement,
    uses: Annotated[int, typer.Option(min=1, help="pairs that one answer may stand in")] = Rule.uses,
) -> None:
    """Write what was rated as preferences, which an experiment names under `preferences:` and a DPO or RLOO arm learns from.

    Of a sweep over weakness probes alone (`palms dataset draft`, `palms prefer`): a model that is tuned on what is reported would be reported on what
    it was tuned on. Each pair is judged by those who rated both of its answers.

    Example:  palms ratings pairs probes_smollm2 --margin 1.5 --out preferences.jsonl
    """
    home = Home.open()
    name = find_sweep(home, sweep)
    if to.exists():
        raise BadInput(f"{to}: exists already; --out names another file")
    if sweep_note(home.sweeps / name).experiment.get("reported", True):
        raise BadInput(f"sweep {name}: is reported on; a sweep over weakness probes (`reported: false`) is required")
    found, said = paired(home, [name], Rule(margin, agreement, uses))
    if not said:
        raise BadInput(f"sweep {name}: was rated by nobody yet; `palms ratings export {name}` gives it out")
    if not found.preferences:
        raise BadInput(
            f"sweep {name}: {len(said)} ratings and no usable pair ({found.told()}); more raters of the same answers, or a lower --margin"
        )
    with writing(to):
        to.write_text(preferences_text(found.preferences), encoding="utf-8")
    kind = " (simulated raters)" if said[0].simulated else ""
    out.print(f"{to}: {found.told()}{kind}", highlight=False, markup=False)


@app.command("status")
def status_command(sweep: Sweep = None) -> None:
    """Who is how far, and how much raters agree so far; never by arm, so that nobody learns who wrote what.

    Example:  palms ratings status
    """
    home = Home.named()
    name = find_sweep(home, sweep)
    known = projects(home, name)
    if not known:
        out.print(str(nothing_out(name)), highlight=False, markup=False)
        return
    held = accepted(home, name)
    for project, kept in known.items():
        served = (kept.rated(one) for one in rating_server.collected(home, name, project) if not one.says_nothing)
        of = {(one.item, one.rater): one for one in served}  # what the server keeps and nobody has imported yet counts too
        own = list((of | {(one.item, one.rater): one for one in held if one.project == project}).values())
        show(out, _progress(kept, own))
        out.print(agreement.said([one for one in own if one.why == RATED]), highlight=False, markup=False)


def named(raters: str, option: str = "--raters") -> list[str]:
    """`3` as r1, r2 and r3; names as they are. Raises BadInput for names that no file can have."""
    if raters.isdigit():
        return [f"r{number}" for number in range(1, int(raters) + 1)]
    names = [name.strip() for name in raters.split(",")]
    if wrong := [name for name in names if not NAME.fullmatch(name)]:
        raise BadInput(f"{option}: {wrong[0]!r} is no name for a file; letters, digits, . _ - + and @ are accepted")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise BadInput(f"{option}: {twice[0]} stands there twice; different names are required")
    return names


def _progress(kept: Kept, ratings: Sequence[Rated]) -> Table:
    made = plain("project", "rater", "rated", "skipped", "of", "checks passed", "last")
    for packet in kept.project.packets:
        own = [one for one in ratings if one.rater == packet.rater]
        checks = [(one.rating, one.expects) for one in own if one.why == CHECK and one.rating and one.expects]
        passed = checks_passed(*zip(*checks, strict=True)) if checks else None
        made.add_row(
            kept.project.id,
            packet.rater,
            str(sum(not one.skipped for one in own)),
            str(sum(bool(one.skipped) for one in own)),
            str(len(packet.items)),
            f"{passed[0]} of {passed[1]}" if passed else "",
            max((one.at for one in own), default=""),
        )
    return made
