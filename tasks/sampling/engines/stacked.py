"""Arms of one base in one forward pass: the base's weights once in memory, each arm's LoRA applied to its own rows.

Rows stand arm by arm, the same number of each, whatever a layer makes of the dimensions between. What an arm's adapter is multiplied with has
the same shape however many arms are decoded with it. Other products are made for all rows at once where a row's bits are then those of the
product of its arm alone. On the processor tried here they were with one thread, and in bf16; with two threads in fp32 those of the fused attention
were not, and those with weights were not for odd numbers of rows. `slots` looks, on the model at hand, and has them made arm by arm (`by_arm`).

On CPU an activation is made of many numbers at once, and what is left over at the end, or at the end of a thread's share, one by one, by
another exponential whose last bit may differ: a row's numbers would then depend on its place among the rows. Where something would be left over,
activations are made in shares with nothing left over. Both exponentials give the same for most numbers, so that a trial does not tell.

The fused attention of a single token is slow on CPU: two batched products take half the time in fp32 and a third in bf16 (192 rows of
SmolLM2's shape over 100 tokens, two threads: 1.7 against 3.0 ms a layer, and 0.75 against 2.0). So steps of one token have those.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch.nn.functional import gelu, linear, pad, scaled_dot_product_attention, silu
from torch.overrides import TorchFunctionMode

ATTENTION = (scaled_dot_product_attention, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.bmm, torch.baddbmm)
WEIGHTED = (linear, torch.addmm)
_NAMES = ("cos", "erf", "exp", "sigmoid", "sin", "tanh")
ACTIVATIONS = frozenset([gelu, silu, *(getattr(place, name) for place in (torch, torch.Tensor) for name in _NAMES)])
BASE = -1  # the arm that none of a stack's adapters stands for
LOOP = 64  # numbers of one loop of torch's on CPU with AVX512 in bf16; 32 in fp32, and half as many with AVX2
SHARE = 2**15  # what torch gives to a thread at least


class Stack:
    """A model, and which adapters stand for its arms, called as the model is.

    Args:
        model: a causal language model, or PEFT's with a LoRA adapter an arm, plain ones (`model_registry.lora`); changed: from here on it
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
        with self._shaped(self._products if len(active) > 1 else frozenset(), single=named["input_ids"].shape[1] == 1):
            return self.model(**named)

    def read(self, arm: int, ids: torch.Tensor) -> Any:
        """What the model makes of prompts of one arm, [rows, tokens], and keeps; no logits, which are the dearest and not needed."""
        self._active = (arm,)
        with self._shaped(frozenset(), single=False):
            return self.model.base_model(input_ids=ids, use_cache=True)

    def by_arm(self, products: Collection[Any]) -> None:
        """From here on, when rows are of several arms, make these products arm by arm."""
        self._products = frozenset(products)

    def _shaped(self, products: frozenset[Any], *, single: bool) -> AbstractContextManager[Any]:
        cpu = self.model.device.type == "cpu"
        return _Shaped(len(self._active), products, cpu, single and cpu) if products or cpu else nullcontext()

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
    """While it is entered, products whose rows stand arm by arm are made once an arm, in the shape that they have for one arm alone;
    activations, if `even`, with nothing left over; and fused attention, if of `single` tokens, by batched products."""

    def __init__(self, arms: int, products: frozenset[Any], even: bool, single: bool) -> None:
        super().__init__()
        self.arms, self.products = arms, products
        self.ways: dict[Any, Callable[..., Any]] = dict(EVEN) if even else {}
        if single:
            self.ways[scaled_dot_product_attention] = _of_single_tokens

    def __torch_function__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        way = self.ways.get(func, func)
        return self._by_arm(func, way, args, kwargs or {}) if func in self.products else way(*args, **(kwargs or {}))

    def _by_arm(self, func: Any, way: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        rows = args[1 if func is torch.addmm else 0].shape[0]
        if rows % self.arms:
            return way(*args, **kwargs)

        def parts(given: Any) -> Any:
            mine = isinstance(given, torch.Tensor) and given.ndim > 1 and given.shape[0] == rows and given is not weight
            return given.chunk(self.arms) if mine else (given,) * self.arms

        weight = args[1] if func is linear else args[2] if func is torch.addmm else None
        split, named = [parts(one) for one in args], {name: parts(one) for name, one in kwargs.items()}
        return torch.cat(
            [way(*(one[arm] for one in split), **{name: one[arm] for name, one in named.items()}) for arm in range(self.arms)]
        )


def _evenly(func: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    count = x.numel()
    if x.is_contiguous() and not (count % LOOP or _share(count) % LOOP):
        made: torch.Tensor = func(x, *args, **kwargs)
        return made
    pieces = pad(x.reshape(-1), (0, -count % LOOP)).split(SHARE)
    return torch.cat([func(piece, *args, **kwargs) for piece in pieces])[:count].view(x.shape)


def _share(count: int) -> int:
    """How many of so many numbers torch gives to each thread but the last."""
    return -(-count // max(1, min(torch.get_num_threads(), -(-count // SHARE))))


EVEN = {one: partial(_evenly, one) for one in ACTIVATIONS}


def _of_single_tokens(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """`scaled_dot_product_attention` of one token a row; heads that share keys may stand as further tokens, [rows, heads, sharing, width]."""
    rows, heads, sharing, width = query.shape
    if enable_gqa or is_causal or dropout_p or key.shape[:2] != (rows, heads):
        return scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    scaled = query * (width**-0.5 if scale is None else scale)
    scores = torch.bmm(scaled.reshape(rows * heads, sharing, width), key.reshape(rows * heads, -1, width).transpose(1, 2))
    scores = scores.view(rows, heads, sharing, -1).float()
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
    weights = scores.softmax(dim=-1).to(value.dtype)
    made = torch.bmm(weights.view(rows * heads, sharing, -1), value.reshape(rows * heads, -1, value.shape[-1]))
    return made.view(rows, heads, sharing, -1)
