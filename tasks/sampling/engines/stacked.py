"""Arms of one base in one forward pass: the base's weights once in memory, each arm's LoRA applied to its own rows.

Rows stand arm by arm, the same number of each, whatever a layer makes of the dimensions between. What an arm's adapter is multiplied with has
the same shape however many arms are decoded with it. Other products are made for all rows at once where a row's bits are then those of the
product of its arm alone. On the processor tried here they were with one thread, and in bf16; with two threads in fp32 those of attention were
not, and those with weights were not for odd numbers of rows. `slots` looks, on the model at hand, and has them made arm by arm (`by_arm`).

An activation is made of 32 numbers at once on CPU, and what is left over at the end, or at the end of a thread's share, one by one, by another
exponential whose last bit may differ: a row's numbers then depend on its place among the rows. `slots` looks for that too, and has activations
made of whole 32s and by one thread (`even`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch.nn.functional import gelu, linear, pad, scaled_dot_product_attention, silu
from torch.overrides import TorchFunctionMode

from model_registry.folders import ADAPTER
from tasks.contract import read_json

WEIGHTS = "adapter_model.safetensors"
# Of an adapter's configuration, what makes more of it than two matrices a linear layer.
FURTHER = (
    *("use_dora", "modules_to_save", "lora_bias", "target_parameters", "trainable_token_indices", "layer_replication"),
    *("alora_invocation_tokens", "use_qalora", "velora_config", "arrow_config"),
)


def refusal(adapter: Path) -> str | None:
    """Why an adapter cannot be stacked; None if it can."""
    config = read_json(adapter / ADAPTER)
    if config["peft_type"] != "LORA":
        return f"an adapter of kind {config['peft_type']}"
    if further := [*(name for name in FURTHER if config.get(name)), *(["bias"] if config.get("bias") != "none" else [])]:
        return f"LoRA with {further[0]}"
    with safe_open(adapter / WEIGHTS, "pt") as stream:
        matrices = all(
            (".lora_A." in key or ".lora_B." in key) and len(stream.get_slice(key).get_shape()) == 2
            for key in stream.keys()  # noqa: SIM118
        )
    return None if matrices else "LoRA on a layer that is not linear"


ATTENTION = (scaled_dot_product_attention, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.bmm, torch.baddbmm)
WEIGHTED = (linear, torch.addmm)
_NAMES = ("cos", "erf", "exp", "sigmoid", "sin", "tanh")
ACTIVATIONS = frozenset([gelu, silu, *(getattr(place, name) for place in (torch, torch.Tensor) for name in _NAMES)])
AT_ONCE, SHARE = 32, 2**15  # numbers of one loop of torch's on CPU with AVX512 (16 with AVX2), and what it gives to one thread


class Stack:
    """A model, and which adapters stand for its arms, called as the model is.

    Args:
        model: a causal language model, or PEFT's with a LoRA adapter an arm, which `refusal` has nothing against; changed: from here on it
            is called through the stack alone.
        adapters: by arm, the adapter's name; None for the base.

    Raises:
        ValueError: an adapter is on a layer of a kind that is not known here.
    """

    def __init__(self, model: Any, adapters: Sequence[str | None] = (None,)) -> None:
        from peft.tuners.lora.layer import Linear as Plain
        from peft.tuners.lora.layer import LoraLayer

        self.model, self._adapters = model, tuple(adapters)
        self._active: tuple[int, ...] = (0,)
        self._products: frozenset[Any] = frozenset()
        self.even = self._even_together = False
        if any(adapters):
            self.model = model.get_base_model()
            layers = [layer for layer in self.model.modules() if isinstance(layer, LoraLayer)]
            odd = next((layer for layer in layers if type(layer) is not Plain or layer.lora_variant), None)
            if odd is not None:
                raise ValueError(
                    f"LoRA on a layer like peft's {type(odd).__name__} is not stacked; one on linear layers is required"
                )
            for layer in layers:
                layer.forward = partial(self._adapted, layer.base_layer, self._matrices(layer))

    def __call__(self, active: Sequence[int], **named: Any) -> Any:
        """A forward pass over rows of these arms, one below the other."""
        self._active = tuple(active)
        several = len(active) > 1
        products, even = self._products if several else (), self.even or (several and self._even_together)
        with _Shaped(len(active), products, even) if products or even else nullcontext():
            return self.model(**named)

    def by_arm(self, products: Collection[Any], *, even: bool) -> None:
        """From here on, when rows are of several arms, make these products arm by arm, and activations evenly."""
        self._products, self._even_together = frozenset(products), even

    def release(self) -> None:
        """Leave the model's layers as they were."""
        for layer in self.model.modules():
            if isinstance(layer.__dict__.get("forward"), partial):
                del layer.forward

    def _matrices(self, layer: Any) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
        """By arm, down [in, rank] and up [rank, out], scaled."""
        kind = layer.base_layer.weight.dtype
        return {
            arm: (
                layer.lora_A[name].weight.detach().to(kind).t().contiguous(),
                (layer.lora_B[name].weight.detach().double() * layer.scaling[name]).to(kind).t().contiguous(),
            )
            for arm, name in enumerate(self._adapters)
            if name is not None and name in layer.lora_A
        }

    def _adapted(self, base: Any, matrices: dict[int, tuple[torch.Tensor, torch.Tensor]], x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = base(x)
        arms = len(self._active)
        for arm, rows, out in zip(self._active, x.chunk(arms), result.chunk(arms), strict=True):
            if arm in matrices:
                down, up = matrices[arm]
                out.view(-1, out.shape[-1]).addmm_(rows.reshape(-1, rows.shape[-1]).mm(down), up)
        return result


class _Shaped(TorchFunctionMode):  # type: ignore[misc]
    """While it is entered, products whose rows stand arm by arm are made once an arm, in the shape that they have for one arm alone, and
    activations, if `even`, in pieces in which all numbers are treated alike."""

    def __init__(self, arms: int, products: Collection[Any], even: bool) -> None:
        super().__init__()
        self.arms, self.products, self.even = arms, products, even

    def __torch_function__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in self.products:
            return self._by_arm(func, args, kwargs)
        if self.even and func in ACTIVATIONS and args and isinstance(args[0], torch.Tensor):
            return _evenly(func, args[0], args[1:], kwargs)
        return func(*args, **kwargs)

    def _by_arm(self, func: Any, args: Any, kwargs: Any) -> Any:
        rows = args[1 if func is torch.addmm else 0].shape[0]
        if rows % self.arms:
            return func(*args, **kwargs)

        def parts(given: Any) -> Any:
            mine = isinstance(given, torch.Tensor) and given.ndim > 1 and given.shape[0] == rows and given is not weight
            return given.chunk(self.arms) if mine else (given,) * self.arms

        weight = args[1] if func is linear else args[2] if func is torch.addmm else None
        split, named = [parts(one) for one in args], {name: parts(one) for name, one in kwargs.items()}
        return torch.cat(
            [func(*(one[arm] for one in split), **{name: one[arm] for name, one in named.items()}) for arm in range(self.arms)]
        )


def _evenly(func: Any, x: torch.Tensor, args: Any, kwargs: Any) -> torch.Tensor:
    count = x.numel()
    pieces = pad(x.reshape(-1), (0, -count % AT_ONCE)).split(SHARE)
    return torch.cat([func(piece, *args, **kwargs) for piece in pieces])[:count].view(x.shape)
