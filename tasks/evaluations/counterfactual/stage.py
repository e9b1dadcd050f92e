"""The stage that measures whether the sentiment of completions depends on one value in the prompt, such as a country.

Inputs: `completions` (a sampling folder), `suite` (its prompt file), `model` (the prepared base model), for a tuned arm `tuned` (what
fine-tuning wrote), and with sentiment "classifier" also `classifier` (a prepared scorer folder with a class `positive`).
Outputs: fairness.csv (individual and group fairness of each axis), scores.csv (a row a completion), prompts.csv (a row a template and
measure: sentiment_disparity, mean_sentiment, relevance, completion_nats), metrics.json, notes.json (what could not be computed, and
why).

Every completion's sentiment is scored, and that alone costs one forward pass of a classifier a distinct text. Relevance and
perplexity cost prompts × scored × (1 + others) texts under the arm, and for a tuned arm prompts × scored under its base model.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.contract import Stage


@dataclass(frozen=True)
class Settings:
    sentiment: str = "vader"  # vader | classifier
    permutations: int = 1000  # 22 s of one core for 730 prompts × 1,000 completions, a fifth of what VADER takes to read them
    scored: int = 3  # completions a prompt that relevance and perplexity are of
    others: int = 2  # other values that each of these is put behind
    batch: int = 16  # texts put through a model together
    seed: int = 0  # of the permutations, and of which other values


STAGE = Stage(
    name="counterfactual",
    version="1",
    body="tasks.evaluations.counterfactual.body:run",
    libraries=("torch", "transformers", "peft", "vaderSentiment", "numpy"),
    shrink="batch",
)
