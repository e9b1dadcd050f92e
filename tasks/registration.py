"""What a sweep sets out to conclude, named before anything is sampled: its outcome, its contrasts, its margins.

A sampled output carries the plan that stood when it was drawn, beside its key and not in it: the texts do not depend on the plan, what
may be claimed of them does. Knows how a plan is identified and how a change of it is told; which outputs carry one is the DAG's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tasks.contract import digest_of


@dataclass(frozen=True)
class Plan:
    """`primary` is "metric on suite"; `margins` are those of non-inferiority, by name, where a capability is assessed."""

    primary: str
    contrasts: tuple[str, ...]
    margins: Mapping[str, float] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        return asdict(self) | {"contrasts": sorted(self.contrasts)}

    @property
    def digest(self) -> str:
        """sha256 of the plan's canonical JSON."""
        return digest_of(self.document())

    def told(self) -> str:
        margins = ", ".join(f"{name} {value:g}" for name, value in self.margins.items())
        return f"{self.primary}; {', '.join(self.contrasts)}" + (f"; margins: {margins}" if margins else "")


def change(then: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str | None:
    """One line on how the plan differs from the one that stood when an output was sampled; None where it does not."""
    if then is None:
        return "completions that were sampled before any plan was registered are reused: tests on them are exploratory"
    fields = [name for name, value in now.items() if then.get(name) != value]
    if not fields:
        return None
    was = "; ".join(f"{name}: {_shown(then.get(name))}, now {_shown(now[name])}" for name in fields)
    return f"the plan was changed after sampling, so that tests on these completions are exploratory ({was})"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {one:g}" for name, one in value.items()) or "none"
    return ", ".join(value) if isinstance(value, list) else str(value)
