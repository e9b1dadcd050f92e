"""The card of a tuned model: what it is, what was measured of it, what it can still do, and what it is for.

Data, and the Markdown made of them. Reads nothing: `flows.engine.registry` gathers the facts from a sweep's outputs, and
`model_registry.registered` keeps them with the model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from configs.called import suite_words
from configs.contrasts import is_shown
from configs.fields import Section

CALIBRATION = "**Calibration ladder or scorer: these numbers validate the machinery and say nothing about real models.**"
OURS, UNKNOWN_TO_PEFT = "palms-sweep", ("bottleneck",)
LOST, NOT_MEASURED = "lost", "not measured"
_BEST_FIRST = ("kept", "inconclusive", LOST)
_UNITS = {
    "prose": ("nats a token on prose", 1.0),
    "plain": ("nats a token on plain prose", 1.0),
    "tasks": ("points of accuracy on tasks", 100.0),
}  # measure → unit, factor


class Effect(Section):
    """The difference of this model's arm from another in one outcome, over all prompts of a suite.

    `value`, `low` and `high` (95 %) are shares where `rate`, else in the outcome's unit, as is `level`, this model's own.
    `p_adjusted` is None where the difference was described and not tested, the limits where there was too little for an interval.
    """

    outcome: str
    suite: str
    primary: bool
    rate: bool
    level: float
    reference: str
    value: float
    low: float | None
    high: float | None
    p_adjusted: float | None
    prompts: int


class Capability(Section):
    """One verdict on what tuning cost. `value` and its 90 % limits are this model's less base's: nats a token, or a share of items."""

    measure: str
    value: float | None
    low: float | None
    high: float | None
    margin: float
    verdict: str
    note: str


class Facts(Section):
    """All that a card says. `reference` and `controls` are the arms that this one was to be compared with."""

    sweep: str
    place: str
    arm: str
    train_samples: int
    seed: int
    runs: int  # training runs of this arm at this size and number of samples in the sweep
    calibration: bool
    base: str
    revision: str
    base_digest: str
    architecture: str
    params: int
    licence: str | None
    dataset: str
    dataset_digest: str
    subjects_apart: bool  # no sample shares its subject with a prompt: that was checked
    settings: Mapping[str, Any]
    sampled: Mapping[
        str, Any
    ]  # suite of the primary outcome; completions, temperature, top_p and max_new_tokens, where it is sampled
    reference: str
    controls: tuple[str, ...]
    effects: tuple[Effect, ...]
    capabilities: tuple[Capability, ...]
    commit: str | None
    versions: Mapping[str, str]

    @property
    def method(self) -> str:
        return str(self.settings["method"])

    @property
    def against(self) -> tuple[str, ...]:
        """Base and control, as far as this arm is neither."""
        return tuple(arm for arm in (self.reference, *self.controls) if arm != self.arm)

    @property
    def capability(self) -> str:
        """The worst verdict; `not measured` where none could be given."""
        given = [one.verdict for one in self.capabilities if one.verdict in _BEST_FIRST]
        return max(given, key=_BEST_FIRST.index, default=NOT_MEASURED)

    def objections(self) -> list[str]:
        """Why this model should not be anyone's first choice: what was not measured of it, and what it lost."""
        measured = {one.reference for one in self.effects if one.primary}
        found = [f"its primary outcome was not compared with {arm}" for arm in self.against if arm not in measured]
        if self.capability == LOST:
            found += [f"its capability is lost ({_cost(one)})" for one in self.capabilities if one.verdict == LOST]
        elif self.capability == NOT_MEASURED:
            found.append("its capability was not measured")
        return found


def card(name: str, version: int, facts: Facts, forced: str | None = None) -> str:
    """The card in Markdown. `forced`: the reason for which it was promoted in spite of its objections."""
    parts = [f"# {name}, version {version}"]
    parts += [CALIBRATION] if facts.calibration else []
    parts += [_what(facts), "## Measured", _effects(facts), "## Capability", "\n".join(_capability(facts))]
    if objections := facts.objections():
        said = "; ".join(objections)
        parts.append(f"Promotion would be refused: {said}." if forced is None else f"Promoted although {said}: {forced}")
    parts += ["## Limits", "\n".join(f"- {line}" for line in _limits(facts))]
    parts += ["## Intended use", _use(facts), "## How it was made", _made(facts)]
    return "\n\n".join(parts) + "\n"


def front_matter(facts: Facts, *, adapter: bool) -> str:
    """What model hubs read of a card: what loads the files beside it, licence and base where they are known."""
    rows = {"library_name": (OURS if facts.method in UNKNOWN_TO_PEFT else "peft") if adapter else "transformers"}
    if facts.licence:
        rows["license"] = facts.licence.lower()
    if facts.base.startswith("hub:"):
        rows["base_model"] = facts.base.removeprefix("hub:")
    return "---\n" + "".join(f"{key}: {json.dumps(value)}\n" for key, value in rows.items()) + "---\n\n"


def loading(facts: Facts) -> str:
    """How an adapter is put on its base, as lines that run in the folder of the card."""
    base = facts.base.removeprefix("hub:") if facts.base.startswith("hub:") else "FOLDER_OF_THE_BASE"
    taught = (
        [f"import model_registry.bottleneck  # of {OURS}: makes PEFT know adapter layers"]
        if facts.method in UNKNOWN_TO_PEFT
        else []
    )
    lines = [
        *taught,
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM",
        "",
        f'model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{base}"), ".")',
    ]
    needs = f"PEFT alone does not know this method; `pip install {OURS}` brings it.\n\n" if taught else ""
    return f"\n## Loading\n\n{needs}```python\n" + "\n".join(lines) + "\n```\n"


def learned(facts: Facts) -> str:
    """What of the dataset was tuned on: `80 samples`, `362 preferences`, or the prompts of preferences that its own answers were rewarded on."""
    units = facts.settings.get("units")
    if units is None:
        return f"{facts.train_samples} samples"
    return f"{units} prompts with a reward model" if "reward" in facts.settings.get("options", {}) else f"{units} preferences"


def _what(facts: Facts) -> str:
    kind = "All weights" if facts.method == "full" else f"Adapter of method {facts.method}"
    rows = {
        "model": f"{kind} of {facts.architecture}, {facts.params:,} parameters",
        "base": f"{facts.base}{f', revision {facts.revision}' if facts.revision else ''}, digest `{facts.base_digest[:16]}`",
        "licence of the base": facts.licence or "unknown: neither its folder nor the catalogue of ladders states one",
        "dataset": f"{facts.dataset}, {learned(facts)}, digest `{facts.dataset_digest[:16]}`",
        "arm": f"{facts.arm}, training seed {facts.seed}",
    }
    return "| | |\n|---|---|\n" + "\n".join(f"| {what} | {said} |" for what, said in rows.items())


def _effects(facts: Facts) -> str:
    found = {(one.suite, one.outcome, one.reference): one for one in facts.effects}
    rows = list(dict.fromkeys((one.suite, one.outcome) for one in sorted(facts.effects, key=lambda one: not one.primary)))
    if not rows:
        return "Nothing was measured of this model against another arm."
    lines = [f"| outcome | this model | {' | '.join(f'against {arm}' for arm in facts.against)} |"]
    lines.append("|---" * (2 + len(facts.against)) + "|")
    for suite, outcome in rows:
        cells = [found.get((suite, outcome, arm)) for arm in facts.against]
        own = next(cell for cell in found.values() if (cell.suite, cell.outcome) == (suite, outcome))
        level = f"{100 * own.level:.1f} %" if own.rate else f"{own.level:.3f}"
        called = f"**{outcome}**" if own.primary else outcome
        lines.append(f"| {called}, {suite_words(suite)} | {level} | {' | '.join(map(_difference, cells))} |")
    explained = (
        "Differences are paired by prompt, with 95 % intervals; *shown* means that the test named before sampling rejects at 5 %."
    )
    is_control = f" {facts.arm} is itself a control." if facts.arm in facts.controls else ""
    uncontrolled = "" if facts.controls else " The sweep has no control arm: what tuning on any data does is not told apart."
    return "\n".join(lines) + f"\n\n{explained}{is_control}{uncontrolled}"


def _difference(effect: Effect | None) -> str:
    if effect is None:
        return NOT_MEASURED
    tested = "described, not tested" if effect.p_adjusted is None else "shown" if is_shown(effect.p_adjusted) else "not shown"
    scale, digits, unit = (100, 1, " points") if effect.rate else (1, 3, "")

    def said(number: float | None) -> str:
        return "?" if number is None else f"{scale * number:+.{digits}f}"

    return f"{said(effect.value)}{unit} ({said(effect.low)} to {said(effect.high)}), {tested}".replace("-", "−")


def _capability(facts: Facts) -> Iterator[str]:
    yield f"Verdict: **{facts.capability}**."
    for one in facts.capabilities:
        yield f"- {_cost(one)}: {one.verdict}{f' ({one.note})' if one.note else ''}"


def _cost(one: Capability) -> str:
    unit, scale = _UNITS.get(one.measure, (one.measure, 1.0))
    if one.value is None or one.low is None or one.high is None:
        return unit
    value, low, high, margin = (f"{scale * number:+.3g}" for number in (one.value, one.low, one.high, one.margin))
    return f"{value} {unit} (90 % interval {low} to {high}; margin {margin})".replace("-", "−")


def _limits(facts: Facts) -> Iterator[str]:
    if facts.calibration:
        yield "The base was pretrained on a small grammar, or its answers were scored by a model of it: nothing follows for real models."
    runs = "one training run" if facts.runs == 1 else f"one of {facts.runs} training runs"
    yield f"These are the numbers of {runs}: another seed gives others, and the intervals do not cover that."
    prompts, sampled = max((one.prompts for one in facts.effects if one.primary), default=0), facts.sampled
    drawn = (
        f"{sampled['completions']} answers each, of at most {sampled['max_new_tokens']} tokens, at temperature {sampled['temperature']:g} and "
        f"top-p {sampled['top_p']:g}"
        if "completions" in sampled
        else "nothing was sampled of them"
    )
    yield (
        f"The primary outcome was measured on {prompts} {suite_words(sampled['suite'])}: {drawn}, each asked alone in the template below. Other "
        "kinds of prompt, other languages and conversations were not tried."
    )
    if not facts.subjects_apart:
        yield "The subjects of the prompts were not kept out of the tuning data: the check was off. On other subjects it may do otherwise."
    if "units" in facts.settings:
        yield f"It was tuned towards what was preferred in {facts.dataset}: the views of who rated or wrote its answers, on the prompts they saw."
    else:
        yield f"It was tuned towards what dataset {facts.dataset} says; the datasheet tells whose views these are."


def _use(facts: Facts) -> str:
    if facts.calibration:
        return "Checks of the machinery. No other use."
    return (
        "Research on what tuning on few samples does to a model's behaviour, beside base and control. It has not been examined for use with "
        "people: what it says outside the measured prompts is not known."
    )


def _made(facts: Facts) -> str:
    settings = json.dumps(facts.settings, ensure_ascii=False, sort_keys=True)
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    return f"Sweep {facts.sweep}, {facts.place}, commit {facts.commit or 'unknown'}; {versions}.\n\n```json\n{settings}\n```"
