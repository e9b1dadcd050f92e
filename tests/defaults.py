"""Settings of an evaluation where its section's own defaults stand for what a test does not give."""

from __future__ import annotations

from dataclasses import MISSING, fields
from types import ModuleType
from typing import Any

from tasks.evaluations import Evaluation


def settings(stage: ModuleType, **given: Any) -> Any:
    section = next(held.section for held in vars(stage).values() if isinstance(held, Evaluation))
    needed = [field.name for field in fields(stage.Settings) if field.default is MISSING and field.name not in given]
    return stage.Settings(**{name: section.model_fields[name].default for name in needed}, **given)
