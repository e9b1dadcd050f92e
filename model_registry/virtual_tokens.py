"""Virtual tokens: what prompt and prefix tuning put before everything that a model reads, and every caller of the model can forget about.

A prompt is embeddings that stand before the first token's (Lester et al. 2021); a prefix is the keys and values that tokens before the first
one would have left in every layer (Li & Liang 2021). Both take places of the context (`Tokenization`'s `taken`), and both are read once a
sequence: PEFT's own `forward` puts them before each step of a decode with a cache too, and hands out the prompt's logits with the tokens'.
"""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModelForCausalLM

from model_registry.architecture import CARRIED

PREFIX, PROMPT = "PREFIX_TUNING", "PROMPT_TUNING"  # as adapter_config.json has them
KINDS = (PREFIX, PROMPT)


class VirtualTokens(PeftModelForCausalLM):  # type: ignore[misc]  # PEFT is not typed
    """A model with virtual tokens before what it reads, called like one without.

    Its logits, [rows, tokens, vocabulary], and hidden states are those of the tokens it is given. A call that hands on what an earlier step left
    (`CARRIED`) finds the virtual tokens there.

    Raises:
        ValueError: they are of another shape than this model has.
    """

    def add_adapter(self, adapter_name: str, peft_config: Any, **further: Any) -> None:
        shape = fitting(self.base_model, str(getattr(peft_config.peft_type, "value", peft_config.peft_type)))
        if wrong := next((name for name, value in shape.items() if getattr(peft_config, name) != value), None):
            raise ValueError(f"{wrong}: {getattr(peft_config, wrong)} where the model has {shape[wrong]}")
        super().add_adapter(adapter_name, peft_config, **further)

    def forward(self, input_ids: torch.Tensor, **named: Any) -> Any:
        if any(named.get(name) is not None for name in CARRIED):
            return self.base_model(input_ids=input_ids, **named)
        out = super().forward(input_ids=input_ids, **named)
        out.logits = out.logits[:, -input_ids.shape[1] :]
        if out.get("hidden_states") is not None:
            out.hidden_states = tuple(state[:, -input_ids.shape[1] :] for state in out.hidden_states)
        return out

    def unload(self) -> Any:
        """The model as it was."""
        return self.base_model

    def merge_and_unload(self, *given: Any, **named: Any) -> None:
        raise ValueError("virtual tokens cannot be merged into the model: they are none of its weights")


def fitting(model: Any, kind: str) -> dict[str, int]:
    """What PEFT calls the measures of a model's virtual tokens.

    Raises:
        ValueError: of a prefix, where the model does not keep keys and values of one shape in every layer.
    """
    if kind == PROMPT:
        unread = {name: getattr(model.config, name, 1) for name in ("num_layers", "num_attention_heads")}  # PEFT asks for them
        return {"token_dim": model.get_input_embeddings().embedding_dim, **unread}
    layers = left(model, torch.zeros(1, 1, dtype=torch.long, device=model.device))
    heads, head = layers[0][0].shape[1], layers[0][0].shape[3]
    return {"num_layers": len(layers), "num_attention_heads": heads, "token_dim": heads * head}


def left(model: Any, tokens: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The keys and values, [1, heads, tokens, head] each, that reading these tokens, [1, tokens], leaves in every layer.

    Raises:
        ValueError: there are not both in every layer, or not all of one shape.
    """
    with torch.no_grad():
        out = model(inputs_embeds=model.get_input_embeddings()(tokens), use_cache=True)
    cache = getattr(out, "past_key_values", None)
    kept = (layer for layer in getattr(cache, "layers", ()) if getattr(layer, "keys", None) is not None)
    found = [(layer.keys, layer.values) for layer in kept]
    if (
        len({one.shape for layer in found for one in layer}) != 1
        or len(found) != model.config.get_text_config().num_hidden_layers
    ):
        raise ValueError(
            f"method: prefix; {model.config.model_type} does not keep keys and values of one shape in every layer; method prompt is accepted"
        )
    return found


def random_tokens(model: Any, count: int) -> torch.Tensor:
    """Tokens of the vocabulary, [1, count], by torch's generator: what virtual tokens begin as."""
    return torch.randint(model.get_input_embeddings().num_embeddings, (1, count)).to(model.device)
