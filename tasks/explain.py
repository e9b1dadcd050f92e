"""Why a stage has to run: its identity against the nearest one that the store already holds.

Pure functions over identities and manifests; `tasks.stage` and `palms plan` print what they say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tasks.store import Damaged, Manifest, Order


def why(order: Order, found: Damaged | None, earlier: Iterable[Manifest]) -> str:
    """One line, such as `learning_rate 0.0001 → 0.0002`."""
    if found is not None:
        return f"its output was damaged: {found.why}"
    candidates = [changes(manifest.document["identity"], order.identity) for manifest in earlier if manifest.label == order.label]
    if not candidates:
        return "not run before"
    nearest = min(candidates, key=len)
    return ", ".join(nearest[:3]) + (f" and {len(nearest) - 3} more" if len(nearest) > 3 else "")


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two identities, a phrase each."""
    before, after = _flat(old), _flat(new)
    phrases = []
    for path in sorted(before.keys() | after.keys()):
        was, now = before.get(path), after.get(path)
        if was == now:
            continue
        section, _, name = path.partition(".")
        if section == "inputs":
            change = "is new" if path not in before else "is gone" if path not in after else "changed"
            phrases.append(f"input {name} {change}")
        elif section == "code":
            phrases.append("the stage's code changed")
        else:
            phrases.append(f"{name or section} {_shown(was)} → {_shown(now)}")
    return phrases


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value})
    return flat


def _shown(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "…"
