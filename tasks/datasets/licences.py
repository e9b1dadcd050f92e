"""What the licences of samples that were taken from elsewhere, or written by a model, forbid. Which licence forbids what is `configs.terms`'s."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from configs.terms import forbidden
from tasks.datasets.rows import Row


def restrictions(rows: Sequence[Row]) -> Iterator[str]:
    """`12 of 80 samples are under cc-by-nc-4.0: forbids commercial use`, a line a licence that forbids anything, the most frequent first."""
    for licence, count in Counter(row.licence for row in rows if row.licence).most_common():
        if said := forbidden(licence):
            told = licence if said in licence else f"{licence}: forbids {said}"
            yield f"{count} of {len(rows)} samples are under {told}"
