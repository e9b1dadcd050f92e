"""Two truths of the calibration ladder, prompt by prompt: a model's own exact rates, and what the grammar
planted.

Leaves the computation to `model_registry.calibration` and the names of rates to `tasks.evaluations.adherence.judge`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from configs.suites import Suite
from model_registry.calibration.exact import exact_rates
from model_registry.calibration.grammar import Grammar
from model_registry.tokenization import Tokenization
from tasks.evaluations.adherence.judge import rate_names
from tasks.levels import PromptRow

EXACT, PLANTED = "exact_", "planted_"


@dataclass(frozen=True)
class TruthRow:
    """Probability of one label at one prompt: `exact` under the model, `planted` by the grammar."""

    prompt_id: str
    group: str
    label: str
    exact: float
    planted: float


def truth_rows(model: Any, words: Tokenization, suite: Suite, grammar: Grammar, template: str | None) -> list[TruthRow]:
    """Every label of every prompt of the suite, `off_grammar` (planted 0) included; exact at temperature 1
    and top-p 1.

    Raises:
        ValueError: the grammar does not know one of the prompts.
    """
    texts = [prompt.text for prompt in suite.prompts]
    exact = {(rate.prompt, rate.label): rate.probability for rate in exact_rates(model, words, texts, grammar, template=template)}
    rows = []
    for prompt in suite.prompts:
        planted = dict.fromkeys(rate_names(grammar, prompt.text), 0.0)
        for answer in grammar.answers(prompt.text):
            planted[answer.label] += answer.probability
        rows += [TruthRow(prompt.id, prompt.group, label, exact[prompt.text, label], share) for label, share in planted.items()]
    return rows


def prompt_rows(truths: Sequence[TruthRow], suite: Suite, grammar: Grammar, planted: bool) -> list[PromptRow]:
    """exact_<rate>, and planted_<rate> if asked for, of every prompt; labels that share a rate are summed."""
    names = {prompt.id: rate_names(grammar, prompt.text) for prompt in suite.prompts}
    sums: dict[tuple[str, str, str], float] = {}
    for row in truths:
        name = names[row.prompt_id][row.label]
        for prefix, value in ((EXACT, row.exact), (PLANTED, row.planted)):
            if prefix == PLANTED and not planted:
                continue
            key = (row.prompt_id, row.group, prefix + name)
            sums[key] = sums.get(key, 0.0) + value
    return [PromptRow(prompt_id, group, metric, "rate", value, 1) for (prompt_id, group, metric), value in sums.items()]
