"""`palms dataset` and `palms init`: which checks a file gets by what it is, and a new set to start from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.positions import Position, load_positions
from configs.problems import BadInput
from configs.read import find_experiment, read_experiment, read_yaml
from configs.schema import Tuned
from flows import settings
from tasks.datasets import checks, stage
from tasks.datasets.lines import DatasetError, Finding
from tasks.datasets.matching import Matching, compare
from tasks.datasets.paragraphs import load_paragraphs
from tasks.datasets.rows import Row, load_rows
from tasks.leakage import overlap
from tasks.leakage import stage as leakage
from tasks.prepare.materials import gather
from tasks.sampling.prompts import Suite, load_suite

SCAFFOLD = Path(__file__).parents[1] / "configs" / "scaffold"
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


def validate(given: str, suites: Sequence[Path], positions: Path | None) -> list[Checked]:
    """Check one thing by what it is: a dataset, prose, a prompt file, a positions file, or a whole experiment (a file, or a shipped one's name).

    Raises BadInput for what cannot be told or read at all.
    """
    path = Path(given)
    if path.suffix == ".jsonl":
        return [_validate_lines(path, suites, positions)]
    path = find_experiment(given)
    keys = read_yaml(path).data.keys()
    if "arms" in keys:
        return _validate_experiment(path, suites)
    if keys & {"prompts", "templates"}:
        suite = _suite(path)
        return [Checked(path, f"{len(suite.prompts)} prompts" + ("" if suite.reported else ", not reported on"))]
    if "positions" in keys:
        known = load_positions(path)
        return [Checked(path, f"{len(known)} positions, {sum(len(one.claims) for one in known.values())} claims")]
    raise BadInput(f"{path}:1: neither an experiment (`arms`), nor prompts (`prompts`, `templates`), nor `positions`")


def _validate_lines(path: Path, suites: Sequence[Path], positions: Path | None) -> Checked:
    if _is_prose(path):
        return _validate_prose(path)
    found = positions or next(
        (p for p in (path.parent / "positions.yaml", path.parent.parent / "positions.yaml") if p.is_file()), None
    )
    against = Against(
        load_positions(found) if found else {},
        {suite.stem: _suite(suite) for suite in suites},
        stage.Settings(),
        leakage.Settings(),
    )
    return _validate_dataset(path, against)


def _validate_experiment(path: Path, further: Sequence[Path]) -> list[Checked]:
    experiment = read_experiment(path)
    materials = gather(experiment, path.absolute().parent)
    suites = {name: load_suite(file.path) for name, file in materials.suites.items()}
    suites |= {suite.stem: _suite(suite) for suite in further}
    against = Against(materials.positions, suites, settings.for_dataset(experiment), settings.for_leakage(experiment))
    used = dict.fromkeys(arm.dataset for arm in experiment.arms.values() if isinstance(arm, Tuned))
    return [_validate_dataset(_short(materials.datasets[name].path), against) for name in used]


def _validate_dataset(path: Path, against: Against) -> Checked:
    rows, findings = checks.review(path, against.rows, against.positions)
    if not rows:
        return Checked(path, "no samples that can be read", findings)
    if against.suites:
        findings = checks.in_order([*findings, *overlap.findings(overlap.neighbours(rows, against.suites, against.leaks))])
    lengths, size = [row.words for row in rows], sum(len(row.text.encode()) for row in rows)
    spread = f"answers of {min(lengths)} to {max(lengths)} words (mean {sum(lengths) / len(rows):.0f})"
    return Checked(path, f"{len(rows)} samples, {size / 1000:.0f} kB of text, {spread}", findings)


def _validate_prose(path: Path) -> Checked:
    try:
        paragraphs = load_paragraphs(path)
    except DatasetError as broken:
        return Checked(path, "no paragraphs that can be read", broken.findings)
    rows = [Row(one.line, one.id, one.topic, one.topic, one.text) for one in paragraphs]
    return Checked(path, f"{len(rows)} paragraphs", checks.check_duplicates(rows, stage.Settings().near_duplicate))


def _short(path: Path) -> Path:
    """A path from here, if it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _is_prose(path: Path) -> bool:
    """Whether the first line holds a text of its own instead of a sample; a line that cannot be read is for the dataset checks to name."""
    try:
        with path.open(encoding="utf-8") as stream:
            first = json.loads(stream.readline())
    except (OSError, ValueError):
        return False
    return isinstance(first, dict) and "text" in first and "completion" not in first


def _suite(path: Path) -> Suite:
    try:
        return load_suite(path)
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file; a prompt file is required") from None
    except ValueError as error:
        raise BadInput(str(error)) from None


# ---- palms dataset compare ----------------------------------------------------------------------------------------


def compare_files(first: Path, second: Path, page: Path | None) -> Matching:
    """How alike two datasets are written; `page` gets the comparison with its drawings as one HTML file.

    Raises BadInput, with the file and line of what stands in the way.
    """
    try:
        left, right = load_rows(first), load_rows(second)
    except DatasetError as broken:
        raise BadInput(*(finding.at(broken.path) for finding in broken.findings)) from None
    try:
        matching = compare(left, right)
    except BadInput as error:
        raise BadInput(f"{second}: {error}") from None
    if page is not None:
        from tasks.datasets.matching_page import write_page

        write_page(page, (first.stem, second.stem), matching)
    return matching


# ---- palms init ---------------------------------------------------------------------------------------------------


def scaffold(name: str, parent: Path) -> Path:
    """A folder with a set to fill in: positions, datasets with their datasheet, prompts and an experiment over them.

    Raises BadInput for a name that an experiment cannot have, or a folder that exists.
    """
    if (
        not name.replace("_", "").replace("-", "").isalnum()
        or not name.isascii()
        or not name[0].isalnum()
        or name != name.lower()
    ):
        raise BadInput(f"{name}: not a name for a set; lower-case letters, digits, - and _ are accepted, a letter or digit first")
    folder = parent / name
    if folder.exists():
        raise BadInput(f"{folder}: exists already; a new name is required")
    shutil.copytree(SCAFFOLD, folder)
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_text(path.read_text(encoding="utf-8").replace(NAME, name), encoding="utf-8")
    return folder
