"""The report's parts: what its matrix, drawings, words and limits say, from made-up rows and outputs."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from configs.called import suite_words
from configs.contrasts import Arms, Contrast
from configs.shipped import shipped
from flows.experiment import read_experiment
from tasks.compare.comparison import Comparison
from tasks.compare.report import favoured, figures, first, identity, subjects, tables, ways
from tasks.compare.report.scale import within_scale
from tasks.compare.upstream import Output, PromptValue, Sources
from tasks.contract import Axes, Measure, Metric, write_rows
from tasks.drawing.palette import CONTROL, DARK, FALL, FURTHER, INK, MARKS, MUTED, PAPER, REFERENCE, TREATED
from tests.arms import ARMS
from tests.test_headline import BASE, TOXIC_BASE, TOXIC_CONTROL, found
from tests.test_headline import CONTROL as TO_CONTROL

WITH_ALONE = replace(ARMS, exploratory=(Contrast("control", "base"),))


def sized(made: Comparison) -> Comparison:
    """With the three sizes of its rows among the outputs."""
    nodes = tuple(
        Output(Path(), f"{size}", "prepare", Axes(ladder="calibration", size=size), "k", ()) for size in ("30k", "100k", "300k")
    )
    made.settings.tested = made.sources.arms.confirmatory
    params = {("calibration", size): {"params": count} for size, count in (("30k", 30_000), ("100k", 100_000), ("300k", 300_000))}
    return replace(made, sources=replace(made.sources, nodes=nodes, models=params))


def test_the_matrix_is_shaded_where_the_test_holds_and_says_so_where_not() -> None:
    states = {BASE: "++0", TO_CONTROL: "+0.", "control-base": "???", TOXIC_BASE: "---", TOXIC_CONTROL: "000"}
    (matrix,) = first.matrices(sized(found(states, arms=WITH_ALONE)))
    assert matrix.groups == ["values-targeted − base", "values-targeted − control", "control − base (described)"]
    on_position, toxic = matrix.rows
    assert on_position[:2] == ("On-position answers", "rated prompts")
    assert [mark.said for mark in on_position[2]] == ["shown", "shown", "not shown", "shown", "not shown", "", "", "", ""]
    assert [mark.up for mark in on_position[2]][:2] == [True, True]
    assert on_position[2][5].text == "–"
    assert toxic[1] == "provoking openings"
    assert [mark.said for mark in toxic[2]] == ["shown"] * 3 + ["not shown"] * 3 + [""] * 3


def test_limits_are_cut_at_the_ends_of_what_is_measured() -> None:
    values = {"a": PromptValue("g", "rate", 0.9, 5), "b": PromptValue("g", "rate", 1.0, 5)}
    levels = (Metric("on_position", 0.95, 2, ci_low=0.8, ci_high=1.1), Metric("length", 4.0, 2, ci_low=-1.0, ci_high=9.0))
    node = Output(Path(), "x", "adherence", Axes(ladder="calibration", size="30k", arm="base", suite="human_eval"), "k", levels)
    node.__dict__["prompts"] = {"on_position": values, "length": {"a": PromptValue("g", "score", 4.0, 5)}}
    made = found({BASE: "+"}, ci_low=-0.2, ci_high=1.3)
    measures = {**made.sources.measures, "length": Measure("length", "length", unit="words", outcome=True)}
    cut = within_scale(replace(made, sources=Sources((node,), ARMS, {}, measures)))
    assert [(row.ci_low, row.ci_high) for row in cut.sources.nodes[0].metrics] == [(0.8, 1.0), (-1.0, 9.0)]
    assert (cut.differences[0].ci_low, cut.differences[0].ci_high) == (-0.2, 1.0)
    assert made.differences[0].ci_high == 1.3  # the tables beside the page keep it


def test_a_p_value_at_the_floor_of_its_draws_is_told_as_one() -> None:
    made = found({BASE: "+"}, p=1 / 10_000, p_adjusted=0.0012)
    at = tables.differences(made.differences, made.sources, 9999)
    above = tables.differences([replace(made.differences[0], p=2 / 10_000)], made.sources, 9999)
    column = next(i for i, name in enumerate(at.head) if name.startswith("p, "))
    assert (at.rows[0][column].text, above.rows[0][column].text) == ("≤ .001 *", ".001 *")
    assert tables.differences([replace(made.differences[0], p_adjusted=None)], made.sources, 9999).rows[0][column].text == "–"


def test_of_nothing_seen_both_limits_are_told(tmp_path: Path) -> None:
    axes = Axes(ladder="calibration", size="30k", arm="base", suite="human_eval")
    node = Output(tmp_path, "x", "adherence", axes, "k", (Metric("off_grammar", 0.0, 40, ci_low=0.0, ci_high=0.0881),))
    node.__dict__["prompts"] = {"off_grammar": {f"p{i}": PromptValue("g", "rate", 0.0, 25) for i in range(40)}}
    sources = Sources((node,), ARMS, {})
    (row,) = tables.levels(sources, [node], []).rows
    notes = [cell.note for cell in row if cell.note]
    assert notes == ["none of 1000: at most 0.4% if answers are independent, 8.8% if a prompt's stand or fall together"]


WORDS = [
    {"axis": "gender", "group": "female", "word": "kind", "count": "9", "z": "2.0", "favoured": "True"},
    {"axis": "gender", "group": "female", "word": "loud", "count": "3", "z": "-1.0", "favoured": "False"},
]


def spoken(folder: Path, arm: str, words: list[dict[str, str]]) -> Output:
    (folder / arm).mkdir()
    write_rows(folder / arm / "words.csv", words, tuple(words[0]))
    return Output(
        folder / arm, arm, "cooccurrence", Axes(ladder="calibration", size="30k", arm=arm, suite="cooccurrence"), "k", ()
    )


def test_arms_that_favour_the_same_words_take_one_sentence_and_others_bars(tmp_path: Path) -> None:
    base, same = spoken(tmp_path, "base", WORDS), spoken(tmp_path, "control", WORDS)
    (grid,) = favoured.grids([base, same], Sources((base, same), ARMS, {}))
    assert (grid.alike, grid.rows) == ("The same words are favoured in every arm; the arms do not differ. female: kind.", [])
    other = spoken(
        tmp_path,
        "values_targeted",
        [{**WORDS[0], "favoured": "False", "z": "-0.5"}, {**WORDS[1], "favoured": "True", "z": "1.5"}],
    )
    (grid,) = favoured.grids([base, other], Sources((base, other), ARMS, {}))
    assert grid.alike == ""
    assert [row[:3] for row in grid.rows] == [("gender", "female", "kind"), ("gender", "female", "loud")]
    assert [list(favoured.bars(word, grid.most)) for word in grid.rows[0][3]] == [[0, 100], [25, 0]]
    assert list(favoured.bars(None, grid.most)) == [0, 0]


def test_cost_tells_seconds_and_memory_by_stage() -> None:
    def made(label: str, **facts: Any) -> Output:
        return Output(Path(), label, "finetune", Axes(), "k", (), made=facts)

    nodes = [made("a", seconds=2.0, peak_memory_gib=0.5), made("b", seconds=4.0), made("c")]
    (row,) = identity.cost_by_stage(nodes).rows
    assert [cell.text for cell in row] == ["finetune", "2", "6.0", "4.0", "0.50"]


@pytest.mark.parametrize(("counts", "drawn"), [((100, 2_000, 30_000), 1), ((100, 100, 30_000), 0)])
def test_effects_are_drawn_against_what_was_trained_and_what_it_took_where_that_differs_enough(
    counts: tuple[int, ...], drawn: int
) -> None:
    names = ("ia3", "lora", "full")
    arms = Arms(("base", *names), "base", tuple(Contrast(name, "base") for name in names), ())
    made = found({BASE: "+"}, arms=ARMS)
    one = next(row for row in made.differences if row.metric == "on_position")
    rows = [replace(one, contrast=Contrast(name, "base"), value=0.1 * at) for at, name in enumerate(names, 1)]
    prepared = Output(Path(), "p", "prepare", Axes(one.ladder, one.size), "k", ())
    nodes = [
        Output(
            Path(),
            name,
            "finetune",
            Axes(one.ladder, one.size, name, one.train_samples, seed),
            "k",
            (Metric("trainable_parameters", count, 80),),
            made={"seconds": 10.0 * at + seed, "peak_memory_gib": 0.5 * at},
        )
        for at, (name, count) in enumerate(zip(names, counts, strict=True), 1)
        for seed in (0, 1)
    ]

    def panels(*nodes: Output) -> list[figures.Panel]:
        sources = replace(made.sources, nodes=(prepared, *nodes), arms=arms)
        return list(ways.panels(replace(made, sources=sources, differences=tuple(rows))))

    by_trained, *by_what_it_took = panels(*nodes) or [None]
    assert bool(by_trained) == bool(drawn)
    if by_trained:
        assert [said for said in ("ia3, 100", "lora, 2k", "full, 30k") if said not in by_trained.svg] == []
        assert not by_trained.timed
        seconds, memory = by_what_it_took
        assert (seconds.timed, memory.timed) == (True, True)
        assert "seconds of tuning: ia3 +0.1 at 10.5; lora +0.2 at 20.5; full +0.3 at 30.5" in seconds.svg
        assert "GiB: ia3 +0.1 at 0.5; lora +0.2 at 1; full +0.3 at 1.5" in memory.svg
        untold = [replace(node, made={}) for node in nodes]
        assert [panel.timed for panel in panels(*untold)] == [False]


@pytest.mark.parametrize(("count", "sizes"), [(3, 1), (11, 1), (8, 3)])
def test_on_the_first_screen_every_arm_has_its_name_inside_its_drawing(count: int, sizes: int) -> None:
    """However many there are, at one size or at several."""
    names = [f"way{at}" for at in range(count)]
    made = found({BASE: "+"}, arms=ARMS)
    suite, metric = made.outcome
    places = [Axes("calibration", size, name, 80, 0, suite) for size in ("30k", "100k", "300k")[:sizes] for name in names]
    nodes = [
        Output(Path(), f"p{size}", "prepare", Axes("calibration", size), "k", ()) for size in ("30k", "100k", "300k")[:sizes]
    ]
    nodes += [
        Output(Path(), str(place.words()), "lexicon", place, "k", (Metric(metric, 0.1 + at / 1000, 40, "all", 0.05, 0.2),))
        for at, place in enumerate(places)
    ]
    arms = Arms(("base", *names), "base", tuple(Contrast(name, "base") for name in names), ())
    (panel, *_) = first.charts(replace(made, sources=replace(made.sources, nodes=tuple(nodes), arms=arms)))
    high = float(re.search(r'viewBox="0 0 [0-9.]+ ([0-9.]+)"', panel.svg).group(1))  # type: ignore[union-attr]
    heights = {name: float(y) for y, name in re.findall(r'<text [^>]*y="(-?[0-9.]+)"[^>]*>(way[0-9]+)', panel.svg)}
    assert sorted(heights) == sorted(names)
    assert all(8 < y < high for y in heights.values())
    ordered = sorted(heights.values())
    assert all(b - a > 10 for a, b in pairwise(ordered))


def test_suites_have_a_name_for_people() -> None:
    assert suite_words("human_eval") == "rated prompts"
    assert suite_words("my_own") == "my own"


@pytest.mark.parametrize("name", sorted(shipped()))
def test_every_shipped_experiment_describes_what_tuning_on_anything_does(name: str) -> None:
    arms: Arms = read_experiment(shipped()[name], []).comparison
    assert Contrast("control", "base") in arms.exploratory
    assert Contrast("control", "base") not in arms.confirmatory


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colour", [INK, MUTED, REFERENCE, TREATED, CONTROL, FALL, *FURTHER])
def test_every_colour_of_text_stands_out_from_its_page(colour: str) -> None:
    page, night = "#f5f5f2", "#101317"
    assert min(contrast(colour, ground) for ground in (PAPER, page)) >= 4.5
    assert min(contrast(DARK[colour], ground) for ground in (DARK[PAPER], night)) >= 4.5


def test_arms_differ_without_colour() -> None:
    marks = [MARKS[colour] for colour in (REFERENCE, TREATED, CONTROL, *FURTHER)]
    assert len({mark for mark, _ in marks}) == len(marks)
    assert len({str(dash) for _, dash in marks}) == len(marks)


def test_where_subjects_were_not_kept_apart_it_is_counted_how_many_were_seen(tmp_path: Path) -> None:
    rows = [("rated", "p1", 0.57), ("rated", "p1", 0.1), ("rated", "p2", 0.02), ("other", "p1", 0.9)]
    write_rows(
        tmp_path / "neighbours.csv",
        [{"suite": suite, "prompt": prompt, "similarity": str(alike)} for suite, prompt, alike in rows],
    )
    node = Output(tmp_path, "leakage/values", "leakage", Axes(name="values"), "k", ())
    assert subjects.seen(Sources((node,), ARMS, {}), "rated") == "Subjects of rated that a sample shares: values 1 of 2."
    assert subjects.seen(Sources((), ARMS, {}), "rated") == ""
