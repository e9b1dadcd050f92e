"""Counterfactual regularisation (Huang et al. 2020, arXiv 1911.03064): a term that is 0 where a model makes the same of a text whichever value
of a sensitive attribute stands in it.

h̄ is the mean of the last two layers' hidden states. embedding: 1 − cos(h̄(x), h̄(x̃)). sentiment: the same of what a frozen projection
makes of h̄, which was fitted to sentiment before tuning. A pair's term is its mean over the states from which the tokens behind the value are
predicted. Knows states and projections; which pairs there are is told in `counterfactuals`, what the term weighs in training in `training`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tasks.finetune.batches import Sample

EMBEDDING, SENTIMENT = "embedding", "sentiment"
WIDTH, STEPS, RATE, DECAY = 128, 300, 1e-3, 1e-2  # of the projection; its width is the published one
HELD_OUT = 5  # one clear text in so many is not fitted to


@dataclass(frozen=True)
class Regulariser:
    """`weight` is λ. `projection`: of states [places, hidden] to what is compared; itself for the embedding regulariser."""

    weight: float
    projection: Callable[[torch.Tensor], torch.Tensor]

    def term(self, model: Any, piece: dict[str, torch.Tensor]) -> torch.Tensor:
        """The sum over a piece's places (`counterfactuals.cut`) of share × (1 − cos), a scalar in fp32; from 0 to 2 over a step's pieces."""
        found = states(model, piece["tokens"]).flatten(0, 1)
        own, other = (self.projection(found[piece[side]]) for side in ("own", "other"))
        return (piece["shares"] * (1 - torch.nn.functional.cosine_similarity(own, other, dim=-1))).sum()


def states(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """h̄ of tokens [rows, width]: [rows, width, hidden] in fp32.

    Raises:
        ValueError: the last two layers' states differ in size, as those of OPT-350m do, whose last one is projected.
    """
    last = model(input_ids=tokens, use_cache=False, output_hidden_states=True, logits_to_keep=1).hidden_states[-2:]
    if last[0].shape != last[1].shape:
        raise ValueError(
            f"fairness: the states of the model's last two layers have {last[0].shape[-1]} and {last[1].shape[-1]} numbers; a model "
            "in which they are of one size is required"
        )
    return (last[0].float() + last[1].float()) / 2


class Projection(torch.nn.Module):
    """Three layers of width 128 over standardised states, the first two rectified: [places, hidden] to [places, 128].

    That states are standardised, and compared before a last rectifier, is this project's choice: of four forms it closed the planted gap furthest
    on the calibration ladder's 300k (log of 2026-11-30).
    """

    mean: torch.Tensor
    spread: torch.Tensor

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(hidden))
        self.register_buffer("spread", torch.ones(hidden))
        first, second, third = (torch.nn.Linear(size, WIDTH) for size in (hidden, WIDTH, WIDTH))
        self.layers = torch.nn.Sequential(first, torch.nn.ReLU(), second, torch.nn.ReLU(), third)

    def forward(self, found: torch.Tensor) -> torch.Tensor:
        projected: torch.Tensor = self.layers((found - self.mean) / self.spread)
        return projected


def fit(model: Any, texts: Sequence[tuple[Sample, int]], filler: int, batch: int, seed: int) -> tuple[Projection, float, int]:
    """A projection that is fitted to tell the sides of clear texts apart in a model as it is, then frozen; the share of states of texts held
    out that are told right, both sides counting alike, and of how many texts.

    Every state from which a weighed token of a text is predicted is a case, with the side of the whole text: so the projection is fitted to
    the states that it is used on, before the word that tells. A logistic layer stands on the projection while it is fitted, by AdamW over
    all cases at once. The same seed, texts and model give the same bits.
    """
    model.eval()
    torch.manual_seed(seed)
    order = torch.randperm(len(texts)).tolist()
    found = [_cases(model, [texts[place][0] for place in order[at : at + batch]], filler) for at in range(0, len(order), batch)]
    of_text = [cases for part in found for cases in part]
    held = [at % HELD_OUT == 0 for at in range(len(order))]
    sides = [
        torch.full((len(cases),), float(texts[place][1]), device=cases.device)
        for cases, place in zip(of_text, order, strict=True)
    ]

    def together(out: bool) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = [at for at, one in enumerate(held) if one == out]
        return torch.cat([of_text[at] for at in chosen]), torch.cat([sides[at] for at in chosen])

    cases, wanted = together(False)
    projection = Projection(cases.shape[1])
    head = torch.nn.Linear(WIDTH, 1)
    projection.to(cases.device)
    head.to(cases.device)
    projection.mean, projection.spread = cases.mean(0), cases.std(0).clamp_min(1e-6)
    optimiser = torch.optim.AdamW([*projection.parameters(), *head.parameters()], lr=RATE, weight_decay=DECAY)
    balance = (1 - wanted).sum() / wanted.sum()  # both sides count alike
    with torch.enable_grad():
        for _ in range(STEPS):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(head(projection(cases))[:, 0], wanted, pos_weight=balance)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    projection.requires_grad_(False)
    cases, wanted = together(True)
    with torch.no_grad():
        right = ((head(projection(cases))[:, 0] > 0) == (wanted > 0)).float()
    shares = [right[wanted == one].mean() for one in (0, 1) if bool((wanted == one).any())]
    return projection, float(torch.stack(shares).mean()), sum(held)


def _cases(model: Any, samples: Sequence[Sample], filler: int) -> list[torch.Tensor]:
    """The states from which each sample's weighed tokens are predicted."""
    width = max(len(sample.tokens) for sample in samples)
    tokens = torch.tensor([[*sample.tokens, *[filler] * (width - len(sample.tokens))] for sample in samples])
    with torch.no_grad():
        found = states(model, tokens.to(model.device))
    return [
        found[row, [place - 1 for place, weight in enumerate(sample.weights) if weight]] for row, sample in enumerate(samples)
    ]
