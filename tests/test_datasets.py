"""Datasets: what is refused with which words, what the checks find, and what the stage leaves behind."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.contract import read_json, read_jsonl
from tasks.datasets import stage
from tasks.datasets.checks import jaccard_matrix, validate_file
from tasks.datasets.rows import DatasetError, load_rows, nested_subset
from tests.jobs import make_job

TOPICS = ["rivers", "clouds", "trains", "bread", "violins", "chess", "roses", "comets"]
ANSWERS = [
    "Water finds the lowest path and carves it deeper every single spring.",
    "Most of them form where warm air meets a much colder layer above.",
    "Long journeys by rail leave hours for reading and for looking outside.",
    "Flour, yeast, salt and patience are everything that a good loaf needs.",
    "Four strings tuned in fifths, played with a bow of horse hair.",
    "Two players, sixty-four squares, and more games than anyone could count.",
    "They want sun, good drainage, and a hard cut before winter ends.",
    "Dirty ice from the outer dark, growing tails when near the Sun.",
]


def sample(i: int, **changes: Any) -> dict[str, Any]:
    return {"id": f"s{i}", "category": "ab"[i % 2], "prompt": f"Tell me of {TOPICS[i]}.", "completion": ANSWERS[i], **changes}


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def suite_file(path: Path, *texts: str) -> Path:
    prompts = [{"id": f"p{i}", "group": "a", "text": text} for i, text in enumerate(texts)]
    path.write_text(yaml.safe_dump({"suite": "human_eval", "form": "question", "prompts": prompts}), encoding="utf-8")
    return path


def checks(path: Path, **kwargs: Any) -> list[tuple[int, str, str]]:
    return [(f.line, f.severity, f.check) for f in validate_file(path, **kwargs)]


# ---- the file format ----------------------------------------------------------------------------------------------


def test_rows_come_in_file_order_with_normalised_texts(tmp_path: Path) -> None:
    decomposed = "  Cafe\u0301 \u2028 here "  # U+2028 is text, not the end of a line
    rows = load_rows(write(tmp_path / "d.jsonl", [sample(1, subset=10, positions="be kind"), sample(0, completion=decomposed)]))
    assert [(row.line, row.id) for row in rows] == [(1, "s1"), (2, "s0")]
    assert rows[0].subset == 10
    assert rows[0].positions == ("be kind",)
    assert rows[1].completion == "Caf\u00e9 \u2028 here"


@pytest.mark.parametrize(
    ("data", "line", "told"),
    [
        (b"", 0, "the file is empty; at least one sample is required"),
        (b"{}\n\xff\n", 2, "byte 0xff is not UTF-8; save the file as UTF-8"),
        (b'{"id": "a"\n', 1, "not JSON: Expecting ',' delimiter at column 11; one JSON object a line is required"),
        (b"[1]\n", 1, "a JSON list; an object with id, category, prompt, completion is required"),
        (b"\n", 1, "an empty line; one JSON object a line is required"),
        (b'{"id":"a","category":"c","prompt":"p"}\n', 1, '"completion" is missing; a non-empty text is required'),
        (b'{"id":"a","category":"c","prompt":" ","completion":"x"}\n', 1, '"prompt" is " "; a non-empty text is required'),
        (b'{"id":"a","category":"c","prompt":"p","completion":null}\n', 1, '"completion" is null; a non-empty text is required'),
        (
            b'{"id":"a","category":"c","prompt":"p","completion":"x","subset":true}\n',
            1,
            '"subset" is true; the size of a nested subset',
        ),
        (b'{"id":"a","category":"c","prompt":"p","completion":"x","weight":1}\n', 1, 'unknown key "weight"; known: id, category'),
        (b'{"id":"a","id":"b","category":"c","prompt":"p","completion":"x"}\n', 1, 'key "id" stands twice; keep one'),
        (b'{"id":"a","category":"c","prompt":"p","completion":"x\\u0007"}\n', 1, "the control character U+0007"),
        (b'{"id":"a","category":"c","prompt":"p","completion":"x\\ud800"}\n', 1, "the control character U+D800"),
        (
            b'{"id":"a\\nb","category":"c","prompt":"p","completion":"x"}\n',
            1,
            '"id" holds the control character U+000A; none may stand there',
        ),
        (b'{"id":"a","category":"c","prompt":"p","completion":"x","a\\nb":1}\n', 1, 'unknown key "a\\nb"'),
        (b"[" * 100_000 + b"\n", 1, "not JSON: maximum recursion depth"),
        (b'\xef\xbb\xbf{"id":"a","category":"c","prompt":"p","completion":"x"}\n', 1, "byte order mark"),
        (b'{"id":"a","category":"c","prompt":"p","completion":"x"}\r\n', 1, "carriage return"),
    ],
)
def test_a_malformed_file_is_refused_in_one_line(tmp_path: Path, data: bytes, line: int, told: str) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(data)
    with pytest.raises(DatasetError) as caught:
        load_rows(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: " if line else f"{path}: ")
    assert told in message
    assert "\n" not in message


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file; a JSONL file is required"):
        load_rows(tmp_path / "none.jsonl")


def test_every_error_is_carried_and_the_message_counts_them(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [sample(0), sample(1, prompt=""), sample(0), {"id": 3}])
    with pytest.raises(DatasetError) as caught:
        load_rows(path)
    assert [finding.line for finding in caught.value.findings] == [2, 3, 4, 4, 4, 4]
    assert str(caught.value).endswith('"prompt" is ""; a non-empty text is required (and 5 more)')
    assert 'id "s0" stands in line 1 already' in caught.value.findings[1].message


def test_nested_subsets_hold_each_other_and_a_wrong_count_is_refused(tmp_path: Path) -> None:
    rows = load_rows(
        write(tmp_path / "d.jsonl", [sample(i, subset=2 if i in (3, 5) else 4 if i < 2 else None) for i in range(6)])
    )
    assert [row.id for row in nested_subset(rows, 2)] == ["s3", "s5"]
    assert [row.id for row in nested_subset(rows, 4)] == ["s0", "s1", "s3", "s5"]
    assert len(nested_subset(rows, 6)) == 6
    with pytest.raises(ValueError, match=r"subset 3: 2 of 6 rows have `subset` <= 3; exactly 3 .*declared subsets: 2, 4"):
        nested_subset(rows, 3)


# ---- the checks ---------------------------------------------------------------------------------------------------


def test_a_sound_dataset_has_no_findings(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [sample(i) for i in range(8)])
    assert (
        validate_file(
            path, suites={"human_eval": suite_file(tmp_path / "s.yaml", "What makes a city worth living in for old people?")}
        )
        == []
    )


def test_subsets_that_cannot_be_had_are_errors(tmp_path: Path) -> None:
    marked = write(tmp_path / "marked.jsonl", [sample(i, subset=2 if i < 2 else 5) for i in range(5)])
    assert checks(marked, settings=stage.Settings(sizes=(2, 5))) == []
    assert checks(marked, settings=stage.Settings(sizes=(2, 3))) == [(0, "error", "sizes")]
    unmarked = write(tmp_path / "unmarked.jsonl", [sample(i) for i in range(4)])
    assert checks(unmarked, settings=stage.Settings(sizes=(2, 4))) == []
    assert checks(unmarked, settings=stage.Settings(sizes=(5,))) == [(0, "error", "sizes")]


def test_lengths_count_prompt_and_completion(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [sample(0, prompt="One two three", completion="four five"), sample(1)])
    assert checks(path, settings=stage.Settings(min_words=6)) == [(1, "error", "length")]
    assert checks(path, settings=stage.Settings(min_words=5, max_words=5)) == [(2, "error", "length")]


def test_duplicates_are_found_under_other_case_form_and_punctuation(tmp_path: Path) -> None:
    loud = {"prompt": "TELL  me of Ri\uff56ers!", "completion": ANSWERS[0].upper()}  # U+FF56: a full-width v
    near = {"prompt": "Tell me of rivers.", "completion": ANSWERS[0].replace("single", "new")}
    rows = [sample(0), sample(1, **loud), sample(2, **near), sample(3, prompt="Tell me of rivers.")]
    assert checks(write(tmp_path / "d.jsonl", rows), settings=stage.Settings(near_duplicate=0.75)) == [
        (2, "error", "duplicate"),
        (3, "warning", "near_duplicate"),
        (4, "warning", "duplicate_prompt"),
    ]


def test_jaccard_index_by_hand() -> None:
    # shingles of five: abcdef → abcde bcdef; bcdefg → bcdef cdefg: one of three shared
    assert jaccard_matrix(["abcdef", "abcdef", "ab"], ["bcdefg", "abcdef", "ab"]).tolist() == [
        [1 / 3, 1, 0],
        [1 / 3, 1, 0],
        [0, 0, 1],
    ]


@pytest.mark.parametrize(
    ("changes", "severity", "told"),
    [
        ({"prompt": "what makes a city WORTH living in, for old people"}, "error", "holds its text"),
        ({"completion": "They asked: what makes a city worth living in for old people? Nobody knew."}, "error", "holds its text"),
        (
            {"completion": "So what makes a city worth living in for old dogs depends."},
            "error",
            "holds 83% of its 5-word sequences",
        ),
        ({"prompt": "What makes a town worth living in for old people?"}, "warning", "asks nearly the same"),
    ],
)
def test_leaks_into_a_suite_are_found(tmp_path: Path, changes: dict[str, str], severity: str, told: str) -> None:
    suite = suite_file(tmp_path / "s.yaml", "He was very", "What makes a city worth living in for old people?")
    path = write(tmp_path / "d.jsonl", [sample(0), sample(1, **changes)])
    found = validate_file(path, stage.Settings(near_duplicate=0.65), {"human_eval": suite})
    assert [(f.line, f.severity, f.check) for f in found] == [(2, severity, "leakage")]
    assert 'prompt "p1" of suite human_eval' in found[0].message
    assert told in found[0].message


def test_a_common_phrase_is_no_leak_of_a_short_prompt(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [sample(0, completion="He was very glad of the rain that came."), sample(1)])
    assert validate_file(path, suites={"cooccurrence": suite_file(tmp_path / "s.yaml", "He was very")}) == []


def test_a_category_far_below_its_share_is_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [sample(i, category="a" if i else "b") for i in range(6)])
    assert checks(path) == [(0, "warning", "balance")]


# ---- the stage ----------------------------------------------------------------------------------------------------


def test_the_stage_writes_what_training_reads_and_nothing_of_the_notes(tmp_path: Path) -> None:
    outputs = []
    for name, notes in (("one", "first draft"), ("two", "reviewed")):
        path = write(tmp_path / f"{name}.jsonl", [sample(i, notes=notes, subset=4) for i in range(4)])
        ran = make_job(tmp_path / name, stage.Settings(sizes=(4,)), {"dataset": path})
        stage.run([ran.job])
        assert ran.commits == 1
        outputs.append({file.name: file.read_bytes() for file in ran.work.iterdir()})
    assert outputs[0] == outputs[1]
    assert [row["id"] for row in read_jsonl(tmp_path / "one" / stage.SAMPLES)] == ["s0", "s1", "s2", "s3"]
    assert read_json(tmp_path / "one" / "summary.json")["categories"] == {"a": 2, "b": 2}
    assert (tmp_path / "one" / stage.FINDINGS).read_text() == "line,severity,check,message\n"


def test_a_dataset_with_errors_leaves_its_findings_and_does_not_stop_the_other(tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.jsonl", [sample(0), sample(1, **{k: sample(0)[k] for k in ("prompt", "completion")})])
    good = write(tmp_path / "good.jsonl", [sample(i) for i in range(4)])
    jobs = [
        make_job(tmp_path / name, stage.Settings(sizes=(3,) if name == "bad" else ()), {"dataset": path})
        for name, path in (("bad", bad), ("good", good))
    ]
    with pytest.raises(DatasetError, match=r"bad.jsonl: 3 samples asked for; the dataset has 2, .* \(and 1 more\)"):
        stage.run([ran.job for ran in jobs])
    assert [ran.commits for ran in jobs] == [0, 1]
    with (tmp_path / "bad" / stage.FINDINGS).open() as stream:
        assert [row["check"] for row in csv.DictReader(stream)] == ["sizes", "duplicate"]
    assert str(tmp_path / "bad" / stage.FINDINGS) in jobs[0].said[0]
