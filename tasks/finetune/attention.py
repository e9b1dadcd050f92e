"""Attention of short texts while a model is tuned in bf16 on a CPU: by batched products, which take about half the time of the fused kernel there
(99 ms of a row of 300 tokens of SmolLM2-135M, forward and backward; the kernel 177 of a row of 260).

The fused kernel saves memory that short texts do not need. What is kept for the backward pass here is rows × heads × tokens² probabilities of
two bytes, so longer texts, other devices and precisions, masks and dropout stay with the fused one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

LONGEST = 512  # tokens; of 1,024 both take as long


class ShortAttention(TorchFunctionMode):  # type: ignore[misc]
    """While it is entered, fused causal attention of short texts in bf16 on a CPU is made by batched products."""

    def __torch_function__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        way = attention if func is scaled_dot_product_attention else func
        return way(*args, **(kwargs or {}))


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    **options: Any,
) -> torch.Tensor:
    """`scaled_dot_product_attention`: [rows, heads, tokens, width], heads that share keys beside one another."""
    tokens = query.shape[-2]
    short = is_causal and key.shape[-2] == tokens <= LONGEST and query.dtype == torch.bfloat16 and query.device.type == "cpu"
    if not short or attn_mask is not None or dropout_p or not torch.is_grad_enabled():
        return scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, **options)
    made: torch.Tensor = _ByProducts.apply(query, key, value, query.shape[-1] ** -0.5 if scale is None else scale)
    return made


class _ByProducts(torch.autograd.Function):
    """softmax(scale · Q Kᵀ) V below the diagonal, and its gradients. The heads that share a key are further rows of its products."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
        rows, heads, tokens, width = query.shape
        groups, sharing = rows * key.shape[1], heads // key.shape[1]
        query = (query * scale).reshape(groups, sharing * tokens, width)
        key, value = (one.reshape(groups, tokens, one.shape[-1]) for one in (key, value))
        scores = torch.bmm(query, key.transpose(1, 2)).view(-1, tokens, tokens)
        later = torch.full((tokens, tokens), -torch.inf, dtype=scores.dtype).triu_(1)
        weights = scores.add_(later).softmax(dim=-1).view(groups, sharing * tokens, tokens)
        ctx.save_for_backward(query, key, value, weights)
        ctx.scale, ctx.shape = scale, (rows, heads, tokens)
        return torch.bmm(weights, value).view(rows, heads, tokens, -1)

    @staticmethod
    def backward(ctx: Any, given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        query, key, value, weights = ctx.saved_tensors
        rows, heads, tokens = ctx.shape
        given = given.reshape(len(query), -1, value.shape[-1])
        of_value = torch.bmm(weights.transpose(1, 2), given)
        of_weights = torch.bmm(given, value.transpose(1, 2))
        of_scores = torch.ops.aten._softmax_backward_data(of_weights, weights, -1, weights.dtype)
        of_query = torch.bmm(of_scores, key).mul_(ctx.scale)
        of_key = torch.bmm(of_scores.transpose(1, 2), query)
        return (
            of_query.view(rows, heads, tokens, -1),
            of_key.view(rows, -1, tokens, key.shape[-1]),
            of_value.view(rows, -1, tokens, value.shape[-1]),
            None,
        )
