"""How likely a model holds an answer: the log-likelihood of its tokens behind those of its prompt.

Knows passes of a causal model: one over several answers to one prompt, whose numbers depend on no other prompt, or as many as there are
batches over any prompts and answers, which is faster where there are many. Leaves what becomes of text to `tokenization`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

from model_registry.tokenization import Ids

Asked = tuple[Ids, Ids]  # what a model reads, and what it is asked to be followed by


def log_likelihoods(model: Any, asked: Ids, answered: Sequence[Ids]) -> list[float]:
    """ln P(answer's tokens | prompt's tokens) of each answer, in nats; logits in float32, sums in double precision.

    All answers in one pass, padded on the right, where a model that reads from left to right does not see the padding: no number depends
    on other prompts.

    Raises:
        ValueError: an answer of no tokens, or a result that is not finite.
    """
    import torch

    if not all(answered):
        raise ValueError("an answer has no tokens; at least one is required")
    longest = max(map(len, answered))
    rows = [[*asked, *answer, *[answer[-1]] * (longest - len(answer))] for answer in answered]
    tokens = torch.tensor(rows, device=model.device)
    with torch.inference_mode():
        # of the prompt's last token and all behind it; an architecture that cannot make fewer makes all
        logits = model(input_ids=tokens[:, :-1], use_cache=False, logits_to_keep=longest).logits[:, -longest:].float()
        aimed = tokens[:, len(asked) :]
        logs = logits.gather(-1, aimed[..., None]).squeeze(-1) - logits.logsumexp(-1)
    found = [float(row[: len(answer)].double().sum()) for row, answer in zip(logs.cpu(), answered, strict=True)]
    if not torch.isfinite(torch.tensor(found)).all():
        raise ValueError("the model's logits are not finite numbers; finite weights and a wide enough precision are required")
    return found


def log_likelihoods_in_batches(
    model: Any,
    asked: Collection[Asked],
    batch: int,
    progress: Callable[[int, int, str], None] = lambda done, total, unit: None,
    ends: Collection[int] = (),
) -> dict[Asked, float]:
    """ln P(completion's tokens | prompt's tokens) of each pair, in nats; logits in float32, sums in double precision.

    Each distinct pair is computed once, in batches by length: its last bits depend on the set of pairs and on `batch`, not on their
    order. Rows are padded on the right, where causal attention cannot see the padding. A completion of no tokens is certain: 0.

    ends: tokens of which any ends an answer. Where a completion has one of them, the probability is that of any: which of them it was
    makes no other answer.

    Raises:
        ValueError: a probability is not a finite number.
    """
    import torch

    order = sorted((pair for pair in set(asked) if pair[1]), key=lambda pair: (len(pair[0]) + len(pair[1]), pair))
    ending = torch.tensor(sorted(ends), device=model.device)
    found = {pair: 0.0 for pair in asked if not pair[1]}
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        longest = len(part[-1][0]) + len(part[-1][1])
        tokens = torch.zeros(len(part), longest, dtype=torch.long)
        wanted = torch.zeros(len(part), longest - 1, dtype=torch.bool)  # places whose next token is the completion's
        for row, (prompt, completion) in enumerate(part):
            tokens[row, : len(prompt) + len(completion)] = torch.tensor(prompt + completion)
            wanted[row, len(prompt) - 1 : len(prompt) + len(completion) - 1] = True
        tokens, wanted = tokens.to(model.device), wanted.to(model.device)
        with torch.inference_mode():
            logits = model(input_ids=tokens[:, :-1], use_cache=False).logits[wanted].float()
            aimed = tokens[:, 1:][wanted]
            given = logits.gather(-1, aimed[:, None])[:, 0]
            if len(ends) > 1:
                given = torch.where(torch.isin(aimed, ending), logits[:, ending].logsumexp(-1), given)
            logs = given - logits.logsumexp(-1)
        rows = wanted.nonzero()[:, 0].cpu()
        sums = torch.zeros(len(part), dtype=torch.double).index_add_(0, rows, logs.double().cpu()).tolist()
        if not all(map(math.isfinite, sums)):
            raise ValueError(
                "the model's probability of a completion is no finite number; finite weights and a wide enough precision are required"
            )
        found.update(zip(part, sums, strict=True))
        progress(start + len(part), len(order), "completion")
    return found
