"""The words of `palms dataset` for its versions: freeze, diff."""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from configs.problems import BadInput
from flows.commands.words import Positions, out, plain, plural, positions_of, show, writing
from tasks.contract import sha256_file
from tasks.curation import freezing, versions
from tasks.curation.drafts import ACCEPTED, load_drafts
from tasks.datasets.changes import row_changes
from tasks.datasets.licences import restrictions
from tasks.datasets.rows import load_rows


def freeze(
    dataset: Annotated[Path, typer.Argument(help="the dataset (.jsonl) as it is now: a frozen version, or one that never was")],
    approved_by: Annotated[str, typer.Option(help="who answers for this version")],
    drafts: Annotated[
        list[Path] | None, typer.Option(help="a file of decided drafts that go in; may be given several times")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="what its versions are called; default: the dataset's name without its version")
    ] = None,
    to: Annotated[Path | None, typer.Option("--out", help="the folder of the versions; default: beside the dataset")] = None,
    why: Annotated[str, typer.Option(help="why there is a new version, for its datasheet")] = "",
    positions: Positions = None,
) -> None:
    """Freeze a dataset as its next version: checked, write-protected, with digest, datasheet, changes, and who approved what. It never changes again.

    Examples:

      palms dataset freeze values_targeted.jsonl --approved-by ana

      palms dataset freeze values_targeted-1.jsonl --drafts drafts.jsonl --approved-by ana --why "health was missing"
    """
    if not approved_by.strip():
        raise BadInput("--approved-by: is blank; the name of whoever answers for this version is required")
    rows, decided_drafts = load_rows(dataset), [one for path in drafts or [] for one in load_drafts(path)]
    versions.require_frozen(dataset)
    folder, called = to or dataset.parent, name or versions.called(dataset)
    known = positions_of(dataset, positions)
    with writing(folder):
        version, path = freezing.freeze(
            rows, decided_drafts, known, folder=folder, name=called, approved=approved_by.strip(), why=why, source=dataset
        )
    went_in = sum(one.decision == ACCEPTED for one in decided_drafts)
    out.print(
        f"{path}: version {version.number} of {called}, {plural(version.samples, 'sample')}, sha256 {version.sha256}",
        highlight=False,
        markup=False,
    )
    changes = ", ".join(
        f"{len(getattr(version, what))} {what}" for what in ("added", "changed", "removed") if getattr(version, what)
    )
    out.print(
        f"{changes or 'no sample changed'}; {plural(went_in, 'draft')} went in; datasheet: {path.with_suffix('.md')}",
        highlight=False,
        markup=False,
    )
    out.print(
        f"next: name {path.name} under `datasets:` of an experiment with `train_samples: [{version.samples}]` (a control needs as many), or with "
        "`subsets: random`: a size that is marked holds the samples that it held",
        highlight=False,
        markup=False,
    )


def diff(
    first: Annotated[Path, typer.Argument(help="a dataset or version (.jsonl)")],
    second: Annotated[Path, typer.Argument(help="a later one")],
    texts: Annotated[bool, typer.Option(help="with the words that were changed")] = True,
) -> None:
    """What changed from one version of a dataset to another: samples, fields, words; what each holds; which are frozen.

    Example:  palms dataset diff values_targeted-1.jsonl values_targeted-2.jsonl
    """
    held = [load_rows(path) for path in (first, second)]
    for path, rows in zip((first, second), held, strict=True):
        frozen = versions.require_frozen(path)
        told = f"version {frozen.number}, frozen {frozen.frozen}, approved by {frozen.approved}" if frozen else "not frozen"
        out.print(
            f"{path}: {plural(len(rows), 'sample')}, {told}, sha256 {sha256_file(path)[:12]}…", highlight=False, markup=False
        )
        for said in restrictions(rows):
            out.print(f"  {said}", highlight=False, markup=False)
    old, new = ({row.id: replace(row, line=0) for row in rows} for rows in held)
    added, removed, changed = row_changes(old, new)
    counts = [Counter(row.category for row in rows) for rows in held]
    if counts[0] != counts[1]:
        table = plain("category", "before", "after")
        for category in dict.fromkeys([*counts[0], *counts[1]]):
            if counts[0][category] != counts[1][category]:
                table.add_row(category, str(counts[0][category]), str(counts[1][category]))
        show(out, table)
    for sign, names, rows_of in (("-", removed, old), ("+", added, new)):
        for name in names:
            row = rows_of[name]
            out.print(
                f"{sign} {name} ({row.category}): {row.prompt}",
                style="red" if sign == "-" else "green",
                highlight=False,
                markup=False,
            )
            if texts:
                out.print(f"    {row.completion}", highlight=False, markup=False)
    for name in changed:
        before, after = asdict(old[name]), asdict(new[name])
        fields = [key for key in before if before[key] != after[key]]
        out.print(f"~ {name}: {', '.join(fields)}", style="yellow", highlight=False, markup=False)
        for key in fields if texts else ():
            out.print(f"    {key}: {_changed(str(before[key]), str(after[key]))}", highlight=False, markup=False)
    if not (added or removed or changed):
        out.print("only the order differs" if list(old) != list(new) else "the same samples", highlight=False)


def _changed(before: str, after: str) -> str:
    """The words with what went [-so-] and what came {+so+}, as `git diff --word-diff` shows them; long stretches that stay are cut."""
    old, new = before.split(), after.split()
    said: list[str] = []
    for what, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if what == "equal":
            kept = old[a:b]
            said += kept if len(kept) <= 12 else [*kept[:4], "…", *kept[-4:]]
            continue
        said += [f"[-{' '.join(old[a:b])}-]"] if a < b else []
        said += [f"{{+{' '.join(new[c:d])}+}}"] if c < d else []
    return " ".join(said)
