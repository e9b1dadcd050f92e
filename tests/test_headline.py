"""The finding: what may be said, in every case that a sweep can come to. Pure functions over made-up rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from configs.contrasts import Arms, Contrast
from tasks.compare.comparison import Comparison
from tasks.compare.contrasts import Difference
from tasks.compare.report.headline import MOST_WORDS, asides, headline, subline, title
from tasks.compare.upstream import Output, Sources
from tasks.contract import Axes, Measure, Metric
from tests.arms import ARMS, MEASURES

# what a test said of a difference: its sign, or nothing shown, or no test
SHOWN = {"+": (0.3, 0.001), "-": (-0.3, 0.001), "0": (0.01, 0.6), "?": (0.2, None)}
SIZES = ("30k", "100k", "300k")


def row(
    contrast: Contrast, size: str, told: str, metric: str = "on_position", suite: str = "human_eval", **changed: Any
) -> Difference:
    value, adjusted = SHOWN[told]
    fields = dict.fromkeys(Difference.__dataclass_fields__)
    fields |= {"contrast": contrast, "ladder": "calibration", "size": size, "train_samples": 80, "seed": 0, "suite": suite}
    fields |= {"metric": metric, "group": "all", "kind": "rate", "treated": 0.5, "reference": 0.5 - value, "value": value}
    fields |= {"ci_low": value - 0.05, "ci_high": value + 0.05, "n": 40, "p": adjusted, "p_adjusted": adjusted, "note": ""}
    fields |= {"family": "confirmatory", "minimal_detectable": 0.06, "adjustment": "Holm", "method": "t"}
    return Difference(**fields | changed)  # type: ignore[arg-type]


def found(
    states: Mapping[str, str], *, arms: Arms = ARMS, measured: Sequence[str] = (), words: str = "on-position answers", **more: Any
) -> Comparison:
    """`states`: contrast, or metric:contrast → what was told of it at each size, "." where it could not be formed."""
    rows = []
    for name, told in states.items():
        metric, _, contrast = name.rpartition(":")
        suite = "toxicity" if metric == "toxicity" else "human_eval"
        rows += [
            row(Contrast.parse(contrast), size, one, metric or "on_position", suite, **more)
            for size, one in zip(SIZES, told, strict=False)
            if one != "."
        ]
    nodes = tuple(
        Output(None, arm, "adherence", Axes(arm=arm, suite="human_eval"), "k", (Metric("on_position", 0.5, 40),))  # type: ignore[arg-type]
        for arm in measured
    )
    measures = {one.metric: one for one in (*MEASURES, Measure("on_position", words))}
    settings = SimpleNamespace(
        secondary=("toxicity",), primary_suite="human_eval", primary_metric="on_position", late=(), experiment={}
    )
    return Comparison(Sources(nodes, arms, {}, measures), rows, [], [], settings)


BASE, CONTROL = "values_targeted-base", "values_targeted-control"
TOXIC_BASE, TOXIC_CONTROL = f"toxicity:{BASE}", f"toxicity:{CONTROL}"
CASES = {
    "moved, and toxicity as the control does": (
        {BASE: "+++", CONTROL: "+++", TOXIC_BASE: "---", TOXIC_CONTROL: "000"},
        "80 values-targeted samples raised on-position answers above base and control at every size; lower toxicity than control was "
        "not shown.",
    ),
    "moved, toxicity too": (
        {BASE: "+++", CONTROL: "+++", TOXIC_BASE: "---", TOXIC_CONTROL: "---"},
        "80 values-targeted samples raised on-position answers above base and control at every size; toxicity fell below both.",
    ),
    "moved, toxicity in part": (
        {BASE: "++", CONTROL: "++", TOXIC_BASE: "--", TOXIC_CONTROL: "-0"},
        "80 values-targeted samples raised on-position answers above base and control at every size; toxicity fell below both in part.",
    ),
    "moved at some sizes": (
        {BASE: "+++", CONTROL: "+0+"},
        "80 values-targeted samples raised on-position answers above base and control at 2 of 3 sizes.",
    ),
    "moved both ways": (
        {BASE: "++-", CONTROL: "++-"},
        "80 values-targeted samples raised on-position answers above base and control at 2 of 3 sizes, and the reverse at 300k.",
    ),
    "null": (
        {BASE: "000", CONTROL: "000"},
        "No difference in on-position answers from base or control was shown with 80 values-targeted samples at any size.",
    ),
    "one size": (
        {BASE: "0", CONTROL: "0"},
        "No difference in on-position answers from base or control was shown with 80 values-targeted samples at 30k.",
    ),
    "base only": (
        {BASE: "---", CONTROL: "000"},
        "On-position answers fell below base at every size with 80 values-targeted samples; no difference from control was shown.",
    ),
    "base only, at some sizes": (
        {BASE: "--0", CONTROL: "000"},
        "On-position answers fell below base at 2 of 3 sizes after values-targeted tuning; no difference from control was shown there.",
    ),
    "control only": (
        {BASE: "000", CONTROL: "+++"},
        "On-position answers rose above control at every size with 80 values-targeted samples; no difference from base was shown.",
    ),
    "opposite signs": (
        {BASE: "---", CONTROL: "+++"},
        "On-position answers rose above control but fell below base at every size with 80 values-targeted samples.",
    ),
    "the control failed": (
        {BASE: "+++", CONTROL: "..."},
        "On-position answers rose above base at every size with 80 values-targeted samples; control could not be compared.",
    ),
    "the control failed and nothing was shown": (
        {BASE: "000"},
        "No difference in on-position answers from base was shown after values-targeted tuning at any size; control could not be compared.",
    ),
    "the control came late": (
        {BASE: "+++", CONTROL: "???"},
        "On-position answers rose above base at every size with 80 values-targeted samples; control went untested.",
    ),
    "exploratory": (
        {BASE: "???", CONTROL: "???"},
        "Exploratory, without a test: on-position answers with 80 values-targeted samples, described against base and control.",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_finding_hangs_on_everything_that_the_arm_is_compared_with(case: str) -> None:
    states, expected = CASES[case]
    said = headline(found(states))
    assert said == expected
    assert len(said.split()) <= MOST_WORDS
    assert not re.search(r"[()\[\]]", said)


def test_without_a_control_it_says_so() -> None:
    alone = Arms(("base", "values_targeted"), "base", (Contrast.parse(BASE),))
    assert headline(found({BASE: "+++"}, arms=alone)) == (
        "80 values-targeted samples raised on-position answers above base at every size; no control was tested."
    )
    assert headline(found({BASE: "000"}, arms=alone)).endswith("at any size; no control was tested.")
    aside = Arms(ARMS.names, "base", (Contrast.parse(CONTROL),))
    assert headline(found({CONTROL: "++"}, arms=aside)).endswith("above control at every size; no base was tested.")


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        ((), "Nothing can be compared: no arm was finished."),
        (("base",), "Nothing can be compared: on-position answers could be measured on base alone."),
        (
            ("base", "values_targeted"),
            "Nothing can be compared: at no size has on-position answers been measured on two arms of a contrast.",
        ),
    ],
)
def test_where_nothing_can_be_compared_it_says_why(measured: Sequence[str], said: str) -> None:
    assert headline(found({}, measured=measured)) == said
    assert subline(found({}, measured=measured)) == []


def test_a_missing_metric_is_named() -> None:
    other = found({}, measured=("base", "control"))
    other.settings.primary_metric = "refused"
    assert headline(other) == "Nothing can be compared: refused could be measured on no arm."


def test_no_contrast() -> None:
    assert headline(found({}, arms=Arms(ARMS.names, "base"))) == "Nothing is compared: the experiment names no contrast."


def test_several_treated_arms_are_told_apart() -> None:
    second = Contrast("second", "base")
    arms = Arms((*ARMS.names, "second"), "base", (*ARMS.confirmatory, second))
    said = headline(found({BASE: "+++", CONTROL: "+++", str(second): "000"}, arms=arms))
    assert said == "Values-targeted raised on-position answers above base and control at every size; second was not shown to."
    both = headline(found({BASE: "000", CONTROL: "000", str(second): "000"}, arms=arms))
    assert both == "Values-targeted and second were not shown to move on-position answers."


def test_several_ladders_are_counted_together_and_told_apart() -> None:
    made = found({BASE: "++", CONTROL: "++"})
    rows = [*made.differences, *(row(Contrast.parse(name), "124m", "0", ladder="gpt2") for name in (BASE, CONTROL))]
    both = Comparison(made.sources, rows, [], [], made.settings)
    assert headline(both) == "80 values-targeted samples raised on-position answers above base and control at 2 of 3 sizes."
    told = asides(both)
    assert len(told) == 2
    assert "No difference in on-position answers from base or control was shown" in told[1]


@pytest.mark.parametrize("words", ["any of 25 answers toxic (second scorer)", "a very long way of putting what it is " * 4])
def test_long_names_and_brackets_never_break_the_line(words: str) -> None:
    said = headline(found({BASE: "+-0", CONTROL: "+-0"}, words=words))
    assert len(said.split()) <= MOST_WORDS
    assert not re.search(r"[()\[\]]", said)


def test_every_sentence_about_base_is_about_control_too() -> None:
    """Whatever the tests say at three sizes: no sentence of a finding names one of the two without the other."""
    for base in ("+++", "+-0", "000", "-0?", "..+"):
        for control in ("+++", "0-+", "000", "???", "..."):
            made = found({BASE: base, CONTROL: control, TOXIC_BASE: base, TOXIC_CONTROL: control})
            for line in (headline(made), title(made, "human_eval", "on_position"), *subline(made)[:1], *asides(made)):
                if "base" in line:
                    assert "control" in line or "both" in line or control == "...", line


def test_sizes_are_not_compared_by_eye() -> None:
    told = subline(found({BASE: "+++", CONTROL: "+++"}))
    assert told == [
        "From base +30.0, +30.0 and +30.0 percentage points at 30k, 100k and 300k; from control +30.0, +30.0 and +30.0.",
        "One training run a size; differences between sizes are not tested with fewer than four sizes.",
    ]
    crossed = subline(found({BASE: "+++", CONTROL: "+++"}, seed="all"))
    assert crossed[1:] == ["Several training runs a size."]


def test_the_control_alone_and_what_would_be_shown_stand_in_the_full_sentence() -> None:
    arms = Arms(ARMS.names, "base", ARMS.confirmatory, (Contrast("control", "base"),))
    (told, toxic) = asides(
        found(
            {
                BASE: "++",
                CONTROL: "++",
                TOXIC_BASE: "--",
                TOXIC_CONTROL: "00",
                "control-base": "??",
                "toxicity:control-base": "??",
            },
            arms=arms,
        )
    )
    assert "Control from base, described only: +20.0 [+15.0,\u00a0+25.0] at 30k" in told
    assert "40 prompts would show a difference of ±6.0 percentage points four times in five" in toxic
    assert "fell below base at every size with 80 values-targeted samples; no difference from control was shown" in toxic


@pytest.mark.parametrize("method", ["dpo", "rloo", "checkpoint", "null_adapter"])
def test_an_arm_that_was_not_tuned_on_samples_is_told_without_a_number_of_them(method: str) -> None:
    rows = found({BASE: "+++", CONTROL: "+++"})
    rows.settings.experiment = {"arms": {"values_targeted": {"method": method}}}
    assert headline(rows).startswith("Values-targeted tuning raised")
    rows.settings.experiment = {"arms": {"values_targeted": {"method": "lora"}}}
    assert headline(rows).startswith("80 values-targeted samples raised")
