"""The stage that computes a calibration model's own rates, which measured rates and their intervals are
checked against.

Inputs: `model` (a prepared model), `suite` (a prompt file of the grammar) and, for a tuned arm, `tuned` (what
fine-tuning wrote). Outputs: exact.csv (a row a prompt and label, the planted rate beside the exact one) and
metrics.json: exact_<rate> and, for an untuned model only, planted_<rate>, since nothing was planted about the
effect of tuning. They are no estimates, so they have no intervals. They hold for sampling at temperature 1
and top-p 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.contract import Job, Stage


@dataclass(frozen=True)
class Settings:
    template: str | None = None  # around a question, names it as {prompt}; None: the one that the model was pretrained with


STAGE = Stage(name="truth", version="1", body="tasks.truth.stage:run", libraries=("torch", "transformers", "peft"))


def run(jobs: Sequence[Job]) -> None:
    """Raises ValueError for a prompt that the grammar does not know."""
    from dataclasses import asdict

    from model_registry.calibration.grammar import load_grammar
    from model_registry.loading import load_arm, load_tokenizer, make_deterministic, prepared_folder
    from tasks.contract import write_metrics, write_rows
    from tasks.levels import known_metrics
    from tasks.sampling.prompts import load_suite
    from tasks.truth.rates import prompt_rows, truth_rows

    make_deterministic()
    grammar = load_grammar()
    for job in jobs:
        folder, suite = prepared_folder(job.inputs["model"]), load_suite(job.inputs["suite"])
        tuned = job.inputs.get("tuned")
        model = load_arm(job.inputs["model"], tuned, precision=job.numerics.precision, device=job.numerics.device)
        truths = truth_rows(model, load_tokenizer(folder), suite, grammar, job.settings.template)
        write_rows(job.work / "exact.csv", [asdict(row) for row in truths])
        write_metrics(job.work, known_metrics(prompt_rows(truths, suite, grammar, planted=tuned is None)))
        job.progress(len(suite.prompts), len(suite.prompts), "prompts")
        job.commit()
