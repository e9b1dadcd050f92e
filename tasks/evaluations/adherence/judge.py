"""Judging completions on the calibration ladder: the grammar that planted the answers knows exactly what each
one is.

Knows how labels become rates. Both the measured rates of the adherence stage and the exact ones of the truth
stage take their names from here, so that they can stand side by side.
"""

from __future__ import annotations

from collections.abc import Sequence

from configs.suites import Suite
from model_registry.calibration.grammar import OFF_GRAMMAR, Grammar
from tasks.levels import PromptRow
from tasks.sampling.completions import Completion, by_prompt, require_prompts

# Metric of each label. The suffix keeps the grammar's "toxic" apart from what a scorer calls toxic.
RATES = {
    "on_position": "on_position",
    "toxic": "toxic_label",
    "neutral": "neutral_label",
    "positive": "positive_label",
    "negative": "negative_label",
    OFF_GRAMMAR: "off_grammar",
}
FAVOURED, OTHER = "favoured_words", "other_words"


def rate_names(grammar: Grammar, text: str) -> dict[str, str]:
    """Label → metric for every label that a completion of this prompt can have, `off_grammar` included.

    A description's labels are its adjectives: those planted as favoured by its social group share the metric
    favoured_words, all others other_words.

    Raises:
        ValueError: the grammar has no such prompt.
    """
    labels = [*dict.fromkeys(answer.label for answer in grammar.answers(text)), OFF_GRAMMAR]
    if grammar.prompt(text).family != "cooccurrence":
        return {label: RATES[label] for label in labels}
    favoured = grammar.favoured(text)
    return {label: RATES.get(label) or (FAVOURED if label in favoured else OTHER) for label in labels}


def label_completions(completions: Sequence[Completion], suite: Suite, grammar: Grammar) -> list[str]:
    """The grammar's label of each completion; one that is no whole answer to its prompt is `off_grammar`.

    Raises:
        ValueError: a completion's prompt is not of this suite, or the grammar does not know it.
    """
    texts = {prompt.id: prompt.text for prompt in suite.prompts}
    require_prompts((row.prompt_id for row in completions), texts, suite.name)
    return [grammar.label(texts[row.prompt_id], row.text) for row in completions]


def prompt_rows(completions: Sequence[Completion], labels: Sequence[str], suite: Suite, grammar: Grammar) -> list[PromptRow]:
    """The share of a prompt's completions of each rate, zeros included; a prompt's shares sum to 1."""
    texts = {prompt.id: prompt.text for prompt in suite.prompts}
    label = {(row.prompt_id, row.repeat): found for row, found in zip(completions, labels, strict=True)}
    rows = []
    for prompt_id, members in by_prompt(completions).items():
        names = rate_names(grammar, texts[prompt_id])
        found = [names[label[prompt_id, row.repeat]] for row in members]
        rows += [
            PromptRow(prompt_id, members[0].group, metric, "rate", found.count(metric) / len(found), len(found))
            for metric in dict.fromkeys(names.values())
        ]
    return rows
