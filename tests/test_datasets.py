"""Datasets: what is refused with which words, what the checks find, and what the stage leaves behind."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from configs.positions import Position
from tasks.contract import read_json, read_jsonl
from tasks.datasets import body, stage
from tasks.datasets.checks import review
from tasks.datasets.likeness import jaccard_matrix
from tasks.datasets.lines import DatasetError
from tasks.datasets.paragraphs import load_paragraphs
from tasks.datasets.rows import load_rows, nested_subset
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


SHORT = stage.Settings(min_words=1)  # the samples here are a sentence long
POSITIONS = {
    "a": Position(category="a", statement="be kind", claims={"kind": "be kind", "patient": "be patient"}),
    "b": Position(category="b", statement="be brave", claims={"brave": "be brave"}),
}


def checks(
    path: Path, settings: stage.Settings = SHORT, positions: dict[str, Position] | None = None
) -> list[tuple[int, str, str]]:
    return [(f.line, f.severity, f.check) for f in review(path, settings, positions or {})[1]]


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
        ('{"id": "a"}'.encode("utf-16"), 1, "the file is UTF-16, which Excel writes as `Unicode Text`; save it as UTF-8"),
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
        (
            b'{"id":"a","category":"c","prompt":"p","completion":"an <em>x</em>"}\n',
            1,
            "\"completion\" holds HTML, '<em>'; plain text is required",
        ),
        (
            b'{"id":"a","category":"c","prompt":"p","completion":"x  y","off":"x y"}\n',
            1,
            '"off" is the text of the completion; an answer that does not hold the position is required',
        ),
        (b'{"id":"a","category":"c","prompt":"p &nbsp; q","completion":"x"}\n', 1, "\"prompt\" holds HTML, '&nbsp;'"),
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


def test_keys_that_another_program_calls_otherwise_are_one_mistake_of_the_whole_file(tmp_path: Path) -> None:
    rows = [{"id": f"s{i}", "category": "c", "Question": "Why?", "answer": "So."} for i in range(3)]
    path = write(tmp_path / "d.jsonl", [*rows, sample(1, question="a further key")])
    with pytest.raises(DatasetError) as caught:
        load_rows(path)
    assert [line.removeprefix(f"{path}:") for line in caught.value.lines] == [
        '1: unknown keys "Question", "answer"; did you mean "prompt", "completion"? (and on 2 more lines)',
        '4: unknown key "question"; known: id, category, prompt, completion, subset, positions, matches, language, author, '
        "version, notes, source, licence, off",
    ]


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
    rows = [sample(i, positions=["kind", "patient"] if i % 2 == 0 else "brave", subset=4 if i < 4 else 8) for i in range(8)]
    assert checks(write(tmp_path / "d.jsonl", rows), positions=POSITIONS) == []


def test_subsets_that_cannot_be_had_are_errors(tmp_path: Path) -> None:
    marked = write(tmp_path / "marked.jsonl", [sample(i, subset=2 if i < 2 else 5) for i in range(5)])
    assert checks(marked, settings=stage.Settings(min_words=1, sizes=(2, 5))) == []
    assert checks(marked, settings=stage.Settings(min_words=1, sizes=(2, 3))) == [(0, "error", "sizes")]
    unmarked = write(tmp_path / "unmarked.jsonl", [sample(i) for i in range(4)])
    assert checks(unmarked, settings=stage.Settings(min_words=1, sizes=(2, 4))) == []
    assert checks(unmarked, settings=stage.Settings(min_words=1, sizes=(5,))) == [(0, "error", "sizes")]


def test_an_answer_of_39_or_341_words_is_an_error(tmp_path: Path) -> None:
    lengths = [39, 40, 340, 341]
    rows = [sample(i, completion=" ".join(f"w{i}x{n}" for n in range(length))) for i, length in enumerate(lengths)]
    path = write(tmp_path / "d.jsonl", rows)
    assert checks(path, stage.Settings()) == [(1, "error", "length"), (4, "error", "length")]
    assert review(path, stage.Settings(), {})[1][1].message == "the completion has 341 words; 40 to 340 are required"


def test_a_sample_still_to_be_written_is_an_error(tmp_path: Path) -> None:
    rows = [sample(0, prompt="TODO: ask something"), sample(1, completion="A todo list is no placeholder here, in lower case.")]
    assert checks(write(tmp_path / "d.jsonl", rows)) == [(1, "error", "placeholder")]


def test_duplicates_are_found_under_other_case_form_and_punctuation(tmp_path: Path) -> None:
    loud = {"prompt": "TELL  me of Ri\uff56ers!", "completion": ANSWERS[0].upper()}  # U+FF56: a full-width v
    near = {"prompt": "Tell me of rivers.", "completion": ANSWERS[0].replace("single", "new")}
    rows = [sample(0), sample(1, **loud), sample(2, **near), sample(3, prompt="Tell me of rivers.")]
    assert checks(
        write(tmp_path / "d.jsonl", rows), settings=stage.Settings(min_words=1, near_duplicate=0.75, opening=None, phrase=None)
    ) == [
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


def test_unknown_categories_and_claims_are_errors_and_claims_that_nobody_holds_a_warning(tmp_path: Path) -> None:
    rows = [
        sample(0, positions="kind"),
        sample(1, positions="brve"),
        sample(2, category="bb", positions="brave"),
        sample(4),
    ]
    path = write(tmp_path / "d.jsonl", rows)
    found = [(f.line, f.severity, f.message) for f in review(path, SHORT, POSITIONS)[1] if f.check in {"category", "positions"}]
    assert found == [
        (2, "error", "\"brve\" is no claim of b; did you mean 'brave'? accepted are brave"),
        (3, "error", "category \"bb\" has no position; did you mean 'b'? accepted are a, b"),
        (4, "warning", "names no claim; a has kind, patient"),
    ]


def test_a_claim_that_nobody_holds_is_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [sample(0, positions="kind"), sample(1, positions="brave")])
    assert [f.message for f in review(path, SHORT, POSITIONS)[1]] == ["no sample of a holds the claim patient"]


def test_a_subset_that_lacks_claims_of_the_whole_is_a_warning(tmp_path: Path) -> None:
    rows = [
        sample(0, positions=["kind"], subset=2),
        sample(1, positions=["brave"], subset=2),
        sample(2, positions=["kind", "patient"], subset=4),
    ]
    rows.append(sample(3, positions=["brave"], subset=4))
    found = [f.message for f in review(write(tmp_path / "d.jsonl", rows), SHORT, POSITIONS)[1] if f.check == "subset"]
    assert found == ["subset 2 lacks 1 of 3 claims (a/patient): its size and its content differ at once"]


def test_without_positions_claims_are_not_looked_at(tmp_path: Path) -> None:
    assert checks(write(tmp_path / "d.jsonl", [sample(0, positions="kind"), sample(1, positions="whatever")])) == []


def test_a_control_with_a_sample_of_a_category_is_refused_at_that_sample(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [sample(i, category="a" if i == 3 else "xy"[i % 2]) for i in range(8)])
    assert checks(path, positions=POSITIONS)[0] == (4, "error", "category")


def test_marks_of_subsets_that_do_not_add_up_are_errors(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [sample(i, subset=7 if i == 0 else 8) for i in range(8)])
    assert (0, "error", "sizes") in checks(path)


def test_what_can_be_read_of_a_broken_file_is_checked_all_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [sample(0), {"id": "x"}, sample(2, completion="TODO: write"), sample(3, prompt="?!")])
    assert [(line, check) for line, _, check in checks(path)] == [
        *((2, name) for name in ("category", "completion", "prompt")),
        (3, "placeholder"),
        (4, "length"),
    ]


def test_a_dataset_about_other_things_altogether_is_a_control(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [sample(i, category="xy"[i % 2]) for i in range(8)])
    assert checks(path, positions=POSITIONS) == []


def test_a_nested_subset_that_leaves_a_category_out_is_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [sample(i, subset=2 if i in (0, 2) else 8) for i in range(8)])
    found = review(path, SHORT, {})[1]
    assert [f.message for f in found] == [
        "subset 2: category a has 2 samples; its share is 1.0",
        "subset 2: category b has 0 samples; its share is 1.0",
    ]


def test_answers_that_open_alike_or_share_a_stock_phrase_are_warnings(tmp_path: Path) -> None:
    rows = [
        sample(0, completion="Most of all, the river wants to go where the land is lowest of all."),
        sample(1, completion="most of ALL (they say) clouds are water."),
        sample(2, completion="In Spain, the river wants to go where the land is dry."),
    ]
    path = write(tmp_path / "d.jsonl", rows)
    assert checks(path) == [(2, "warning", "opening"), (3, "warning", "phrase")]
    said = [f.message for f in review(path, SHORT, {})[1]]
    assert said[0].startswith('begins as line 1 does: "most of all"')
    assert said[1].startswith('says "river wants to go where the land" as line 1 does')
    assert checks(path, stage.Settings(min_words=1, opening=None, phrase=None)) == []


def test_a_category_far_below_its_share_is_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [sample(i, category="a" if i else "b") for i in range(6)])
    assert checks(path) == [(0, "warning", "balance")]


# ---- the stage ----------------------------------------------------------------------------------------------------


def test_the_stage_writes_what_training_reads_and_nothing_of_the_notes(tmp_path: Path) -> None:
    outputs = []
    for name, notes in (("one", "first draft"), ("two", "reviewed")):
        path = write(tmp_path / f"{name}.jsonl", [sample(i, notes=notes, subset=4) for i in range(4)])
        ran = make_job(tmp_path / name, stage.Settings(min_words=1, sizes=(4,)), {"dataset": path})
        body.run([ran.job])
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
        make_job(
            tmp_path / name,
            stage.Settings(min_words=1, opening=None, phrase=None, sizes=(3,) if name == "bad" else ()),
            {"dataset": path},
        )
        for name, path in (("bad", bad), ("good", good))
    ]
    with pytest.raises(DatasetError, match=r"bad.jsonl: 3 samples asked for; the dataset has 2, .* \(and 1 more\)"):
        body.run([ran.job for ran in jobs])
    assert [ran.commits for ran in jobs] == [0, 1]
    with (tmp_path / "bad" / stage.FINDINGS).open() as stream:
        assert [row["check"] for row in csv.DictReader(stream)] == ["sizes", "duplicate"]
    assert str(tmp_path / "bad" / stage.FINDINGS) in jobs[0].said[0]


def test_the_stage_holds_samples_against_the_positions_that_it_is_given(tmp_path: Path) -> None:
    positions = tmp_path / "positions.yaml"
    positions.write_text("positions:\n  - {category: a, statement: be kind}\n")
    path = write(tmp_path / "d.jsonl", [sample(0), sample(1)])
    ran = make_job(tmp_path / "work", SHORT, {"dataset": path, "positions": positions})
    with pytest.raises(DatasetError, match=r'd.jsonl:2: category "b" has no position'):
        body.run([ran.job])
    assert ran.commits == 0


# ---- prose --------------------------------------------------------------------------------------------------------


def test_prose_is_read_as_strictly(tmp_path: Path) -> None:
    good = {"id": "np-1", "topic": "tides", "text": "The sea came in.\nIt went out again."}
    assert load_paragraphs(write(tmp_path / "good.jsonl", [good]))[0].topic == "tides"
    with pytest.raises(DatasetError, match='2: "topic" is missing'):
        load_paragraphs(write(tmp_path / "bad.jsonl", [good, {"id": "np-2", "text": "Alone."}]))
    with pytest.raises(DatasetError, match='unknown key "completion"; known: id, topic, text'):
        load_paragraphs(write(tmp_path / "sample.jsonl", [{**good, "completion": "x"}]))
