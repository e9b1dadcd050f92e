"""The words of `palms dataset` that improve one with people: draft, annotate, what comes back, and a rehearsal. Its versions are `versions`'s."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from configs.positions import Position
from configs.problems import BadInput
from configs.sources import LanguageModel
from configs.terms import forbidden, of_generator
from flows.commands.run import carry_out
from flows.commands.words import Positions, err, out, plain, plural, positions_of, read_all, show, writing
from flows.engine.home import Home
from flows.engine.servers import ask
from flows.outputs import Outputs
from flows.prepared import find_sweep, planned, prepare_run, reopen
from flows.probing import covered, newest_reported, probed_arm, write_probing
from flows.request import request
from tasks.contract import write_rows
from tasks.curation.annotations import Annotation, accept, decided, read_annotations, write_annotations
from tasks.curation.coverage import SIGNS, Covered, open_drafts
from tasks.curation.drafts import HELD, OPEN, REJECTED, Draft, load_drafts, write_drafts
from tasks.curation.suggestions import EndpointWriter, LocalWriter, Writer, suggested
from tasks.datasets.checks import PLACEHOLDER
from tasks.datasets.rows import load_rows
from tasks.prepare.sources import language_model, problems

Form = Literal["label-studio", "argilla", "csv", "xlsx"]
Drafts = Annotated[Path, typer.Argument(help="a file of drafts, as `palms dataset draft` writes it")]


# ---- draft -----------------------------------------------------------------------------------------------------------------------


def draft(
    sweep: Annotated[str | None, typer.Argument(help="a sweep's id or the beginning of it; default: the latest")] = None,
    arm: Annotated[str | None, typer.Option(help="whose dataset is to be improved; default: the first treated one")] = None,
    size: Annotated[str | None, typer.Option(help="the size that is probed; default: the largest")] = None,
    probes: Annotated[
        Path | None, typer.Option(help="prompts that are `reported: false`; default: the shipped weakness probes")
    ] = None,
    each: Annotated[int, typer.Option(min=1, help="drafts for each gap, at least")] = 3,
    to: Annotated[Path, typer.Option("--out", help="where the drafts are written")] = Path("drafts.jsonl"),
    by: Annotated[
        str | None,
        typer.Option(
            help="a model that suggests texts: a folder, owner/name on the hub, a ladder's size, or the name of a model at --url"
        ),
    ] = None,
    url: Annotated[str | None, typer.Option(help="an OpenAI-compatible address that the model of --by answers at")] = None,
    key_variable: Annotated[str | None, typer.Option(help="the environment variable that holds the key for --url")] = None,
    licence: Annotated[
        str | None, typer.Option(help="what holds for the texts that the model writes; default: as far as it is known")
    ] = None,
    seed: Annotated[int, typer.Option(help="of a local model's texts")] = 0,
) -> None:
    """Find where a dataset is thin or its model weak, on prompts that are never reported on, and begin drafts for that.

    The probes are sampled from the sweep's tuned model; nothing is tuned again. People may rate them: `palms ratings export` with the id of the
    sweep that this makes, and then this again with another --out. Without --by the drafts are to be written; a model's are suggestions, which
    somebody has to read (`palms dataset annotate`).

    Examples:

      palms dataset draft

      palms dataset draft smollm2 --by smollm2/135m-instruct --out drafts.jsonl

      palms dataset draft --by gpt-4o-mini --url https://api.openai.com/v1 --key-variable OPENAI_API_KEY
    """
    if to.exists():
        raise BadInput(f"{to}: exists already; --out names another file")
    if not to.absolute().parent.is_dir():
        raise BadInput(f"{to}: its folder is not there; --out names a file in one that is")
    if not by and (url or key_variable or licence):
        raise BadInput("--url, --key-variable, --licence: are of the model that --by names")
    home = Home.open()
    home.settle_environment()
    run = reopen(home, find_sweep(home, sweep or newest_reported(home)))
    if not run.experiment.reported:
        raise BadInput(
            f"sweep {run.dag.sweep}: is over probes itself; name the sweep that it looks into: palms dataset draft SWEEP"
        )
    looked_at = probed_arm(run.experiment, arm)
    positions = run.inputs.given.positions
    if not positions:
        raise BadInput(f"sweep {run.dag.sweep}: its experiment names no positions; drafts are for the categories of these")
    writer = _writer(by, url, key_variable, seed)
    probing = prepare_run(home, request(str(write_probing(home, run, looked_at, size, probes))))
    if any(row.state != "cached" for row in planned(probing)) and (status := carry_out(probing)):
        raise typer.Exit(status)
    dataset = run.inputs.datasets[run.experiment.arms[looked_at].dataset].path  # type: ignore[union-attr]
    found = covered(home, Outputs.of(home, probing.dag.sweep), looked_at, dataset, positions)
    print_coverage(found, looked_at, probing.dag.sweep)
    if not any(one.levels for one in found):
        out.print(
            f"nothing scored the probes' answers; people can: palms ratings export {probing.dag.sweep}",
            style="yellow",
            highlight=False,
        )
    drafts = open_drafts(found, each, [row.id for row in load_rows(dataset)], probing.dag.sweep[-4:])
    if not drafts:
        out.print("no gap: nothing is to be drafted", highlight=False)
        return
    if writer:
        terms = licence or of_generator(writer.name, url or "") or "terms of the model not known"
        drafts = _suggested(drafts, positions, writer, terms, to)
    table = to.with_suffix(".coverage.csv")
    with writing(to):
        write_drafts(to, drafts)
        write_rows(table, [one.row() for one in found], mark="needed")
    _tell(drafts, to, table, by)


def _tell(drafts: Sequence[Draft], to: Path, table: Path, by: str | None) -> None:
    """What was written, and what comes next."""
    unwritten = sum(not one.completion for one in drafts)
    suggestions = f"{len(drafts) - unwritten} suggested by {by}, read by nobody yet" if unwritten < len(drafts) else ""
    told = ", ".join(part for part in (suggestions, f"{unwritten} of them to be written" if unwritten else "") if part)
    out.print(f"{to}: {plural(len(drafts), 'draft')}, {told}; {table}: the table above", highlight=False, markup=False)
    first = f"write their prompts and completions in {to}, then " if unwritten else ""
    out.print(f"next: {first}palms dataset annotate {shlex.quote(str(to))} --annotators ana,bo", highlight=False, markup=False)


def print_coverage(found: Sequence[Covered], arm: str, sweep: str) -> None:
    """Categories with what was found, the gaps marked."""
    shown = (
        "samples",
        *[metric for metric in (sign.metric for sign in SIGNS) if any(metric in one.levels for one in found)],
    )
    table = plain("category", *(name.replace("_", " ") for name in shown), "gap")
    for one in found:
        levels = [f"{one.levels[name].value:.2f}" if name in one.levels else "" for name in shown[1:]]
        table.add_row(one.category, str(one.samples), *levels, one.why)
    out.print(
        f"\nwhat {arm} lacks, by the probes of {sweep} (they choose data, and are no result)", highlight=False, markup=False
    )
    show(out, table)


def _writer(by: str | None, url: str | None, key_variable: str | None, seed: int) -> Writer | None:
    if by is None:
        return None
    try:
        if url:
            return EndpointWriter(url, by, key_variable)
        return _local(by, seed)
    except ValueError as wrong:
        raise BadInput(f"--by: {wrong}") from None


def _local(by: str, seed: int) -> LocalWriter:
    named = LanguageModel(kind="local", model=by)
    if wrong := list(problems(named, "", "--by")):
        raise BadInput(*(line.replace("--by.model", "--by") for line in wrong))
    return LocalWriter(by, language_model(named).source, seed)


def _suggested(drafts: Sequence[Draft], positions: Mapping[str, Position], writer: Writer, terms: str, to: Path) -> list[Draft]:
    """Raises BadInput where the model fails; what it has written until then is kept."""
    if said := forbidden(terms):
        warning = f"the terms of {writer.name} forbid {said}: every draft carries them, and so will the dataset"
        err.print(warning, style="yellow", highlight=False, markup=False)
    done: list[Draft] = []
    try:
        done.extend(_watched(suggested(drafts, positions, writer, terms), len(drafts)))
    except (ValueError, ConnectionError) as wrong:
        with writing(to):
            write_drafts(to, [*done, *drafts[len(done) :]])
        raise BadInput(
            f"--by: {wrong}; {to} has {len(done)} of {len(drafts)} drafts suggested, the others are to be written"
        ) from None
    return done


def _watched(drafts: Iterator[Draft], total: int) -> Iterator[Draft]:
    from rich.progress import track

    yield from track(drafts, "drafting", total=total, console=err, transient=True)


# ---- annotate --------------------------------------------------------------------------------------------------------------------


def annotate(
    drafts: Drafts,
    annotators: Annotated[str, typer.Option(help="their names: ana,bo; each is given every draft")],
    form: Annotated[Form, typer.Option("--format", help="in which form")] = "csv",
    to: Annotated[Path, typer.Option("--out", help="the folder that the files are written to")] = Path("annotation"),
    positions: Positions = None,
) -> None:
    """Give drafts out to be read: is the position held, is anything wrong in it, is the tone right, how should it read instead.

    Drafts that were decided are left out. When they come back: `palms dataset import FILE… --drafts DRAFTS`.

    Examples:

      palms dataset annotate drafts.jsonl --annotators ana,bo

      palms dataset annotate drafts.jsonl --annotators ana --format label-studio --out annotation
    """
    from flows.commands.ratings import named
    from tasks.curation.formats import argilla, label_studio, table

    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise BadInput(f"{to}: exists already and is not empty; --out names another folder")
    writers = {"label-studio": label_studio.write, "argilla": argilla.write, "csv": table.write_csv, "xlsx": table.write_xlsx}
    known = positions_of(drafts, positions)
    waiting = [one for one in load_drafts(drafts) if one.decision in (OPEN, HELD)]
    _require_written(drafts, waiting)
    _require_categories(drafts, waiting, known)
    if not waiting:
        raise BadInput(f"{drafts}: every draft is decided; there is nothing to be read")
    names = named(annotators, "--annotators")
    # claims as sentences: their names say little to somebody who did not write the positions
    spelt = {(category, name): said for category, one in known.items() for name, said in one.claims.items()}
    shown = [replace(one, positions=tuple(spelt.get((one.category, name), name) for name in one.positions)) for one in waiting]
    with writing(to):
        to.mkdir(parents=True, exist_ok=True)
        files = writers[form](shown, names, {name: one.rubric for name, one in known.items()}, to)
    for path in files:
        out.print(str(path), highlight=False, markup=False)
    out.print(f"{plural(len(waiting), 'draft')} for each of {plural(len(names), 'annotator')}", highlight=False)
    needed = f" --wanted {len(names)}" if len(names) > 1 else ""
    back = f"palms dataset import FILE… --drafts {shlex.quote(str(drafts))}{needed}"
    out.print(f"when they come back: {back}", highlight=False, markup=False)


def take_annotations(files: Sequence[Path], drafts: Path, wanted: int) -> None:
    """Take what annotators gave back, all of these files or none, and decide the drafts by it. Those that a person has decided stay."""
    from tasks.curation.formats.reading import read_any

    held = load_drafts(drafts)
    book = drafts.with_suffix(".annotations.jsonl")
    before = read_annotations(book) if book.is_file() else {}
    known = accept(read_all(files, read_any), held, before)
    said: dict[str, list[Annotation]] = {}
    for (name, _), annotation in sorted(known.items()):
        said.setdefault(name, []).append(annotation)
    after = [
        draft if draft.approved or draft.decision == REJECTED else decided(draft, said.get(draft.id, []), wanted)
        for draft in held
    ]
    with writing(drafts):
        write_annotations(book, known)
        write_drafts(drafts, after)
    table = plain("draft", "category", "decision", "why")
    for draft in after:
        table.add_row(draft.id, draft.category, draft.decision or "open", draft.why)
    show(out, table)
    counts = Counter(draft.decision or "open" for draft in after)
    new = len(known) - len(before)
    out.print(
        f"{plural(new, 'new annotation')}; drafts: " + ", ".join(f"{count} {name}" for name, count in counts.items()),
        highlight=False,
        markup=False,
    )
    out.print(
        f"a held draft is mended in {drafts}: edit it and set its decision to accepted or rejected, and `approved` to your name",
        highlight=False,
        markup=False,
    )
    out.print(
        f"next: palms dataset freeze DATASET --drafts {shlex.quote(str(drafts))} --approved-by NAME",
        highlight=False,
        markup=False,
    )


# ---- rehearse ------------------------------------------------------------------------------------------------------------------


def rehearse(
    without: Annotated[str, typer.Option(help="the category that version 1 lacks")] = "health",
    size: Annotated[list[str] | None, typer.Option(help="of the calibration ladder; default: 30k and 100k")] = None,
) -> None:
    """Rehearse one turn of the loop on the calibration ladder: a version without a category, the gap found by the probes, a version that fills it, a
    sweep over both. The people in it are simulated: it shows the machinery, and says nothing about real data.

    Example:  palms dataset rehearse --without terrorism
    """
    from flows.serving.servers import await_health, prefect_server

    home = Home.open()
    home.settle_environment()
    with prefect_server(home) as server:
        ask(home, server)
        with out.status("starting the orchestrator"):
            await_health(home, server)
            from flows.curation import rehearse as turn
        turned = turn(home, server, out, without, size or ["30k", "100k"])
    for when, found in (("before", turned.before), ("after", turned.after)):
        out.print(f"\ngaps {when}:", style="bold", highlight=False)
        for one in found:
            if one.why:
                out.print(f"  {one.category}: {one.why}", highlight=False, markup=False)
        if not any(one.why for one in found):
            out.print("  none", highlight=False)
    counts = ", ".join(f"{count} {state}" for state, count in turned.states.items())
    out.print(f"\nversions: {turned.versions[0]}, {turned.versions[1]}", highlight=False, markup=False)
    out.print(f"sweep {turned.sweep} over both: {counts}; report: {turned.report}", highlight=False, markup=False)
    out.print("calibration ladder, simulated people: circular by construction", style="yellow", highlight=False)


# ---- what several need -------------------------------------------------------------------------------------------------------------


def _require_written(file: Path, drafts: Sequence[Draft]) -> None:
    """Annotators correct an answer; a question is its author's."""
    if blank := [one.id for one in drafts if PLACEHOLDER.search(one.prompt)]:
        more = f" (and {len(blank) - 1} more)" if len(blank) > 1 else ""
        raise BadInput(f"{file}: draft {blank[0]}{more} says TODO; write its prompt and completion there, or take the draft out")


def _require_categories(file: Path, drafts: Sequence[Draft], positions: Mapping[str, Position]) -> None:
    if unknown := [
        f'{file}: draft {one.id}: category "{one.category}" has no position' for one in drafts if one.category not in positions
    ]:
        raise BadInput(*(f"{line}; {', '.join(positions)} have one (--positions)" for line in unknown))
