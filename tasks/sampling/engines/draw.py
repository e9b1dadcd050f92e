"""Tokens drawn from logits, one a row, by the inverse of the cumulative distribution in float64.

One number in [0, 1) decides a draw, so equal numbers and equal logits give equal tokens whatever else is drawn. Knows tensors only.
"""

from __future__ import annotations

import torch

# A nucleus is cut out without sorting the vocabulary: tokens are counted into bins of like logits, and only the bin that the nucleus ends in and
# the one that the draw falls into are sorted. One thread, 64 × 49,152, whether the nucleus has 100 tokens or 38,000: 24 ms; sorting
# everything takes 230 to 310, and transformers' own top-p with its draw 325.
BINS = 2048
NATS = 32.0  # below the likeliest, over which the bins lie: what is beyond has 1e-9 of the probability, and the last bin
BLOCK = 128  # tokens whose probabilities are summed before a draw from the whole vocabulary looks into one such block: a quarter of a running sum
AT_ONCE = (
    2**18
)  # probabilities held in float64, 2 MiB: as many rows are drawn together as stay in the cache; 2**20 takes twice the time at 192 × 49,152


def draw(logits: torch.Tensor, uniforms: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """One token a row, [rows, vocabulary] and [rows] to [rows].

    The nucleus is the smallest set of tokens, likeliest first and in order of their ids where equally likely, whose
    probabilities reach `top_p` (Holtzman et al. 2020). Temperature 0 takes the likeliest token.

    Raises:
        ValueError: a row has a NaN or +inf, or nothing but −inf.
    """
    largest = logits.amax(dim=-1, keepdim=True)
    # it tells of NaN and +inf, and of a row of nothing but −inf; −inf beside others is a mask
    if not torch.isfinite(largest).all():
        raise ValueError(
            "the model's logits are not numbers, or infinite; finite weights and a wide enough precision are required"
        )
    if temperature == 0:
        return logits.argmax(dim=-1)
    rows = max(1, AT_ONCE // logits.shape[-1])
    below = zip(logits.split(rows), largest.split(rows), strict=True)
    logs = (part.double().sub_(most) for part, most in below)
    parts = logs if temperature == 1 else (part.div_(temperature) for part in logs)
    how = (
        _of_everything if top_p >= 1 else _of_sorted if logits.is_cuda else _of_bins
    )  # CUDA sorts fast, and adds into bins in any order
    return torch.cat([how(part, numbers, top_p) for part, numbers in zip(parts, uniforms.split(rows), strict=True)])


def _of_everything(logs: torch.Tensor, uniforms: torch.Tensor, _top_p: float) -> torch.Tensor:
    """`logs`: log-probabilities less that of the likeliest, here and below; overwritten."""
    weights, whole = logs.exp_(), logs.shape[-1] // BLOCK * BLOCK
    blocks = torch.cat(
        [weights[:, :whole].unflatten(1, (-1, BLOCK)).sum(dim=-1), weights[:, whole:].sum(dim=-1, keepdim=True)], dim=1
    )
    before = blocks.cumsum(dim=-1)
    numbers = uniforms[:, None] * before[:, -1:]
    block = torch.searchsorted(before, numbers, right=True).clamp_(max=blocks.shape[-1] - 1)
    ids = block * BLOCK + torch.arange(BLOCK, device=logs.device)
    inside = torch.where(ids < logs.shape[-1], weights.gather(1, ids.clamp(max=logs.shape[-1] - 1)), 0.0).cumsum(dim=-1)
    rest = numbers - torch.where(block > 0, before.gather(1, (block - 1).clamp(min=0)), 0.0)
    index = torch.searchsorted(inside, rest, right=True)
    # where rounding leaves nothing above, the last token of the block that is likelier than nothing
    last = torch.searchsorted(inside, inside[:, -1:].contiguous())
    return (block * BLOCK + torch.minimum(index, last))[:, 0]


def _of_sorted(logs: torch.Tensor, uniforms: torch.Tensor, top_p: float) -> torch.Tensor:
    ordered, ids = logs.exp_().sort(dim=-1, descending=True, stable=True)
    cumulative = ordered.cumsum(dim=-1)
    last = (cumulative < cumulative[:, -1:] * top_p).sum(dim=-1, keepdim=True).clamp_(max=logs.shape[-1] - 1)
    index = torch.searchsorted(cumulative, uniforms[:, None] * cumulative.gather(1, last), right=True)
    return ids.gather(1, torch.minimum(index, last))[:, 0]


def _of_bins(logs: torch.Tensor, uniforms: torch.Tensor, top_p: float) -> torch.Tensor:
    bins = (logs * (-BINS / NATS)).clamp_(max=BINS - 1).long()  # rises as the probability falls; equal for equal ones
    weights = logs.exp_()
    cumulative = logs.new_zeros(len(logs), BINS).scatter_add_(1, bins, weights).cumsum(dim=-1)
    ends = torch.searchsorted(cumulative, (reach := cumulative[:, -1:] * top_p))
    sums, ids, count = _members(weights, bins, cumulative, ends)
    last = torch.minimum((sums < reach).sum(dim=-1, keepdim=True), count - 1)  # rounding may keep even the whole below
    numbers = uniforms[:, None] * sums.gather(1, last)
    falls = torch.minimum(torch.searchsorted(cumulative, numbers, right=True), ends)
    elsewhere = (falls < ends)[:, 0]
    drawn = ids.gather(1, torch.minimum((sums <= numbers).sum(dim=-1, keepdim=True), last))[:, 0]
    if elsewhere.any():
        sums, ids, count = _members(*(held[elsewhere] for held in (weights, bins, cumulative, falls)))
        drawn[elsewhere] = ids.gather(1, torch.minimum((sums <= numbers[elsewhere]).sum(dim=-1, keepdim=True), count - 1))[:, 0]
    return drawn


def _members(
    weights: torch.Tensor, bins: torch.Tensor, cumulative: torch.Tensor, which: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of one bin a row: running sums over it and all before it, ids, both likeliest first and infinite or 0 past the last, and its count."""
    rows, ids = (bins == which).nonzero(as_tuple=True)
    count = rows.bincount(minlength=len(weights))[:, None]
    place = torch.arange(len(rows), device=rows.device) - (count.cumsum(dim=0) - count)[rows, 0]
    held = weights.new_full((len(weights), int(count.max())), -torch.inf)
    named = torch.zeros_like(held, dtype=torch.long)
    held[rows, place], named[rows, place] = weights[rows, ids], ids
    ordered, order = held.sort(dim=-1, descending=True, stable=True)
    before = torch.where(which > 0, cumulative.gather(1, (which - 1).clamp(min=0)), 0.0)
    return before + ordered.abs().cumsum(dim=-1), named.gather(1, order), count
