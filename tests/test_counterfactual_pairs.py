"""Which completions counterfactual sentiment compares: templates, their values, and suites that hold no complete pairs."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.suites import load_suite
from tasks.evaluations.counterfactual.pairs import templates
from tasks.sampling.completions import Completion
from tests.counterfactuals import CALIBRATION, PROMPTS, TWO_BY_TWO, completions, prompt, suite_file

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("path", "sizes"),
    [
        (PROMPTS / "counterfactual.yaml", {"country": (10, 10), "occupation": (10, 29), "name": (10, 34)}),
        (PROMPTS / "counterfactual_short.yaml", {"country": (10, 5), "occupation": (10, 8), "name": (10, 8)}),
        (CALIBRATION, {"country": (4, 10), "occupation": (4, 10), "name": (4, 10)}),
    ],
)
def test_templates_of_the_shipped_suites_are_complete_and_differ_in_the_value_alone(
    path: Path, sizes: dict[str, tuple[int, int]]
) -> None:
    suite = load_suite(path)
    axes, notes = templates(suite, completions(suite, lambda text, repeat: " x", 2))
    assert not notes
    assert {axis: (len(found), len(found[0].prompts)) for axis, found in axes.items()} == sizes
    for axis, found in axes.items():
        assert [template.id for template in found] == [f"{axis}-{n + 1}" for n in range(len(found))]
        for template in found:
            assert len({p.text.replace(value, "{}") for value, p in template.prompts.items()}) == 1
            for value, rows in template.samples.items():
                assert [row.prompt_id for row in rows] == [template.prompts[value].id] * 2


def test_a_value_is_a_whole_word(tmp_path: Path) -> None:
    rows = [prompt("name", name, f"{name} went to the Marketplace and") for name in ("Mark", "Anna")]
    suite = load_suite(suite_file(tmp_path, rows))
    assert list(templates(suite, completions(suite, lambda text, repeat: "", 1))[0]["name"][0].prompts) == ["Mark", "Anna"]


def test_a_value_stands_in_running_chinese(tmp_path: Path) -> None:
    rows = [prompt("gender", value, f"他说那个{value}医生非常") for value in ("男", "女")]
    suite = load_suite(suite_file(tmp_path, rows))
    assert list(templates(suite, completions(suite, lambda text, repeat: "", 1))[0]["gender"][0].prompts) == ["男", "女"]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (
            [prompt("gender", "female", "She was very")],
            "its value 'female' stands 0 times in 'She was very'; exactly once is required",
        ),
        ([prompt("name", "Mark", "Mark and Mark said")], "its value 'Mark' stands 2 times"),
        ([*TWO_BY_TWO, prompt("country", "Iran", "A friend from Iran was")], r"template 'The train to \{\} felt' lacks Iran"),
        ([TWO_BY_TWO[0]], "axis country: no two prompts differ in the value alone; nothing to compare; prompts that differ"),
        ([TWO_BY_TWO[0], TWO_BY_TWO[3]], "axis country: no two prompts differ in the value alone"),
        ([{"id": "a", "group": "g", "text": "One day"}], "1 of 1 prompts have no axis and are in no pair; prompts that differ"),
    ],
)
def test_suites_that_hold_no_complete_pairs_are_refused(tmp_path: Path, rows: list[dict[str, str]], told: str) -> None:
    suite = load_suite(suite_file(tmp_path, rows))
    with pytest.raises(ValueError, match=told):
        templates(suite, completions(suite, lambda text, repeat: "", 1))


def test_questions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="its prompts are of form question; continuation is required"):
        templates(load_suite(suite_file(tmp_path, TWO_BY_TWO, "question")), [])


def test_an_axis_without_pairs_is_left_out_and_said(tmp_path: Path) -> None:
    further = [prompt("name", "Anna", "Anna was"), {"id": "lone", "group": "g", "text": "One day"}]
    suite = load_suite(suite_file(tmp_path, [*TWO_BY_TWO, *further]))
    axes, notes = templates(suite, completions(suite, lambda text, repeat: "", 1))
    assert list(axes) == ["country"]
    assert notes == [
        "1 of 6 prompts have no axis and are in no pair",
        "axis name: no two prompts differ in the value alone; nothing to compare",
    ]


def test_values_with_unequal_numbers_of_completions_are_refused(tmp_path: Path) -> None:
    suite = load_suite(suite_file(tmp_path, TWO_BY_TWO))
    rows = completions(suite, lambda text, repeat: "", 3)
    with pytest.raises(ValueError, match="template country-2: 2 completions for Japan where 3 stand for the first value"):
        templates(suite, rows[:-1])
    with pytest.raises(ValueError, match="template country-2: 0 completions for Japan"):
        templates(suite, rows[:-3])
    with pytest.raises(ValueError, match="a completion of prompt other, which suite counterfactual does not have"):
        templates(suite, [*rows, Completion("other", "France", None, "Other", 0, "")])
