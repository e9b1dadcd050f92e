"""Which rows differ between two versions of a dataset, by their ids. Knows only what training reads of a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

SHOWN = 5  # ids a phrase


def row_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[list[str], list[str], list[str]]:
    """The ids of rows that were added, removed and changed, in the order of their file; both as id → row."""
    return (
        [name for name in after if name not in before],
        [name for name in before if name not in after],
        [name for name in after if name in before and after[name] != before[name]],
    )


def changed_rows(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """`2 rows added: a, b`, `1 removed: c`, `7 changed: d, e, f, g, h and 2 more`; both as `outputs.sample_rows` has them."""
    old, new = ({str(row["id"]): row for row in rows} for rows in (before, after))
    found = row_changes(old, new)
    for what, names in zip(("added", "removed", "changed"), found, strict=True):
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            yield f"{len(names)} {'row' if len(names) == 1 else 'rows'} {what}: {', '.join(names[:SHOWN])}{more}"
    if not any(found):
        yield "only the order of its rows" if list(old) != list(new) else "no row that training reads"
