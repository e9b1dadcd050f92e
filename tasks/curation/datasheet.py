"""The datasheet of a frozen version, in Markdown: what can be counted and who did what, then what its authors say.

After Gebru et al., Datasheets for Datasets (2021). What only people can know (motivation, uses, limits, whose values) is taken over from the
datasheet of the file that the version was made from, or stands there as a question.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from tasks.curation.versions import Version
from tasks.datasets.licences import restrictions
from tasks.datasets.rows import Row

MOST = 40  # ids that a line names
_PARTED = "\n---\n\n"  # what is counted, and what people say


def datasheet(version: Version, rows: Sequence[Row], own: str) -> str:
    """`own`: what people say (`by_people`)."""
    counted = "\n".join(_counted(version, rows))
    return f"# Datasheet: {version.name}, version {version.number}\n\n{counted}\n{_PARTED}{own.strip()}\n"


def by_people(sheet: str) -> str:
    """What people say in a datasheet: of one that was made here its second part, without what was counted of an earlier version; without the
    title."""
    counted, _, own = sheet.partition(_PARTED)
    own = own if "\nFrozen on " in counted else sheet
    return re.sub(r"\A# .*\n", "", own).strip()


def _counted(version: Version, rows: Sequence[Row]) -> Iterator[str]:
    yield f"Frozen on {version.frozen} as `{version.file}`, sha256 `{version.sha256}`. Approved by {version.approved}."
    yield "" if not version.why else f"\nWhy this version: {version.why}"
    lengths = [row.words for row in rows]
    yield "\n## Composition\n"
    yield f"{len(rows)} samples, answers of {min(lengths)} to {max(lengths)} words (mean {fmean(lengths):.0f})."
    yield f"\n- categories: {_counts(Counter(row.category for row in rows))}"
    if claims := Counter(claim for row in rows for claim in row.positions):
        yield f"- claims: {_counts(claims)}"
    if len(languages := Counter(row.language for row in rows)) > 1:
        yield f"- languages: {_counts(languages)}"
    yield f"- authors: {_counts(Counter(row.author or 'not named' for row in rows))}"
    for what, held in (("sources", Counter(row.source for row in rows)), ("licences", Counter(row.licence for row in rows))):
        if named := Counter({key: count for key, count in held.items() if key}):
            yield f"- {what}: {_counts(named)}"
    yield from (f"- **{said}**" for said in restrictions(rows))
    yield "\n## Changes\n"
    if version.number == 1:
        yield "The first version."
    for what in ("added", "changed", "removed"):
        if names := getattr(version, what):
            yield f"- {what}: {len(names)} ({_named(names)})"
    if version.drafts:
        yield "\n## Who annotated and approved\n"
        yield "| sample | author | annotators | approved by |\n| --- | --- | --- | --- |"
        yield from (_row(name, draft) for name, draft in version.drafts.items())


def _row(name: str, draft: Mapping[str, object]) -> str:
    annotators = draft["annotators"]
    listed = ", ".join(map(str, annotators)) if isinstance(annotators, Sequence) else ""
    cells = (name, draft["author"] or "not named", listed or "nobody", draft["approved"])
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(names[:MOST]) + more
