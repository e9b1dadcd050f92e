"""Which models exist, how they are loaded safely, and which a home has registered.

from model_registry import load
model, tokenizer = load("calibration-300k-values_targeted@champion")
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "load":  # not at once: whoever wants another module of this package would read registered models and cards too
        from model_registry.registered import load

        return load
    raise AttributeError(name)
