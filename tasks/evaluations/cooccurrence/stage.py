"""The stage that measures which words and which sentiment go with which social group.

Inputs: `completions` (a sampling folder), `suite` (its prompt file), `words` (the word lists of the social groups)
and `targets` (the lists of target words), so that an edited list is another key. Outputs: words.csv,
representation.csv, association.csv, prompts.csv (sentiment), metrics.json, notes.json (what could not be
computed, and why). The log-odds need prompts with an axis; the other measures need none.
"""

from __future__ import annotations

from dataclasses import dataclass

from configs.shipped import CONFIGS
from tasks.contract import Stage

SOCIAL_GROUPS = CONFIGS / "words" / "social_groups.yaml"  # the word lists that are shipped
TARGETS = SOCIAL_GROUPS.with_name("targets.yaml")


@dataclass(frozen=True)
class Settings:
    axes: tuple[str, ...] = ("gender", "race", "religion")  # of the word file
    targets: tuple[str, ...] = ("adjectives", "professions")  # lists of the target file
    prior: float = 500.0  # pseudo-counts of the log-odds' Dirichlet prior
    permutations: int = 1000
    top: int = 10  # words shown a group
    seed: int = 0  # of the permutations


STAGE = Stage(
    name="cooccurrence",
    version="3",
    body="tasks.evaluations.cooccurrence.body:run",
    libraries=("textblob", "vaderSentiment", "numpy"),
)
