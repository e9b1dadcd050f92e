"""Answers side by side: every prompt that was sampled, one completion of each arm, and the three prompts that the first screen shows.

Knows how answers are packed into the page and cut to fit it, and by which rule the three are chosen. What stands beside an answer is
settled in `tasks.compare.answers`; the page unpacks and filters with `answers.js`. Model text reaches the page as data alone: packed here,
set as text there.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from configs.called import suite_words
from configs.contrasts import Contrast
from tasks.compare.answers import Answers
from tasks.compare.comparison import Comparison
from tasks.compare.contrasts import largest, one_run
from tasks.compare.report import figures, wording
from tasks.drawing.page import packaged, rendered
from tasks.drawing.palette import variable

PACKAGE = "tasks.compare.report"
LONGEST = (
    2000,
    1400,
    1000,
    700,
    500,
    350,
    250,
    180,
    120,
)  # characters of an answer and of a prompt: the first that fits, else the last
BRIEF = 240  # characters of an answer on the first screen
QUARTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Shown:
    """One completion as a reader sees it: `more` characters were cut; `mean` is that of all completions of its prompt."""

    text: str
    more: int
    labels: tuple[str, ...]
    scores: str
    mean: str

    def cut(self, longest: int) -> Shown:
        text, more = _cut(self.text, longest)
        return replace(self, text=text, more=more)


@dataclass(frozen=True)
class Example:
    prompt: str
    answers: Mapping[str, Shown]  # arm → its answer; an arm that was not sampled is not there


@dataclass(frozen=True)
class Examples:
    """Three prompts at one size. `how` says how they and their completions were chosen; `size` is in readers' words."""

    size: str
    arms: tuple[str, ...]
    how: str
    rows: tuple[Example, ...]


def examples(found: Comparison) -> Examples | None:
    """The prompts at the quartiles of the leading contrast's difference at the largest size, on the primary suite; None where nothing was
    sampled there. Prompts that differ alike stand in the order of the suite; where no difference was measured, that is the order."""
    primary = [one for one in found.answers if one.suite == found.outcome[0]]
    if not primary:
        return None
    at = max(primary, key=lambda one: found.sources.params(one.ladder, one.size) or 0)
    contrast = next((one for one in found.settings.arms.leading if set(one.arms) <= at.runs.keys()), None)
    moved = {prompt: value for prompt in at.prompts if contrast and (value := at.difference(contrast, prompt)) is not None}
    order = sorted(moved, key=moved.__getitem__) or list(at.prompts)
    by = f"{wording.arm_words(contrast)} in {found.sources.words(at.metric)}" if contrast and at.metric and moved else "the suite"
    chosen = dict.fromkeys(order[round((len(order) - 1) * share)] for share in QUARTILES)
    how = (
        f"Of {len(order)} prompts in the order of {by}, those a quarter, half and three quarters of the way; of each the first of "
        f"{at.draws}. Chosen by this rule, not by what was answered."
    )
    rows = tuple(
        Example(
            _cut(at.prompts[prompt].prompt, BRIEF)[0],
            {arm: one.cut(BRIEF) for arm in at.runs if (one := _shown(at, arm, prompt))},
        )
        for prompt in chosen
    )
    return Examples(found.sources.named(at.ladder, at.size), tuple(at.runs), how, rows)


def first_screen(found: Comparison) -> Markup:
    """The three examples; empty where nothing was sampled on the primary suite."""
    if (shown := examples(found)) is None:
        return Markup()
    colours = {arm: variable(colour) for arm, colour in figures.colours(found.sources).items()}
    return rendered(PACKAGE, "examples.html.j2", shown=shown, colours=colours, arm_words=wording.arm_words)


def section(found: Comparison, room: int) -> Markup:
    """The folded part of the page that holds every prompt, with its script, in `room` bytes; empty where nothing was sampled."""
    held = found.answers
    if not held:
        return Markup()
    script = packaged(PACKAGE, "answers.js")
    packed, longest = pack(found, held, room - len(script) - len(packaged(PACKAGE, "answers.html.j2")))
    return rendered(
        PACKAGE,
        "answers.html.j2",
        packed=packed,
        longest=longest if longest < LONGEST[0] else None,
        script=Markup(script),
        prompts=len({(one.suite, prompt) for one in held for prompt in one.prompts}),
        arms=len({arm for one in held for arm in one.runs}),
        sizes=len({(one.ladder, one.size) for one in held}),
        several=len({(one.axes.train_samples, one.axes.seed) for one in found.sources.of("finetune")}) > 1,
    )


def pack(found: Comparison, held: Sequence[Answers], room: int) -> tuple[str, int]:
    """The document as base64 of its deflated JSON, with answers no longer than fits into `room` characters; and how long that is."""
    whole = [_whole(one) for one in held]
    overall = [[_overall(found, one, contrast) for contrast in _contrasts(found, held)] for one in held]
    for longest in LONGEST:
        text = json.dumps(document(found, held, whole, overall, longest), ensure_ascii=False, separators=(",", ":"))
        packed = base64.b64encode(zlib.compress(text.encode("utf-8", "replace"), 9)).decode("ascii")
        if len(packed) <= room:
            break
    return packed, longest


def document(
    found: Comparison,
    held: Sequence[Answers],
    whole: Sequence[Mapping[tuple[str, str], Shown]],
    overall: Sequence[Sequence[float | None]],
    longest: int,
) -> dict[str, Any]:
    """What the script reads. `whole` and `overall` stand beside `held`: its answers by arm and prompt, and its difference a contrast.

    An answer is [text, characters cut, labels, scores, mean as a number, mean in words]; texts, labels and scores
    are numbers in `texts`.

    answers [size][arm][prompt]; overall [size][contrast] is the difference of the whole suite, where it was measured.
    """
    colours = figures.colours(found.sources)
    arms = list(dict.fromkeys(arm for one in held for arm in one.runs))
    contrasts = _contrasts(found, held)
    texts: dict[str, int] = {}

    def number(text: str) -> int:
        return texts.setdefault(text, len(texts))

    suites = []
    for suite in dict.fromkeys(one.suite for one in held):
        here = [i for i, one in enumerate(held) if one.suite == suite]
        sizes = [held[i] for i in here]
        prompts = {prompt: said for one in reversed(sizes) for prompt, said in one.prompts.items()}
        metric = next((one.metric for one in sizes if one.metric), None)
        told = [
            [prompt, wording.group_words(said.group), said.kind or "", *_cut(said.prompt, longest)]
            for prompt, said in prompts.items()
        ]
        answered = [
            [[_packed(held[i], whole[i].get((arm, prompt)), arm, prompt, longest, number) for prompt in prompts] for arm in arms]
            for i in here
        ]
        suites.append(
            {
                "name": suite_words(suite),
                "words": found.sources.words(metric) if metric else "",
                "kind": found.sources.kinds.get(metric or "", ""),
                "draws": sizes[0].draws,
                "sizes": [found.sources.named(one.ladder, one.size) for one in sizes],
                "prompts": told,
                "answers": answered,
                "overall": [overall[i] for i in here],
            }
        )
    return {
        "arms": [{"words": wording.arm_words(arm), "colour": variable(colours[arm])} for arm in arms],
        "contrasts": [{"words": wording.arm_words(one), "arms": [arms.index(name) for name in one.arms]} for one in contrasts],
        "suites": suites,
        "texts": list(texts),
    }


def _contrasts(found: Comparison, held: Sequence[Answers]) -> list[Contrast]:
    """Those between arms that were sampled, the leading ones first."""
    arms = {arm for one in held for arm in one.runs}
    named = dict.fromkeys((*found.settings.arms.leading, *found.settings.arms.contrasts))
    return [one for one in named if set(one.arms) <= arms]


def _overall(found: Comparison, at: Answers, contrast: Contrast) -> float | None:
    """The difference of the whole suite that the report's tables have, at the largest dataset size."""
    where = (contrast, at.ladder, at.size, at.suite, at.metric, "all")
    rows = [r for r in found.differences if (r.contrast, r.ladder, r.size, r.suite, r.metric, r.group) == where]
    return next((row.value for row in one_run(largest(rows))), None)


def _packed(at: Answers, whole: Shown | None, arm: str, prompt: str, longest: int, number: Any) -> list[Any] | None:
    if whole is None:
        return None
    shown, value = whole.cut(longest), at.value(arm, prompt)
    return [
        number(shown.text),
        shown.more,
        number("\n".join(shown.labels)),
        number(shown.scores),
        None if value is None else value.value,
        shown.mean,
    ]


def _whole(at: Answers) -> dict[tuple[str, str], Shown]:
    """By arm and prompt."""
    return {(arm, prompt): shown for arm in at.runs for prompt in at.prompts if (shown := _shown(at, arm, prompt))}


def _shown(at: Answers, arm: str, prompt: str) -> Shown | None:
    """The first answer, uncut."""
    if not (said := at.of(arm, prompt)):
        return None
    scores = [f"{name.replace('_', ' ')} {wording.plain(value)}" for name, value in said[0].scores]
    value = at.value(arm, prompt)
    mean = "" if value is None else wording.level(value.value, value.kind)
    return Shown(said[0].text.strip(), 0, said[0].labels, ", ".join(scores), mean)


def _cut(text: str, longest: int) -> tuple[str, int]:
    """The text, or its beginning where it is longer, and how many characters were cut; no character that belongs to another is parted
    from it at the cut where a space is near."""
    if len(text) <= longest:
        return text, 0
    end = text.rfind(" ", longest - 40, longest)
    end = longest if end <= 0 else end
    return text[:end], len(text) - end
