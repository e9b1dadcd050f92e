"""What was found over all outputs of a sweep: computed once, written as tables and told as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tasks.compare.answers import Answers, answers
from tasks.compare.capability import Verdict
from tasks.compare.contrasts import Difference
from tasks.compare.raters import Ratings
from tasks.compare.trends import Trend
from tasks.compare.upstream import Sources


@dataclass(frozen=True)
class Comparison:
    sources: Sources
    differences: Sequence[Difference]
    slopes: Sequence[Trend]
    verdicts: Sequence[Verdict]
    settings: Any  # of the stage

    @property
    def outcome(self) -> tuple[str, str]:
        """Suite and metric of the primary outcome."""
        return self.settings.primary_suite, self.settings.primary_metric

    @cached_property
    def ratings(self) -> Ratings:
        """What people, or simulated raters, said."""
        return Ratings(self.sources)

    @cached_property
    def answers(self) -> tuple[Answers, ...]:
        """All that was answered, as the report shows it."""
        return tuple(answers(self.sources, self.outcome, self.settings.secondary))
