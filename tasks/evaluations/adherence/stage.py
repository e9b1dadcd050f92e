"""The stages that judge by the grammar of the calibration ladder: whether answers agree with the position statements, and what is true.

`adherence` reads `completions` (a sampling folder) and `suite` (its prompt file), and writes labels.csv (a row a completion),
prompts.csv and metrics.json. Counterfactual and co-occurrence suites of the grammar are judged alike, by their own labels.

`truth` reads `model` (a prepared model), `suite` and, for a tuned arm, `tuned` (what fine-tuning wrote), and writes exact.csv (a row a
prompt and label, the planted rate beside the exact one) and metrics.json: exact_<rate> and, for an untuned model only, planted_<rate>,
since nothing was planted about the effect of tuning. They are no estimates, so they have no intervals. They hold for sampling at
temperature 1 and top-p 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.contract import Stage


@dataclass(frozen=True)
class Settings:
    judge: str


@dataclass(frozen=True)
class ExactSettings:
    template: str | None = None  # around a question, names it as {prompt}; None: the one that the model was pretrained with


STAGE = Stage(name="adherence", version="1", body="tasks.evaluations.adherence.body:run")
EXACT = Stage(
    name="truth", version="1", body="tasks.evaluations.adherence.body:run_exact", libraries=("torch", "transformers", "peft")
)
