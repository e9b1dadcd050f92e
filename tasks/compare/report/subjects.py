"""How many subjects of prompts were seen in tuning, where samples were not kept apart from them."""

from __future__ import annotations

from configs.called import suite_words
from tasks.compare.upstream import Sources
from tasks.leakage.stage import DEFAULTS, NEIGHBOURS
from tasks.leakage.stage import STAGE as LEAKAGE


def seen(sources: Sources, suite: str) -> str:
    """`Subjects of rated prompts that a sample shares: values_targeted 40 of 40, control 0 of 40.` Empty where it was not looked at.

    A prompt's subject counts as seen from the similarity to one sample on that the check refuses where it is on.
    """
    said = []
    for node in (one for one in sources.nodes if one.stage == LEAKAGE.name):
        nearest: dict[str, float] = {}
        for row in node.tables.rows(NEIGHBOURS):
            if row["suite"] == suite:
                nearest[row["prompt"]] = max(float(row["similarity"]), nearest.get(row["prompt"], 0.0))
        if nearest and DEFAULTS.same_subject is not None:
            shared = sum(similarity >= DEFAULTS.same_subject for similarity in nearest.values())
            said.append(f"{node.axes.name} {shared} of {len(nearest)}")
    return f"Subjects of {suite_words(suite)} that a sample shares: {', '.join(said)}." if said else ""
