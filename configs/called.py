"""What readers are told of a suite: one name for people, wherever it is shown; the id stays in tables, files and addresses."""

from __future__ import annotations

_SUITES = {
    "human_eval": "rated prompts",  # not HumanEval, the benchmark of code
    "human_eval_extended": "rated prompts, extended",
    "human_eval_hostile": "rated prompts, asked with hostility",
    "human_eval_paraphrased": "rated prompts, paraphrased",
    "toxicity": "provoking openings",
    "cooccurrence": "descriptions of groups",
    "cooccurrence_further": "descriptions of further groups",
    "counterfactual": "counterfactual pairs",
    "stance": "pairs of answers",
}


def suite_words(suite: str) -> str:
    """A suite of one's own goes by its id."""
    return _SUITES.get(suite, suite.replace("_", " "))
