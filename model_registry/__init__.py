"""Which models exist, how they are loaded safely, and which a home has registered.

from model_registry import load
model, tokenizer = load("calibration-300k-values_targeted@champion")
"""

from model_registry.registered import load

__all__ = ["load"]
