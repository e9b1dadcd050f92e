"""Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290): −log σ(β[Δ chosen − Δ rejected]), where Δ is how much more probable
an answer has become than in the model that tuning started from. By TRL."""

from __future__ import annotations

from typing import Literal

from tasks.finetune.methods._preference import Preferring, on_pairs


class Dpo(Preferring):
    method: Literal["dpo"]


METHOD = on_pairs(Dpo)
