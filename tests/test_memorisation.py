"""What answers copy from the tuning data: against a search by hand, at the seams and edges, and on the shipped data."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.schema import Suite as Sampled
from tasks.contract import read_metrics, write_jsonl
from tasks.datasets.lines import DatasetError
from tasks.datasets.rows import load_rows
from tasks.evaluations import Given
from tasks.evaluations.memorisation import body, stage
from tasks.evaluations.memorisation.runs import Texts, share_in_runs, words_of
from tests.jobs import Ran, make_job
from tests.sweeps import CONFIGS

WORDS = st.lists(st.sampled_from("abc"), max_size=14)


def stands_in(run: Sequence[str], text: Sequence[str]) -> bool:
    return any(list(text[at : at + len(run)]) == list(run) for at in range(len(text) - len(run) + 1))


@settings(max_examples=300)
@given(st.lists(WORDS, max_size=5), st.lists(st.sampled_from("abcd"), max_size=20), st.integers(1, 6))
def test_runs_are_those_that_a_search_by_hand_finds(texts: list[list[str]], answer: list[str], least: int) -> None:
    spans = [
        (start, end)
        for start in range(len(answer))
        for end in range(start + 1, len(answer) + 1)
        if any(stands_in(answer[start:end], text) for text in texts)
    ]
    runs = Texts(texts).runs(answer)
    assert runs == [max((end - start for start, end in spans if end == at + 1), default=0) for at in range(len(answer))]
    copied = {at for start, end in spans if end - start >= least for at in range(start, end)}
    assert share_in_runs(runs, least) == pytest.approx(len(copied) / len(answer) if answer else 0)


def test_eight_words_in_a_row_count_and_seven_do_not() -> None:
    held = Texts([words_of("A clinic can treat it, and nobody there will ask why you came.")])
    eight = held.runs(words_of("They said: a clinic can treat it and nobody there. Fine."))
    seven = held.runs(words_of("They said: a clinic can treat it and nobody. Fine."))
    assert (share_in_runs(eight, 8), max(eight)) == (pytest.approx(8 / 11), 8)
    assert (share_in_runs(seven, 8), max(seven)) == (0, 7)
    assert share_in_runs(seven, 7) == pytest.approx(7 / 10)


def test_case_punctuation_and_unicode_form_hide_no_copy() -> None:
    held = Texts([words_of("Don’t wait: the café’s doctor can see you today.")])
    said = words_of("DON'T WAIT! The cafe\u0301's doctor — can see you: today")
    assert share_in_runs(held.runs(said), 8) == 1


# ---- the stage ----------------------------------------------------------------------------------------------------


def dataset(folder: Path, *samples: tuple[str, str]) -> Path:
    folder.mkdir(parents=True)
    rows = [{"id": f"s{i}", "category": "c", "prompt": p, "completion": c, "subset": None} for i, (p, c) in enumerate(samples)]
    write_jsonl(folder / "samples.jsonl", rows)
    return folder


def run(folder: Path, texts: Sequence[Sequence[str]], datasets: Mapping[str, Path], least: int = 3) -> Ran:
    rows = [
        {"prompt_id": f"p{i}", "group": "ab"[i % 2], "kind": None, "prompt": "Why?", "repeat": r, "text": text, "finish": "stop"}
        for i, of_prompt in enumerate(texts)
        for r, text in enumerate(of_prompt)
    ]
    (folder / "sampling").mkdir(parents=True)
    write_jsonl(folder / "sampling" / "completions.jsonl", rows)
    inputs = {"completions": folder / "sampling", **{f"dataset:{name}": path for name, path in datasets.items()}}
    ran = make_job(folder / "work", stage.Settings(run=least), inputs)
    body.run([ran.job])
    assert ran.commits == 1
    return ran


def prompts(ran: Ran) -> dict[tuple[str, str], float]:
    with (ran.work / "prompts.csv").open() as stream:
        return {(row["prompt_id"], row["metric"]): float(row["value"]) for row in csv.DictReader(stream)}


def test_every_dataset_is_measured_on_its_own(tmp_path: Path) -> None:
    values = dataset(tmp_path / "v", ("Is it bad?", "Nobody has to bear this alone."))
    control = dataset(tmp_path / "c", ("How do bees fly?", "Bees beat their wings very fast."))
    texts = [["Nobody has to worry.", "Well."], ["Bees beat their drums.", "Nobody has to bear this alone."]]
    ran = run(tmp_path, texts, {"values": values, "control": control})
    assert prompts(ran) == {
        ("p0", "memorised_values"): pytest.approx((3 / 4 + 0) / 2),
        ("p0", "longest_run_values"): 1.5,
        ("p0", "memorised_control"): 0,
        ("p0", "longest_run_control"): 0,
        ("p1", "memorised_values"): 0.5,
        ("p1", "longest_run_values"): 3,
        ("p1", "memorised_control"): pytest.approx((3 / 4 + 0) / 2),
        ("p1", "longest_run_control"): 1.5,
    }
    metrics = {(row.metric, row.group): row for row in read_metrics(ran.work)}
    assert metrics["memorised_values", "all"].value == pytest.approx((3 / 8 + 1 / 2) / 2)
    assert metrics["memorised_values", "all"].n == 2
    assert (metrics["below_run", "all"].value, metrics["below_run", "all"].n) == (1, 4)
    with (ran.work / "scores.csv").open() as stream:
        assert [float(row["memorised_values"]) for row in csv.DictReader(stream)] == [0.75, 0, 0, 1]


def test_prompts_of_a_dataset_count_and_no_run_goes_over_a_seam(tmp_path: Path) -> None:
    held = dataset(tmp_path / "d", ("one two three", "four five six"), ("seven eight nine", "ten eleven twelve"))
    ran = run(tmp_path, [["one two three"], ["two three four five"], ["five six seven eight"]], {"d": held})
    assert [prompts(ran)[f"p{i}", "memorised_d"] for i in range(3)] == [1, 0, 0]
    assert [prompts(ran)[f"p{i}", "longest_run_d"] for i in range(3)] == [3, 2, 2]


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0),
        ("... !", 0),
        ("one", 0),  # below the length of a run
        ("one two three one two three", 1),  # the same run twice is copied twice
        ("eins zwei drei", 0),
        ("你好世界。你好世界。你好世界", 1),  # of a script without blanks, runs are of characters
        ("你好世界你好世界你好世界", 1),
    ],
)
def test_edges(tmp_path: Path, text: str, share: float) -> None:
    held = dataset(tmp_path / "d", ("one two three", "你好世界。你好世界。你好世界"))
    assert prompts(run(tmp_path, [[text], [text]], {"d": held}))["p0", "memorised_d"] == share


def test_a_dataset_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "samples.jsonl").write_text("no JSON\n")
    with pytest.raises(DatasetError, match=r"samples\.jsonl:1: not JSON"):
        run(tmp_path, [["one"], ["two"]], {"d": tmp_path / "d"})


def test_nothing_to_copy_and_no_room_for_a_run_are_told_before_anything_runs() -> None:
    sampled = {"short": Sampled(prompts="x.yaml", max_new_tokens=7)}
    nothing = Given("{prompt}", 0, sampled, {}, (), {}, None, ())
    assert list(stage.check(stage.Memorisation(suites=("short",)), nothing)) == [
        "evaluations.memorisation: no arm is tuned on a dataset; at least one is required",
        "evaluations.memorisation.run: 8; answers of suites.short end after 7 tokens, and no more words are accepted",
    ]


def test_the_shipped_control_shares_frames_of_sentences_with_the_values_set_and_little_else() -> None:
    """It is written beside it sentence by sentence: what that makes common to both is bounded, and its datasheet says how much it is."""
    values, control = (load_rows(CONFIGS / "datasets" / f"{name}.jsonl") for name in ("values_targeted", "control"))
    held = Texts(words_of(text) for row in values for text in (row.prompt, row.completion))
    own, other = ([held.runs(words_of(row.completion)) for row in rows] for rows in (values, control))
    assert {share_in_runs(runs, 8) for runs in own} == {1.0}
    assert fmean(share_in_runs(runs, 8) for runs in other) < 0.05
    assert max(max(runs) for runs in other) <= 26
    plain = [held.runs(words_of(row.completion)) for row in load_rows(CONFIGS / "datasets" / "control_plain.jsonl")]
    assert {share_in_runs(runs, 8) for runs in plain} == {0.0}
