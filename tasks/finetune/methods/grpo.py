"""Group relative policy optimisation (Shao et al. 2024, arXiv 2402.03300): as RLOO, with rewards standardised over the answers of a prompt and the
KL divergence in the loss, token by token. By TRL, whose default is no KL term at all."""

from __future__ import annotations

from typing import Literal

from tasks.finetune.methods._preference import Rewarded, on_rewards


class Grpo(Rewarded):
    method: Literal["grpo"]


METHOD = on_rewards(Grpo)
