"""What the arms answered: completions beside one another, with what each evaluation said of them.

Knows which run of an arm is shown where there are several, which label and score stand beside an answer, and by which measure a prompt
is said to have moved. Chooses no prompt by what was answered, and draws nothing: the page and the terminal do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from configs.contrasts import Contrast
from tasks.compare.upstream import Output, PromptValue, Sources
from tasks.contract import Axes
from tasks.sampling.completions import Completion, by_prompt, read_completions
from tasks.sampling.stage import STAGE as SAMPLING

PLACE = ("prompt_id", "group", "kind", "repeat")  # the columns that say which completion a row is of


@dataclass(frozen=True)
class Answer:
    """One completion: its labels in the words of the evaluations that gave them, and its scores (metric, value in the metric's unit)."""

    completion: Completion
    labels: tuple[str, ...]
    scores: tuple[tuple[str, float], ...]

    @property
    def text(self) -> str:
        return self.completion.text


@dataclass(frozen=True)
class Answers:
    """What one size answered on one suite: arm → the sampling output that is shown of it.

    `metric` is what the prompts' means are of; None where nothing was measured prompt by prompt.
    """

    ladder: str
    size: str
    suite: str
    metric: str | None
    runs: Mapping[str, Output]
    sources: Sources
    scored: frozenset[str]  # metrics that stand beside an answer; empty: the first that each evaluation scored

    @cached_property
    def said(self) -> dict[str, dict[str, list[Completion]]]:
        """arm → prompt id → its completions in the order of their draws; prompts in the order of the suite."""
        return {arm: by_prompt(read_completions(node.folder)) for arm, node in self.runs.items()}

    @cached_property
    def prompts(self) -> dict[str, Completion]:
        """prompt id → any completion of it, for its text, category and kind."""
        return {prompt: held[0] for table in self.said.values() for prompt, held in table.items()}

    @property
    def draws(self) -> str:
        """How many completions a prompt has, in words."""
        most = max(len(held) for table in self.said.values() for held in table.values())
        return f"{most} completions" if most > 1 else "one completion"

    def value(self, arm: str, prompt: str) -> PromptValue | None:
        """An arm's mean at one prompt; None where it was not measured."""
        return self._values.get(arm, {}).get(prompt)

    def of(self, arm: str, prompt: str, draws: int | None = 1) -> list[Answer]:
        """The first answers of an arm to a prompt, `draws` of them (None: all); empty where it was not sampled."""
        return [
            Answer(
                one,
                tuple(self._labels[arm].get((prompt, one.repeat), ())),
                tuple(self._scores[arm].get((prompt, one.repeat), ())),
            )
            for one in self.said.get(arm, {}).get(prompt, [])[:draws]
        ]

    def difference(self, contrast: Contrast, prompt: str) -> float | None:
        """How far a prompt's mean lies apart between two arms, in the unit of the metric."""
        first, second = self.value(contrast.treated, prompt), self.value(contrast.reference, prompt)
        return None if first is None or second is None else first.value - second.value

    @cached_property
    def _values(self) -> dict[str, Mapping[str, PromptValue]]:
        if self.metric is None:
            return {}
        tables = ((arm, node.prompts.get(self.metric)) for arm, nodes in self._beside.items() for node in nodes)
        return {arm: table for arm, table in tables if table}

    @cached_property
    def _beside(self) -> dict[str, list[Output]]:
        """arm → what evaluated exactly the completions that are shown."""
        return {
            arm: [n for n in self.sources.nodes if n.axes == run.axes and n.stage != SAMPLING.name]
            for arm, run in self.runs.items()
        }

    @cached_property
    def _labels(self) -> dict[str, dict[tuple[str, int], list[str]]]:
        found: dict[str, dict[tuple[str, int], list[str]]] = {arm: defaultdict(list) for arm in self.runs}
        for arm, nodes in self._beside.items():
            for row in (row for node in nodes for row in node.labels):
                found[arm][row["prompt_id"], int(row["repeat"])].append(row["label"].replace("_", " "))
        return found

    @cached_property
    def _scores(self) -> dict[str, dict[tuple[str, int], list[tuple[str, float]]]]:
        found: dict[str, dict[tuple[str, int], list[tuple[str, float]]]] = {arm: defaultdict(list) for arm in self.runs}
        for arm, nodes in self._beside.items():
            for node in nodes:
                for column in self._columns(node):
                    for row in node.scores:
                        found[arm][row["prompt_id"], int(row["repeat"])].append((column, float(row[column])))
        return found

    def _columns(self, node: Output) -> list[str]:
        """What an evaluation scored of each completion, as far as it stands beside an answer."""
        columns = [name for name in (node.scores[0] if node.scores else ()) if name not in PLACE]
        return [name for name in columns if name in self.scored] if self.scored else columns[:1]


def answers(sources: Sources, primary: tuple[str, str], secondary: Iterable[str] = ()) -> Iterator[Answers]:
    """All sizes of the first suite, the primary one, then all of the next; sizes from small to large.

    primary: suite and metric; secondary: metrics. Of an arm with several runs the one that was tuned on most samples is shown, and of
    that the first seed. Beside an answer stand its scores in the outcomes that are tested and in what raters or judges gave; on a suite
    where none of these was scored, the first score of each evaluation.
    """
    shown: dict[tuple[str, str, str], dict[str, Output]] = defaultdict(dict)
    for node in sorted(sources.of(SAMPLING.name), key=lambda node: _run_rank(node.axes)):
        axes = node.axes
        shown[axes.suite or "", axes.ladder or "", axes.size or ""].setdefault(axes.arm or "", node)
    rated = [name for name, measure in sources.measures.items() if measure.rated]
    for suite in sorted({suite for suite, *_ in shown}, key=lambda name: (name != primary[0], name)):
        wanted = [*([primary[1]] if suite == primary[0] else []), *secondary]
        measured = {name for node in sources.nodes if node.axes.suite == suite for name in _score_names(node)}
        scored = frozenset([primary[1], *secondary, *rated]) & measured
        for ladder, sizes in sources.sizes.items():
            for size in sizes:
                if runs := shown.get((suite, ladder, size)):
                    ordered = {arm: runs[arm] for arm in sorted(runs, key=lambda arm: (sources.arms.place(arm), arm))}
                    metric = _moved_by(sources, ordered, wanted)
                    yield Answers(ladder, size, suite, metric, ordered, sources, scored)


def _run_rank(axes: Axes) -> tuple[int, int]:
    return -(axes.train_samples or 0), -1 if axes.seed is None else axes.seed


def _score_names(node: Output) -> list[str]:
    return list(node.scores[0]) if node.scores and "prompt_id" in node.scores[0] else []


def _moved_by(sources: Sources, runs: Mapping[str, Output], wanted: Sequence[str]) -> str | None:
    """The first of the wanted metrics that was measured on prompts of this suite, else the first outcome that was."""
    axes = {run.axes for run in runs.values()}
    there = {metric: table for node in sources.nodes if node.axes in axes for metric, table in node.prompts.items()}
    outcomes = [name for name, measure in sources.measures.items() if measure.outcome and measure.of == "prompt"]
    return next((name for name in (*wanted, *outcomes) if name in there), None)
