"""What a sweep sets out to conclude, named before anything is sampled: its outcome, its contrasts, its margins.

A sampled output carries the preregistration that stood when it was drawn, beside its key and not in it: the texts do not depend on it,
what may be claimed of them does. Knows how one is identified and how a change of it is told; which outputs carry one is the DAG's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from configs.contrasts import Contrast, listed
from tasks.contract import digest_of


@dataclass(frozen=True)
class Preregistration:
    """`primary` is "metric on suite"; `margins` are those of non-inferiority, by name, where a capability is assessed."""

    primary: str
    contrasts: tuple[Contrast, ...]  # the confirmatory ones
    margins: Mapping[str, float] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        return asdict(self) | {"contrasts": sorted(map(str, self.contrasts))}

    @property
    def digest(self) -> str:
        """sha256 of its canonical JSON."""
        return digest_of(self.document())

    def words(self) -> str:
        margins = ", ".join(f"{name} {value:g}" for name, value in self.margins.items())
        return f"{self.primary}; {listed(self.contrasts) or 'no contrast'}" + (f"; margins: {margins}" if margins else "")


Drawn = Iterable[tuple[str | None, Mapping[str, Any] | None]]  # of each output: its arm, and what stood when it was sampled


def unregistered(now: Mapping[str, Any], drawn: Drawn) -> tuple[Contrast, ...]:
    """The contrasts that were not named, with this outcome, before both their arms had been sampled: tests of them are exploratory.

    Arms of which nothing was sampled have shown no difference.
    One arm whose completions were drawn under one that names the contrast is enough: before it was sampled there was no difference
    to be seen. So an arm, or an experiment, that is added over completions of another one accuses nobody.
    """
    named: dict[str | None, set[str]] = {}
    sampled = set()
    for arm, stood in drawn:
        sampled.add(arm)
        if stood is not None and stood["primary"] == now["primary"]:
            named.setdefault(arm, set()).update(stood["contrasts"])
    wanted = (Contrast.parse(one) for one in now["contrasts"])
    return tuple(
        one for one in wanted if sampled.issuperset(one.arms) and not any(str(one) in named.get(arm, ()) for arm in one.arms)
    )


def told(now: Mapping[str, Any], drawn: Drawn) -> list[str]:
    """A line on every part that was changed after sampling."""
    drawn = list(drawn)
    lines = []
    if late := unregistered(now, drawn):
        before = sorted({stood["primary"] if stood else "nothing" for _, stood in drawn} - {now["primary"]})
        was = f", where the preregistration named {' and '.join(before)}" if before else ""
        lines.append(
            f"named after their arms had been sampled{was}, so that their tests are exploratory: {now['primary']}: {listed(late)}"
        )
    moved = {
        f"{name} {stood['margins'][name]:g} → {value:g}"
        for _, stood in drawn
        for name, value in now["margins"].items()
        if stood and stood["margins"].get(name, value) != value
    }
    if moved:
        lines.append(f"margins of capability changed after sampling: {', '.join(sorted(moved))}")
    return lines
