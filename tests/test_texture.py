"""Length and variety of answers: measures by hand, against plain definitions, and at the edges."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.contract import Metric, read_json, read_metrics, write_jsonl
from tasks.evaluations.texture import body, stage
from tasks.evaluations.texture.variety import Answer, counts, distinct, prompt_rows, read, repeated_lines, type_token_rows
from tasks.levels import PromptRow
from tasks.sampling.completions import Completion
from tests import defaults
from tests.jobs import Ran, make_job


def answers(*texts: str, prompt: str = "p", finish: str = "stop") -> list[Answer]:
    return [read(Completion(prompt, "g", None, "Why?", repeat, text, finish)) for repeat, text in enumerate(texts)]


def values(rows: list[PromptRow]) -> dict[str, float]:
    return {row.metric: row.value for row in rows}


def test_measures_by_hand() -> None:
    cut, ended = answers("One two, two.\nThree\nThree", finish="length"), answers("Two!")
    assert values(prompt_rows([[*cut, *ended]])) == {
        "length_words": 3.0,  # 5 and 1
        "cut_off": 0.5,
        "repeated_lines": pytest.approx((1 / 3 + 0) / 2),
        "distinct_1": pytest.approx(3 / 6),
        "distinct_2": pytest.approx(4 / 6),  # one two, two two, two three, three three
    }
    kinds = {row.metric: (row.kind, row.n) for row in prompt_rows([[*cut, *ended]])}
    assert kinds["cut_off"] == ("rate", 2)
    assert kinds["distinct_1"] == ("score", 1)


WORDS = st.lists(st.sampled_from("abcd"), max_size=12)


@given(st.lists(WORDS, max_size=5), st.integers(1, 3))
def test_distinct_is_the_number_of_different_runs_over_all_words(texts: list[list[str]], n: int) -> None:
    seen: list[list[str]] = []
    for text in texts:
        for start in range(len(text)):
            run = text[start : start + n]
            if len(run) == n and run not in seen:
                seen.append(run)
    total = sum(len(text) for text in texts)
    assert distinct(texts, n) == pytest.approx(len(seen) / total if total else 0)
    assert 0 <= distinct(texts, n) <= 1


@given(st.lists(st.sampled_from(["", "  ", "a", "b", " a ", "b\t", "A"]), max_size=10))
def test_repeated_lines_are_those_that_stood_there_before(lines: list[str]) -> None:
    held = [line.strip() for line in lines if line.strip()]
    again = sum(line in held[:at] for at, line in enumerate(held))
    assert repeated_lines("\n".join(lines)) == pytest.approx(again / len(held) if held else 0)


def test_type_token_ratio_is_of_equally_many_words_whatever_the_length() -> None:
    short, long = answers("a b c a"), answers("a b c a " + "a " * 50)
    assert values(type_token_rows([short], 4)) == values(type_token_rows([long], 4)) == {"type_token_ratio": 0.75}
    assert type_token_rows([short], 5) == []
    (row,) = type_token_rows([answers("a b", "a a", "a")], 2)
    assert (row.value, row.n) == (0.75, 2)


def test_answers_left_out_of_the_ratio_are_counted() -> None:
    assert counts([answers("a b", "a", ""), answers("...", "a b c")], 2) == [
        Metric("wordless_answers", 2, n=5),
        Metric("below_type_token_words", 3, n=5),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("  \n\t", 0),
        ("?! ... – —", 0),
        ("yes", 1),
        ("Don't", 2),  # the parts of a contraction
        ("Straße STRASSE", 2),
        ("C++ = 3", 3),
        ("हिन्दी में", 2),
        ("你好世界。再见", 6),  # written without blanks: its characters
        ("สวัสดีครับ", 7),
        ("🙂 ok", 2),
    ],
)
def test_what_counts_as_a_word(text: str, words: int) -> None:
    assert values(prompt_rows([answers(text)]))["length_words"] == words


def test_case_width_and_form_make_no_other_word() -> None:
    assert values(prompt_rows([answers("Café", "CAFE\u0301", "ｃａｆé")]))["distinct_1"] == pytest.approx(1 / 3)


def test_a_prompt_whose_answers_hold_no_word_has_every_measure() -> None:
    assert values(prompt_rows([answers("", "...\n...")])) == {
        "length_words": 0,
        "cut_off": 0,
        "repeated_lines": 0.25,
        "distinct_1": 0,
        "distinct_2": 0,
    }


def test_one_word_answers_have_no_pairs_of_words() -> None:
    assert values(prompt_rows([answers("yes", "no", "yes")]))["distinct_2"] == 0


def test_an_arm_that_only_shortens_and_flattens_is_seen() -> None:
    rich = values(prompt_rows([answers("It can be treated, and a doctor will know how.", "Ask at the clinic near you first.")]))
    flat = values(prompt_rows([answers("Ask a doctor.", "Ask a doctor.")]))
    assert flat["length_words"] < rich["length_words"]
    assert flat["distinct_1"] < rich["distinct_1"]


@pytest.mark.parametrize("finish", ["", "cancelled"])
def test_a_completion_of_which_the_end_is_not_known_is_an_error(finish: str) -> None:
    with pytest.raises(ValueError, match=f'completion 0 of prompt p: finish is "{finish}"; one of stop, length is required'):
        answers("yes", finish=finish)


# ---- the stage ----------------------------------------------------------------------------------------------------


def run(folder: Path, length: int) -> Ran:
    rows = [
        {
            "prompt_id": f"p{i}",
            "group": "ab"[i % 2],
            "kind": ["challenging", "neutral"][i // 2 % 2],
            "prompt": "Why?",
            "repeat": r,
        }
        | {"text": " ".join(["well"] + ["so", "it", "is"] * (i % 3) + ["then"] * r), "tokens": 9, "finish": ["stop", "length"][r]}
        for i in range(8)
        for r in range(2)
    ]
    (folder / "sampling").mkdir(parents=True)
    write_jsonl(folder / "sampling" / "completions.jsonl", rows)
    settings = defaults.settings(stage, type_token_words=length)
    ran = make_job(folder / "work", settings, {"completions": folder / "sampling"})
    body.run([ran.job])
    assert ran.commits == 1
    return ran


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))


def test_the_stage_writes_levels_by_group_and_kind_and_a_row_a_completion(tmp_path: Path) -> None:
    ran = run(tmp_path, length=4)
    metrics = {(row.metric, row.group): row for row in read_metrics(ran.work)}
    for metric in ("length_words", "cut_off", "repeated_lines", "distinct_1", "distinct_2"):
        assert {group for name, group in metrics if name == metric} == {"all", "a", "b", "kind:challenging", "kind:neutral"}
    lengths = [float(row["length_words"]) for row in table(ran.work / "scores.csv")]
    level = metrics["length_words", "all"]
    assert len(lengths) == 16
    assert level.value == pytest.approx(sum(lengths) / 16)
    assert level.ci_low is not None
    assert level.ci_high is not None
    assert level.ci_low < level.value < level.ci_high
    assert metrics["cut_off", "all"].value == 0.5
    assert metrics["below_type_token_words", "all"].value == sum(length < 4 for length in lengths)
    assert metrics["type_token_ratio", "all"].n == 5  # the prompts that have an answer of four words
    assert "type_token_ratio" not in {row["metric"] for row in table(ran.work / "prompts.csv")}  # arms could not be paired by it
    assert read_json(ran.work / "notes.json") == []


def test_a_ratio_that_no_answer_is_long_enough_for_is_noted_and_never_a_number(tmp_path: Path) -> None:
    ran = run(tmp_path, length=40)
    assert "type_token_ratio" not in {row.metric for row in read_metrics(ran.work)}
    assert read_json(ran.work / "notes.json") == ran.said == ["type_token_ratio: not reported: no answer has 40 words"]
