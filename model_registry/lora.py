"""Plain LoRA: two matrices beside each linear layer that has an adapter, and nothing more.

Knows which saved adapters are that. Where one is, its product may be made in the model's precision and for many arms at once; whatever else an
adapter may have (a magnitude, a head, a layer that is not linear) is left to PEFT, in the precision that it was tuned in.
"""

from __future__ import annotations

import json
from pathlib import Path

from model_registry.folders import ADAPTER

WEIGHTS = "adapter_model.safetensors"
# Of an adapter's configuration, what makes more of it than two matrices a linear layer.
FURTHER = (
    *("use_dora", "modules_to_save", "lora_bias", "target_parameters", "trainable_token_indices", "layer_replication"),
    *("alora_invocation_tokens", "use_qalora", "velora_config", "arrow_config"),
)


def further(adapter: Path) -> str | None:
    """What a saved adapter is or has beyond plain LoRA; None for plain LoRA."""
    from safetensors import safe_open

    config = json.loads((adapter / ADAPTER).read_text(encoding="utf-8"))
    if config["peft_type"] != "LORA":
        return f"an adapter of kind {config['peft_type']}"
    if names := [*(name for name in FURTHER if config.get(name)), *(["bias"] if config.get("bias") != "none" else [])]:
        return f"LoRA with {names[0]}"
    with safe_open(adapter / WEIGHTS, "pt") as stream:
        matrices = all(
            (".lora_A." in key or ".lora_B." in key) and len(stream.get_slice(key).get_shape()) == 2
            for key in stream.keys()  # noqa: SIM118
        )
    return None if matrices else "LoRA on a layer that is not linear"
