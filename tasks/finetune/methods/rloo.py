"""REINFORCE leave-one-out (Ahmadian et al. 2024, arXiv 2402.14740): answers that a reward model prefers to the others of their prompt become
more probable, less β times the KL divergence from the start. By TRL.

It takes the place of PPO, which the literature on tuning from human feedback names and TRL has not had since 1.13: a value model, and clipping over
several passes, were found to buy nothing where tuning starts from a language model that answers already.
"""

from __future__ import annotations

from typing import Literal

from tasks.finetune.methods._preference import Rewarded, on_rewards


class Rloo(Rewarded):
    method: Literal["rloo"]


METHOD = on_rewards(Rloo)
