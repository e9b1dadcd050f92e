"""Freezing a dataset: the samples with the drafts that were accepted, checked as a dataset is, written as the next version with its datasheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from configs.positions import Position
from configs.shipped import CONFIGS
from configs.texts import read_text
from tasks.contract import sha256_file
from tasks.curation import versions
from tasks.curation.datasheet import by_people, datasheet
from tasks.curation.drafts import Draft
from tasks.datasets.checks import review_rows
from tasks.datasets.lines import DatasetError
from tasks.datasets.rows import Row, load_rows
from tasks.datasets.stage import Settings

TEMPLATE = CONFIGS / "scaffold/DATASHEET.md"


def freeze(
    rows: Sequence[Row],
    drafts: Sequence[Draft],
    positions: Mapping[str, Position],
    *,
    folder: Path,
    name: str,
    approved: str,
    why: str,
    source: Path,
    settings: Settings = Settings(),
) -> tuple[versions.Version, Path]:
    """The version and its file. Frozen again, the samples of the newest version are that version.

    source: the file that `rows` stand in; what people say in the datasheet beside it, or else in that of the newest version, is taken over.

    Raises:
        BadInput: a check finds an error, a draft is undecided, or a version was changed since it was frozen.
        OSError: the folder cannot be written to.
    """
    new = versions.merged(rows, drafts)
    numbered = [replace(row, line=at) for at, row in enumerate(new, 1)]
    if errors := [finding for finding in review_rows(numbered, settings, positions) if finding.severity == "error"]:
        named = (f"sample {new[one.line - 1].id}: {one.message}" if one.line else one.message for one in errors)
        raise DatasetError(source, [replace(one, line=0, message=said) for one, said in zip(errors, named, strict=True)])
    known = versions.ledger(folder, name)
    before = load_rows(folder / known[-1].file) if known else rows
    version = versions.next_version(
        folder,
        name,
        new,
        before,
        drafts,
        frozen=datetime.now(UTC).date().isoformat(),
        approved=approved,
        why=why,
        before_sha256=sha256_file(source) if known or drafts else "",
    )
    last = folder / known[-1].file if known else source
    sheets = (source.with_suffix(".md"), last.with_suffix(".md"), TEMPLATE)
    people = read_text(next(sheet for sheet in sheets if sheet.is_file()))[0]
    return version, versions.write(folder, version, new, datasheet(version, new, by_people(people)))
