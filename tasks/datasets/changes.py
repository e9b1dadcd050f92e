"""Which rows differ between two versions of a dataset, by their ids. Knows only what training reads of a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

SHOWN = 5  # ids a phrase


def changed_rows(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """`2 rows added: a, b`, `1 removed: c`, `7 changed: d, e, f, g, h and 2 more`; both as `outputs.sample_rows` has them."""
    old, new = ({str(row["id"]): row for row in rows} for rows in (before, after))
    found = {
        "added": [name for name in new if name not in old],
        "removed": [name for name in old if name not in new],
        "changed": [name for name, row in new.items() if name in old and old[name] != row],
    }
    for what, names in found.items():
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            yield f"{len(names)} {'row' if len(names) == 1 else 'rows'} {what}: {', '.join(names[:SHOWN])}{more}"
    if not any(found.values()):
        yield "only the order of its rows" if list(old) != list(new) else "no row that training reads"
