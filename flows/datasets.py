"""`palms dataset` and `palms init`: which checks a file gets by what it is, and a new set to start from."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from configs.fields import SetName
from configs.positions import Position, load_positions
from configs.problems import BadInput
from configs.read import read_yaml
from configs.schema import Tuned
from configs.shipped import CONFIGS, find_experiment
from configs.suites import Suite, load_suite
from configs.texts import read_text
from flows.experiment import read_experiment
from flows.inputs import gather
from tasks.datasets import checks, stage
from tasks.datasets.lines import DatasetError, Finding
from tasks.datasets.matching import Matching, compare
from tasks.datasets.paragraphs import load_paragraphs
from tasks.datasets.rows import Row, load_rows
from tasks.leakage import overlap
from tasks.leakage import stage as leakage

SCAFFOLD = CONFIGS / "scaffold"
NAME = "NAME"  # what the scaffold says where the new set's name belongs


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


# ---- palms dataset validate ---------------------------------------------------------------------------------------


def validate(given: str, suites: Sequence[Path], positions: Path | None) -> Iterator[Checked]:
    """Check one thing by what it is: a dataset, prose, a prompt file, a positions file, or a whole experiment (a file, its folder, or a
    shipped one's name).

    Raises BadInput for what cannot be told or read at all.
    """
    path = Path(given)
    if path.suffix == ".jsonl":
        yield _validate_lines(path, suites, positions)
        return
    if path.is_file() and path.suffix not in {".yaml", ".yml"}:
        raise BadInput(
            f"{path}: of no kind that is checked; .jsonl (datasets, prose) and .yaml (prompts, positions, experiments) are"
        )
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
    if _is_prose(path):
        if suites or positions:
            raise BadInput(f"--suite, --positions: {path} is prose; they say what a dataset is checked against")
        return _validate_prose(path)
    beside = (path.parent / "positions.yaml", path.parent.parent / "positions.yaml")
    found = positions or next((one for one in beside if one.is_file()), None)
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
    inputs = gather(experiment, path.absolute().parent, samples=False)
    if inputs.positions_file:
        yield _validate_positions(_short(inputs.positions_file.path))
    for file in inputs.suites.values():
        yield _validate_suite(_short(file.path))
    suites = {name: load_suite(file.path) for name, file in inputs.suites.items()} | _suites(further)
    against = Against(
        inputs.given.positions,
        suites,
        stage.settings(experiment.dataset_checks, experiment.dataset_sizes),
        leakage.settings(experiment.dataset_checks),
    )
    used = dict.fromkeys(arm.dataset for arm in experiment.arms.values() if isinstance(arm, Tuned))
    rows = {name: _rows(inputs.datasets[name].path) for name in used}
    for name in used:
        others = [rows[other] for other in used if other != name]
        checked = _validate_dataset(_short(inputs.datasets[name].path), against)
        findings = [*checked.findings, *checks.check_matches(rows[name], others)]
        yield Checked(checked.path, checked.holds + _matched(rows[name], others), checks.in_order(findings))


def _validate_dataset(path: Path, against: Against) -> Checked:
    rows, findings = checks.review(path, against.rows, against.positions)
    if not rows:
        return Checked(path, "no samples that can be read", findings)
    lengths, size = [row.words for row in rows], sum(len(row.prompt.encode()) + len(row.completion.encode()) for row in rows)
    holds = f"{_count(len(rows), 'sample')}, {size / 1000:.0f} kB of text, answers of {min(lengths)} to {max(lengths)} words"
    holds += f" (mean {sum(lengths) / len(rows):.0f})"
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


def _validate_prose(path: Path) -> Checked:
    try:
        paragraphs = load_paragraphs(path)
    except DatasetError as broken:
        return Checked(path, "paragraphs that cannot all be read", broken.findings)
    rows = [Row(one.line, one.id, one.topic, one.context or one.topic, one.text) for one in paragraphs]
    return Checked(path, _count(len(rows), "paragraph"), checks.check_duplicates(rows, stage.Settings().near_duplicate))


def _is_prose(path: Path) -> bool:
    """Whether the lines have the keys of paragraphs; what cannot be read is for the checks to name."""
    try:
        text, _ = read_text(path)
    except OSError:
        return False
    return '"completion"' not in text and ('"topic"' in text or '"text"' in text)


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


# ---- palms dataset nearest ----------------------------------------------------------------------------------------


def nearest(path: Path, suites: Sequence[Path], top: int) -> list[tuple[overlap.Neighbour, str, str]]:
    """The `top` nearest pairs of a prompt and a sample, with both texts: what no threshold finds, a reader does.

    Raises BadInput: a file that cannot be read.
    """
    rows = load_rows(path)
    loaded = _suites(suites)
    prompts = {(name, prompt.id): prompt.text for name, suite in loaded.items() for prompt in suite.prompts}
    asked = {row.id: row.prompt for row in rows}
    found = sorted(overlap.neighbours(rows, loaded, leakage.Settings()), key=lambda one: (-one.similarity, one.line))
    return [(one, prompts[one.suite, one.prompt], asked[one.sample]) for one in found[:top]]


# ---- palms dataset compare ----------------------------------------------------------------------------------------


def compare_files(first: Path, second: Path) -> Matching:
    """How alike two datasets are written. Raises BadInput, with the file and line of what stands in the way."""
    return compare(load_rows(first), load_rows(second))


def write_matching(page: Path, names: tuple[str, str], matching: Matching) -> None:
    """The comparison with its drawings, as one HTML file. Raises BadInput where it cannot be written."""
    from tasks.datasets.matching_page import write_page

    with _writing(page):
        page.parent.mkdir(parents=True, exist_ok=True)
        write_page(page, names, matching)


# ---- palms init ---------------------------------------------------------------------------------------------------


def scaffold(name: str, parent: Path) -> Path:
    """A folder with a set to fill in: positions, datasets with their datasheet, prompts and an experiment over them.

    Raises BadInput for a name that an experiment cannot have, a folder that exists, or a place that cannot be written to.
    """
    try:
        TypeAdapter(SetName).validate_python(name)
    except ValidationError:
        raise BadInput(
            f"{name[:80]}: not a name for a set; up to 60 lower-case letters, digits, - and _ are accepted, a letter or digit first"
        ) from None
    folder = parent / name
    if folder.exists():
        raise BadInput(f"{folder}: exists already; a new name is required")
    with _writing(folder):
        shutil.copytree(SCAFFOLD, folder)
        for path in folder.rglob("*"):
            if path.is_file():
                path.write_text(path.read_text(encoding="utf-8").replace(NAME, name), encoding="utf-8")
    return folder


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as failed:
        raise BadInput(f"{path}: {failed.strerror}; a place that can be written to is required") from None
