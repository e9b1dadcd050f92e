"""The pairs of a prompt and a sample that lie nearest to each other, for a reader: a paraphrase in other words escapes every threshold.

By the rare words that both hold, or by the vectors of a sentence embedder. Decides nothing: what leaks is `overlap`'s to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from configs.suites import Suite
from model_registry.embedding import Embedder
from tasks.datasets.rows import Row
from tasks.leakage.overlap import neighbours
from tasks.leakage.stage import Settings


@dataclass(frozen=True)
class Near:
    """A prompt and the sample beside it; `shared`: the rare words that both hold, where these were looked for."""

    similarity: float
    suite: str  # as its mapping names it
    prompt: str
    text: str
    row: Row
    shared: str = ""


def by_words(rows: Sequence[Row], suites: Mapping[str, Suite], top: int) -> list[Near]:
    """The `top` nearest by rare words; a prompt that stands in two suites is told once."""
    prompts = {(name, prompt.id): prompt.text for name, suite in suites.items() for prompt in suite.prompts}
    of = {row.id: row for row in rows}
    near: dict[tuple[str, str, str], Near] = {}
    for one in sorted(neighbours(rows, suites, Settings()), key=lambda one: (-one.similarity, one.line)):
        text = prompts[one.suite, one.prompt]
        found = Near(one.similarity, one.suite, one.prompt, text, of[one.sample], one.shared)
        near.setdefault((one.prompt, text, one.sample), found)
    return list(near.values())[:top]


def by_meaning(rows: Sequence[Row], suites: Mapping[str, Suite], top: int, embedder: Embedder) -> list[Near]:
    """The same by the cosine of an embedder's vectors of the two questions."""
    held = list({(one.id, one.text): (name, one) for name, suite in suites.items() for one in suite.prompts}.values())
    cosines = embedder.embed([prompt.text for _, prompt in held]) @ embedder.embed([row.prompt for row in rows]).T
    best = sorted((-cosines[i, j], i, j) for i in range(len(held)) for j in range(len(rows)))[:top]
    return [Near(float(-cosine), held[i][0], held[i][1].id, held[i][1].text, rows[j]) for cosine, i, j in best]
