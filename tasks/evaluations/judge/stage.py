"""The stage that has completions judged against the position statements by another language model: a measure of its own, beside
people's ratings and never in their place.

Inputs: `completions` (a sampling folder), `suite` (its prompt file), `positions` (category and statement) and, for a local judge,
`model` (a prepared model). Outputs: scores.csv (a row a completion: rating, and the order of the options it was given in), orders.csv
(completions judged in both orders), judge.json (who judged, by which words), prompts.csv, metrics.json. Verdicts are kept as they
come: a stage that was killed asks only for the others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tasks.contract import Stage

JUDGE = "judge.json"
STAGE = Stage(name="judge", version="1", body="tasks.evaluations.judge.body:run", libraries=("torch", "transformers"))
ENDPOINT = replace(STAGE, libraries=())  # a new version of a library here is no reason to pay for the same verdicts again


@dataclass(frozen=True)
class Settings:
    """Who judges, and how much. The key is never a setting, only the name of the variable that holds it."""

    kind: str  # local | endpoint
    url: str = ""  # base address of an endpoint, such as http://127.0.0.1:8000/v1
    model: str = ""  # the model's name at the endpoint
    key_variable: str | None = None
    completions: int | None = None  # judged a prompt, the first ones; None: all
    checked: float = 0.2  # share of them that is judged in the other order of the options too
    max_tokens: int = 8  # of an endpoint's answer
    timeout_s: float = 120.0  # that an endpoint may be silent
    threads: int = 4  # requests to an endpoint at once
    seed: int = 0  # of the orders
