"""Frozen versions of a dataset: which files they are, by whom they were approved, and what changed from one to the next.

    NAME-1.jsonl, NAME-2.jsonl …   the versions, write-protected
    NAME-1.md, NAME-2.md …         their datasheets
    NAME.versions.jsonl            the ledger: a line a version, in their order, with its digest

Knows the ledger, how drafts become samples, and when a file is no longer what was frozen. Leaves what is well formed to `tasks.datasets.checks`
and the words of a datasheet to `datasheet`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from configs.problems import BadInput
from tasks.contract import read_jsonl, sha256_file
from tasks.curation.drafts import ACCEPTED, HELD, OPEN, REJECTED, Draft
from tasks.datasets.changes import row_changes
from tasks.datasets.rows import FORM, Row

LEDGER = ".versions.jsonl"
_VERSION = re.compile(r"(?P<name>.+)-(?P<number>\d+)\.jsonl")


@dataclass(frozen=True)
class Version:
    """A line of the ledger. `added`, `removed`, `changed`: ids of samples, against the version before. `approved`: who answers for it;
    `drafts`: sample → who annotated and who approved the draft that it came from. `before_sha256`: of the file that it was made from."""

    name: str
    number: int
    sha256: str
    samples: int
    frozen: str  # the day, as ISO 8601
    approved: str
    why: str = ""
    before_sha256: str = ""
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    drafts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def file(self) -> str:
        return f"{self.name}-{self.number}.jsonl"


def called(path: Path) -> str:
    """The name that a file's versions have: its own, without a number at the end."""
    named = _VERSION.fullmatch(path.name)
    return named["name"] if named else path.stem


def ledger(folder: Path, name: str) -> list[Version]:
    """In their order; none where nothing was frozen. Raises BadInput: the ledger is damaged."""
    path = folder / f"{name}{LEDGER}"
    if not path.is_file():
        return []
    try:
        return [TypeAdapter(Version).validate_python(row) for row in read_jsonl(path)]
    except ValueError as error:
        said = " ".join(str(error).split())[:200]
        raise BadInput(f"{path}: damaged ({said}); put back the ledger as it was frozen") from None


def require_frozen(path: Path) -> Version | None:
    """The version that a file is frozen as; None of one that never was.

    Raises:
        BadInput: it was changed since.
    """
    named = _VERSION.fullmatch(path.name)
    for version in ledger(path.parent, named["name"]) if named else ():
        if version.file == path.name:
            if sha256_file(path) != version.sha256:
                raise BadInput(
                    f"{path}: has changed since it was frozen as version {version.number} on {version.frozen} (sha256 {version.sha256[:12]}…); "
                    f"put it back, and make changes in a copy: `palms dataset freeze COPY --name {version.name}` makes the next version of it"
                )
            return version
    return None


def merged(rows: Sequence[Row], drafts: Sequence[Draft]) -> list[Row]:
    """The samples with those drafts that were accepted; a draft of a sample's id replaces it, others come after all in their order.

    A subset that the dataset marks is not theirs: they belong to the whole alone.

    Raises:
        BadInput: a draft is undecided, is accepted and has no completion, or has the id of another.
    """
    if waiting := [draft for draft in drafts if draft.decision in (OPEN, HELD)]:
        first, more = waiting[0], f" (and {len(waiting) - 1} more)" if len(waiting) > 1 else ""
        raise BadInput(
            f"draft {first.id}: {first.why or 'nobody has decided yet'}{more}; `decision` has to be {ACCEPTED} or {REJECTED} in the file of "
            "drafts, with your name under `approved`"
        )
    accepted = [draft for draft in drafts if draft.decision == ACCEPTED]
    taken = {draft.id: draft for draft in accepted}
    if twice := next((name for name, count in Counter(draft.id for draft in accepted).items() if count > 1), None):
        raise BadInput(
            f"draft {twice}: two accepted drafts have this id; another id for one of them, or its rejection, is required"
        )
    if blank := [draft.id for draft in taken.values() if not draft.completion]:
        raise BadInput(f"draft {blank[0]}: is accepted and has no completion; write it, or reject the draft")
    old = {row.id: row for row in rows}
    kept = [_sample(taken[row.id], row) if row.id in taken else row for row in rows]
    spoken = Counter(row.language for row in rows).most_common(1)[0][0] if rows else Row.language
    return [*kept, *(replace(_sample(draft, None), language=spoken) for name, draft in taken.items() if name not in old)]


def _sample(draft: Draft, row: Row | None) -> Row:
    named = ("id", "category", "prompt", "completion", "author", "licence", "notes")
    fields: dict[str, Any] = {key: getattr(draft, key) or (getattr(row, key) if row else "") for key in named}
    positions = draft.positions or (row.positions if row else ())
    return replace(row, **fields, positions=positions) if row else Row(line=0, **fields, positions=positions)


def text_of(rows: Sequence[Row]) -> str:
    """A dataset file, in the order of its keys; what is empty is left out."""
    lines = []
    for row in rows:
        held = asdict(row) | {"positions": list(row.positions)}
        if row.language == Row.language:
            held["language"] = ""
        lines.append(json.dumps({key: held[key] for key in FORM.known if held[key] not in ("", None, [])}, ensure_ascii=False))
    return "".join(f"{line}\n" for line in lines)


def next_version(
    folder: Path, name: str, rows: Sequence[Row], before: Sequence[Row], drafts: Sequence[Draft], **further: str
) -> Version:
    """The version that these samples are: numbered, with what changed from those `before`. The same samples as the newest version are that one.

    drafts: decided. further: as `Version` has it.

    Raises:
        BadInput: the newest version was changed since it was frozen.
    """
    known = ledger(folder, name)
    digest = hashlib.sha256(text_of(rows).encode()).hexdigest()
    if known:
        require_frozen(folder / known[-1].file)
        if known[-1].sha256 == digest:
            return known[-1]
    old, new = ({row.id: replace(row, line=0) for row in held} for held in (before, rows))
    added, removed, changed = row_changes(old, new)
    went_in = {
        draft.id: {
            "annotators": list(draft.annotators),
            "approved": draft.approved or further["approved"],
            "author": draft.author,
        }
        for draft in drafts
        if draft.decision == ACCEPTED
    }
    return Version(
        name=name,
        number=known[-1].number + 1 if known else 1,
        sha256=digest,
        samples=len(rows),
        added=tuple(added),
        removed=tuple(removed),
        changed=tuple(changed),
        drafts=went_in,
        **further,
    )


def write(folder: Path, version: Version, rows: Sequence[Row], sheet: str) -> Path:
    """Write a version with its datasheet, and then its line of the ledger: without that it is not frozen. One that is there stays as it is.

    Raises:
        BadInput: a file of this name is there that is none of the ledger's.
        OSError: it cannot be written.
    """
    path = folder / version.file
    if any(known.file == version.file for known in ledger(folder, version.name)):
        return path
    if path.exists() and sha256_file(path) != version.sha256:
        raise BadInput(f"{path}: is there and was never frozen; move it away, or freeze under another --name")
    folder.mkdir(parents=True, exist_ok=True)
    _whole(path, text_of(rows), 0o444)
    _whole(path.with_suffix(".md"), sheet, 0o644)
    line = json.dumps({key: value for key, value in asdict(version).items() if value}, ensure_ascii=False, sort_keys=True)
    book = folder / f"{version.name}{LEDGER}"
    _whole(book, (book.read_text(encoding="utf-8") if book.is_file() else "") + line + "\n", 0o644)
    return path


def _whole(path: Path, text: str, mode: int) -> None:
    """Whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)
