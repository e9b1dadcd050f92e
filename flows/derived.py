"""An experiment that follows from another: the same words, in a file elsewhere, so that every path in it is absolute."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from configs.schema import Experiment
from flows.experiment import asked_of
from tasks.contract import replace_file


def standing(experiment: Experiment, source: Path) -> dict[str, Any]:
    """The document of an experiment that was read from `source`: what was given, and no default."""

    def at(given: str) -> str:
        return str((source.parent / Path(given).expanduser()).absolute())

    document = experiment.model_dump(mode="json", exclude_unset=True)
    for name in ("datasets", "preferences"):
        document |= {name: {key: given and at(given) for key, given in document[name].items()}} if name in document else {}
    for arm in document["arms"].values():
        if arm.get("texts"):
            arm["texts"] = at(arm["texts"])
        if (arm.get("fairness") or {}).get("lists"):
            arm["fairness"]["lists"] = at(arm["fairness"]["lists"])
    if document.get("positions"):
        document["positions"] = at(document["positions"])
    for suite in document["suites"].values():
        suite["prompts"] = at(suite["prompts"])
    for evaluation, section in asked_of(experiment):
        named = {file.field: getattr(section, file.field) for file in evaluation.files.values()}
        document["evaluations"][evaluation.asked] |= {field: at(given) for field, given in named.items() if given}
    for ladder in document["ladders"]:
        if "models" in ladder:  # a folder or a file; what is neither is an id on the hub
            ladder["models"] = {
                size: at(given) if Path(at(given)).exists() else given for size, given in ladder["models"].items()
            }
    return document


def write(document: Mapping[str, Any], path: Path, why: str) -> Path:
    """As a file that begins with why there is one. Raises OSError."""
    told = {key: value for key, value in document.items() if value is not None}
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, f"# {why}\n" + yaml.safe_dump(told, sort_keys=False, allow_unicode=True))
    return path
