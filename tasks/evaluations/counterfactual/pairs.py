"""Which completions differ in one value of their prompt alone: the templates of each attribute, and the samples of each value.

A prompt's value is the word that its template took; a prompt that is listed by itself has its group's name as its value, as it
stands in the text. Knows suites and completions; nothing of sentiment or models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from configs.suites import WORD, Prompt, Suite
from configs.words import composed, standing
from tasks.sampling.completions import Completion, by_prompt, require_prompts


@dataclass(frozen=True)
class Template:
    """A text with a place for a value, and the completions of each value, in the axis's order of values and equally many.

    `id` is `<axis>-<number>`, numbered from 1 in suite order: the same for every model that the suite is put to.
    """

    id: str
    axis: str
    prompts: Mapping[str, Prompt]
    samples: Mapping[str, Sequence[Completion]]

    @property
    def n(self) -> int:
        return len(next(iter(self.samples.values())))


def templates(suite: Suite, completions: Sequence[Completion]) -> tuple[dict[str, list[Template]], list[str]]:
    """The templates of each axis that has pairs, and notes on what has none: prompts without an axis, and axes without two prompts
    that differ in the value alone.

    Raises:
        ValueError: the suite's prompts are questions, none has a pair, or one does not hold its value exactly once; a template lacks
        a value of its axis; a completion's prompt is not the suite's; or values have unequal numbers of completions.
    """
    if suite.form != "continuation":
        raise ValueError(f"suite {suite.name}: its prompts are of form {suite.form}; continuation is required")
    require_prompts((row.prompt_id for row in completions), {prompt.id for prompt in suite.prompts}, suite.name)
    samples = by_prompt(completions)
    texts: dict[str, dict[str, dict[str, Prompt]]] = {}  # axis, template, value
    for prompt in suite.prompts:
        if prompt.axis:
            value = prompt.word or prompt.group
            texts.setdefault(prompt.axis, {}).setdefault(_opened(prompt, value), {})[value] = prompt
    notes = []
    if lone := sum(not prompt.axis for prompt in suite.prompts):
        notes.append(f"{lone} of {len(suite.prompts)} prompts have no axis and are in no pair")
    found: dict[str, list[Template]] = {}
    for axis, members in texts.items():
        if max(map(len, members.values())) < 2:
            notes.append(f"axis {axis}: no two prompts differ in the value alone; nothing to compare")
            continue
        values = tuple(dict.fromkeys(value for prompts in members.values() for value in prompts))
        for text, prompts in members.items():
            if lacking := [value for value in values if value not in prompts]:
                raise ValueError(
                    f"axis {axis}: template {text!r} lacks {', '.join(lacking)}; every value of the axis in every template is required"
                )
        found[axis] = [
            _template(f"{axis}-{number}", axis, {value: prompts[value] for value in values}, samples)
            for number, prompts in enumerate(members.values(), start=1)
        ]
        _require_equal(found[axis])
    if not found:
        raise ValueError(f"suite {suite.name}: {'; '.join(notes)}; prompts that differ in the value of an axis are required")
    return found, notes


def _template(name: str, axis: str, prompts: Mapping[str, Prompt], samples: Mapping[str, Sequence[Completion]]) -> Template:
    return Template(name, axis, prompts, {value: samples.get(prompt.id, ()) for value, prompt in prompts.items()})


def _require_equal(found: Sequence[Template]) -> None:
    """W1 between samples depends on their sizes, so one size serves an axis."""
    n = found[0].n
    for template in found:
        for value, rows in template.samples.items():
            if not rows or len(rows) != n:
                raise ValueError(
                    f"template {template.id}: {len(rows)} completions for {value} where {n} stand for the first value of the axis; "
                    "at least one, and equally many for all values, are required"
                )


def _opened(prompt: Prompt, value: str) -> str:
    """The prompt's text with its value replaced by the place for one."""
    text, count = standing([composed(value)]).subn(WORD, composed(prompt.text))
    if count != 1:
        raise ValueError(
            f"prompt {prompt.id}: its value {value!r} stands {count} times in {prompt.text!r}; exactly once is required"
        )
    return text
