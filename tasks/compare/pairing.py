"""Which outputs are compared with one another, and prompt by prompt: the same model size, suite and (where both have one) samples and seed.

Knows where a reference arm stands and what is refused. What is computed of a pair stands in `contrasts` and `trends`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from configs.contrasts import Contrast
from tasks.compare.upstream import Output, PromptValue, Sources, references
from tasks.contract import Axes

CAPABILITY = "capability"  # the stage


@dataclass(frozen=True)
class Pair:
    """Two outputs of one metric that are compared: the same model size, suite and (where both have one) samples and seed."""

    contrast: Contrast
    treated: Output
    reference: Output
    metric: str

    @property
    def axes(self) -> Axes:
        return self.treated.axes

    def values(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Prompt ids (sorted), and the treated and reference arms' prompt means in that order.

        Raises:
            ValueError: a prompt was measured in one arm only.
        """
        treated, reference = self.treated.prompts[self.metric], self.reference.prompts[self.metric]
        if treated.keys() != reference.keys():
            parts = [
                f"{', '.join(sorted(only))} only in {node.label}"
                for node, only in (
                    (self.treated, treated.keys() - reference.keys()),
                    (self.reference, reference.keys() - treated.keys()),
                )
                if only
            ]
            raise ValueError(
                f"{self.contrast}, {self.metric}: prompts {'; '.join(parts)}; both arms of a comparison need the same prompts"
            )
        ids = sorted(treated)
        return ids, np.array([treated[i].value for i in ids]), np.array([reference[i].value for i in ids])

    def group_of(self) -> Mapping[str, PromptValue]:
        return self.treated.prompts[self.metric]


def pairs(sources: Sources, contrasts: Sequence[Contrast]) -> list[Pair]:
    """Every (contrast, output, metric) that has both its arms.

    An untuned arm has no dataset, so it stands as the reference of every dataset size and, where it was sampled once, of every seed.

    Raises:
        ValueError: two stages give the same metric of the same arm.
    """
    index: dict[tuple[Any, ...], Output] = {}
    for node in sources.nodes:
        if node.stage == CAPABILITY:
            continue  # judged against margins, over thousands of items
        for metric in node.prompts:
            where = (metric, node.axes)
            if where in index:
                raise ValueError(
                    f"{metric} is given by {index[where].label} and by {node.label}; one stage a metric and suite is accepted"
                )
            index[where] = node
    found = []
    for contrast in contrasts:
        for (metric, axes), node in index.items():
            if axes.arm == contrast.treated and axes.ladder is not None:
                choices = ((metric, place) for place in references(axes, contrast.reference))
                other = next((index[choice] for choice in choices if choice in index), None)
                if other is not None:
                    found.append(Pair(contrast, node, other, metric))
    return sorted(found, key=lambda pair: (*sources.order(pair.axes), pair.metric, contrasts.index(pair.contrast)))
