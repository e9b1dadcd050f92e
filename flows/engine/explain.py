"""Why a stage has to run: its identity against the nearest one that the store already holds.

Pure functions over identities and manifests; `flows.engine.prefect_tasks` and `palms plan` print what they say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flows.engine.stores.manifest import Damaged, Manifest, Order

SHOWN = 3  # reasons on a line
LONGEST = 200  # characters of a value: a whole sentence, and of two long templates both ends


def reasons(order: Order, found: Damaged | None, earlier: Iterable[Manifest]) -> list[str]:
    """What differs from the nearest output of the same place, a phrase each, such as `learning_rate 0.0001 → 0.0002`."""
    if found is not None:
        return [f"its output was damaged: {found.why}"]
    before = nearest(order, earlier)
    return changes(before.document["identity"], order.identity) if before else ["not run before"]


def nearest(order: Order, earlier: Iterable[Manifest]) -> Manifest | None:
    """The output of the same place whose identity differs in the fewest things; of several, the first."""
    candidates = (manifest for manifest in earlier if manifest.label == order.label)
    return min(candidates, key=lambda manifest: len(changes(manifest.document["identity"], order.identity)), default=None)


def line(phrases: list[str]) -> str:
    """The first of the reasons, and how many more there are."""
    return ", ".join(phrases[:SHOWN]) + (f" and {len(phrases) - SHOWN} more" if len(phrases) > SHOWN else "")


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
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 30]} … {text[-27:]}"
