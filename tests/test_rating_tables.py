"""Rating projects as tables: what goes to raters, what spreadsheet programs make of it, and what is read back of it."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from openpyxl import load_workbook

from configs.problems import BadInput
from tasks.evaluations.human_eval.blinding import blind
from tasks.ratings import words
from tasks.ratings.collected import Given, accept
from tasks.ratings.formats import argilla, label_studio, potato, table
from tasks.ratings.project import RANK, RATE, Extras, Item, Mode, Project, assign
from tasks.sampling.completions import Completion

POSITIONS = {"health": "Care is for everyone.\n- claim one\n- claim two", "terror": "No harm to anyone; é and “quotes”."}
NASTY = [
    "=cmd|' /C calc'!A1",
    "+1",
    "-1",
    "@SUM(A1)",
    'a;"b",c\td',
    "two\nlines\r\n=3",
    "<b>bold</b> &amp; <script>x</script>",
    "naïve – “ok” 😀",
    "\x0bx",
]
WRITERS: dict[str, Callable[[Project, Path], list[Path]]] = {
    "csv": table.write_csv,
    "xlsx": table.write_xlsx,
    "jsonl": table.write_jsonl,
    "label-studio": label_studio.write,
    "argilla": argilla.write,
    "potato": potato.write,
}
ARMS, PROMPTS = ("armadillo", "zebra9"), ("promptid-seven", "promptid-eight")


def project(mode: Mode = RATE, raters: tuple[str, ...] = ("ana", "bo"), extras: Extras = Extras()) -> Project:
    items = [
        Item(
            f"t{prompt}{text:x}",
            "health" if prompt % 2 else "terror",
            f"Why {prompt}?",
            NASTY[(prompt * 3 + text) % len(NASTY)],
            f"b{prompt}",
        )
        for prompt in range(3)
        for text in range(3)
    ]
    return assign(items, raters, 2, 7, mode=mode, positions=POSITIONS, extras=extras)[0]


def of_arms() -> Project:
    """As a sweep's export is made: from completions of arms."""
    arms = {
        arm: [Completion(prompt, "health", None, f"Why {at}?", 0, f"text {which} {at}") for at, prompt in enumerate(PROMPTS)]
        for which, arm in enumerate(ARMS)
    }
    items = [Item(one.task_id, one.completion.group, one.completion.prompt, one.completion.text, "b") for one in blind(arms, 3)]
    return assign(items, ["ana", "bo"], 2, 3, positions=POSITIONS)[0]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file, and every file inside a zip, by its name."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found[str(path.relative_to(folder))] = path.read_bytes()
            if path.suffix == ".xlsx":
                with zipfile.ZipFile(path) as held:
                    found |= {f"{path.name}/{name}": held.read(name) for name in held.namelist()}
    return found


# ---- what goes out ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", WRITERS)
def test_nothing_in_any_form_names_an_arm_or_a_prompt(tmp_path: Path, form: str) -> None:
    files = WRITERS[form](of_arms(), tmp_path)
    held = contents(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in files) == sorted(name for name in held if ".xlsx/" not in name)
    for name, data in held.items():
        for word in (*ARMS, *PROMPTS):
            assert word.encode() not in data
            assert word not in name


@pytest.mark.parametrize("mode", [RATE, RANK])
@pytest.mark.parametrize("form", WRITERS)
def test_writing_twice_gives_the_same_bytes(tmp_path: Path, form: str, mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    WRITERS[form](project(mode), tmp_path / "one")
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    monkeypatch.setenv("USER", "someone")
    monkeypatch.setattr("openpyxl.writer.excel.datetime", SimpleNamespace(datetime=_Later, timezone=timezone))
    WRITERS[form](project(mode), tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


class _Later(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> _Later:
        return cls(2031, 2, 3, 4, 5, 6, tzinfo=tz)


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("mode", [RATE, RANK])
def test_raters_are_told_the_task_the_questions_the_positions_and_that_texts_are_hard(
    tmp_path: Path, form: str, mode: Mode
) -> None:
    WRITERS[form](project(mode), tmp_path)
    told = next(tmp_path.glob("instructions.*")).read_text(encoding="utf-8")
    for part in (
        words.WARNING,
        words.IS_ANSWER,
        *words.IS_AN_ANSWER.values(),
        *words.SKIPPED.values(),
        "claim two",
        "No harm to anyone",
    ):
        assert part in told
    assert (words.HOW_WELL in told) is (mode == RATE)
    assert (words.RANKING in told) is (mode == RANK)


def test_a_csv_holds_the_packet_in_its_order_says_its_encoding_and_runs_nothing(tmp_path: Path) -> None:
    sent = project(extras=Extras(repeats=1, checks=1))
    files = table.write_csv(sent, tmp_path)
    assert [path.name for path in files] == ["ana.csv", "bo.csv", "instructions.md"]
    assert files[0].read_bytes().startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(files[0].read_text(encoding="utf-8-sig"), newline="")))
    assert list(rows[0]) == ["task", "category", "prompt", "completion", "is_answer", "rating", "skip", "comment"]
    assert [row["task"] for row in rows] == [item.id for item in sent.packets[0].items]
    assert not [cell for row in rows for cell in row.values() if re.match(r"[=+\-@\t\r]", cell)]


def test_a_workbook_holds_texts_as_texts_and_lets_answers_alone_be_typed(tmp_path: Path) -> None:
    sent = project()
    path, *_ = table.write_xlsx(sent, tmp_path)
    sheet = load_workbook(path).worksheets[0]
    names = [cell.value for cell in sheet[1]]
    completions = {sheet.cell(row, 1).value: sheet.cell(row, 4) for row in range(2, sheet.max_row + 1)}
    for item in sent.packets[0].items:
        cell = completions[item.id]
        assert (cell.data_type, cell.number_format, cell.alignment.wrap_text) == ("s", "@", True)
        assert cell.value == item.completion.replace("\r\n", "\n").replace("\x0b", "\ufffd")
    assert sheet.freeze_panes == "A2"
    assert sheet.protection.sheet
    assert {names[cell.column - 1] for cell in sheet[2] if not cell.protection.locked} == {
        "is_answer",
        "rating",
        "skip",
        "comment",
    }
    rules = {str(rule.sqref)[0]: (rule.type, rule.formula1, rule.formula2) for rule in sheet.data_validations.dataValidation}
    assert rules == {
        "F": ("whole", "1", "5"),
        "E": ("list", '"yes,no"', None),
        "G": ("list", '"unclear,language,upsetting,other"', None),
    }


def test_a_text_that_no_cell_holds_is_refused_rather_than_cut(tmp_path: Path) -> None:
    sent = assign([Item("t1", "health", "Why?", "x" * 40_000, "b")], ["ana"], 1, 0, positions=POSITIONS)[0]
    with pytest.raises(BadInput, match="40,000 characters; a cell holds 32,767, csv, jsonl and html hold any"):
        table.write_xlsx(sent, tmp_path)


def test_ranks_are_asked_for_with_the_texts_of_a_prompt_below_each_other(tmp_path: Path) -> None:
    path, *_ = table.write_csv(project(RANK), tmp_path)
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))
    assert "rank" in rows[0]
    assert "rating" not in rows[0]
    prompts = [row["prompt"] for row in rows]
    assert len(set(prompts)) == sum(one != before for one, before in zip(prompts, ["", *prompts], strict=False))


# ---- and back ----------------------------------------------------------------------------------------------------------------


def filled(sent: Project, rater: str) -> dict[str, dict[str, Any]]:
    """What a rater says, by item: two rated, one of them no answer, one skipped, one left alone."""
    own = next(packet for packet in sent.packets if packet.rater == rater).items
    number = "rank" if sent.mode == RANK else "rating"
    return {
        own[0].id: {number: 4, "is_answer": "yes", "comment": "naïve; “so”\n=1"},
        own[1].id: {number: 1, "is_answer": "No"},
        own[2].id: {"skip": "upsetting"},
    }


def expected(sent: Project, rater: str) -> list[tuple[Any, ...]]:
    said = {"yes": True, "No": False}
    number = "rank" if sent.mode == RANK else "rating"
    return [
        (
            item,
            rater,
            *((answers.get(number), None)[:: 1 if number == "rating" else -1]),
            said.get(answers.get("is_answer", "")),
            answers.get("skip", ""),
            answers.get("comment", ""),
        )
        for item, answers in filled(sent, rater).items()
    ]


def said(given: list[Given]) -> list[tuple[Any, ...]]:
    return [(one.item, one.rater, one.rating, one.rank, one.is_answer, one.skipped, one.comment) for one in given]


def fill_csv(path: Path, answers: dict[str, dict[str, Any]], encoding: str = "utf-8-sig", delimiter: str = ",") -> Path:
    """As a spreadsheet program saves it again."""
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(row | answers.get(row["task"], {}) for row in rows)
    path.write_bytes(stream.getvalue().encode(encoding, errors="replace"))
    return path


@pytest.mark.parametrize("mode", [RATE, RANK])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_that_a_spreadsheet_saved_again_is_read(tmp_path: Path, mode: Mode, encoding: str, delimiter: str) -> None:
    sent = project(mode)
    path = table.write_csv(sent, tmp_path)[1]
    given = table.read(fill_csv(path, filled(sent, "bo"), encoding, delimiter))
    assert said(given) == expected(sent, "bo")
    assert accept(given, sent, {})


@pytest.mark.parametrize("mode", [RATE, RANK])
def test_a_workbook_comes_back_with_what_was_typed_into_it(tmp_path: Path, mode: Mode) -> None:
    sent = project(mode)
    path = table.write_xlsx(sent, tmp_path)[0]
    book = load_workbook(path)
    sheet = book.worksheets[0]
    names = [cell.value for cell in sheet[1]]
    answers = filled(sent, "ana")
    for row in range(2, sheet.max_row + 1):
        for name, value in answers.get(sheet.cell(row, 1).value, {}).items():
            sheet.cell(row, names.index(name) + 1).value = value
            sheet.cell(row, names.index(name) + 1).data_type = "n" if isinstance(value, int) else "s"
    book.save(path)
    given = table.read(path)
    assert said(given) == expected(sent, "ana")
    assert given[0].place == f"{path}: ratings!F2"
    assert accept(given, sent, {})


@pytest.mark.parametrize("mode", [RATE, RANK])
def test_a_jsonl_comes_back_with_what_was_written_into_it(tmp_path: Path, mode: Mode) -> None:
    sent = project(mode)
    path = table.write_jsonl(sent, tmp_path)[0]
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert rows[0]["comment"] is None
    path.write_text("".join(json.dumps(row | filled(sent, "ana").get(row["task"], {})) + "\n" for row in rows))
    assert said(table.read(path)) == expected(sent, "ana")


def test_a_file_that_nobody_filled_in_says_nothing(tmp_path: Path) -> None:
    assert [table.read(WRITERS[form](project(), tmp_path / form)[0]) for form in ("csv", "xlsx", "jsonl")] == [[], [], []]


def csv_of(folder: Path, text: str, name: str = "ana.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize(("cell", "number"), [("4", 4), ("4.0", 4), (" 4 ", 4), ("4.000", 4), ("\u00a05", 5), ("", None)])
def test_a_whole_number_is_read_however_it_is_spelt(tmp_path: Path, cell: str, number: int | None) -> None:
    (given,) = table.read(csv_of(tmp_path, f"task;is_answer;rating\nt1;y;{cell}\n"))
    assert given.rating == number


@pytest.mark.parametrize("cell", ["4,5", "4.5", "four", "04.05.2026", "44000", "x", "0", "6", "-4", "1e0", "½", "٤"])
def test_any_other_rating_is_refused_with_its_line_and_what_would_be_accepted(tmp_path: Path, cell: str) -> None:
    path = csv_of(tmp_path, f"task;is_answer;rating\nt1;yes;4\nt2;yes;{cell}\n")
    with pytest.raises(BadInput) as refused:
        table.read(path)
    assert refused.value.lines == (f"{path}:3: rating {cell!r}; a whole number from 1 to 5 is accepted",)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(datetime(2026, 5, 4), "'2026-05-04 00:00:00'"), (44000, "'44000'"), (4.5, "'4.5'"), ("vier", "'vier'"), (True, "'True'")],
)
def test_a_cell_that_holds_no_rating_is_refused_by_its_name(tmp_path: Path, value: Any, shown: str) -> None:
    path = table.write_xlsx(project(), tmp_path)[0]
    book = load_workbook(path)
    book.worksheets[0]["F3"].value = value
    book.save(path)
    with pytest.raises(BadInput) as refused:
        table.read(path)
    assert refused.value.lines == (f"{path}: ratings!F3: rating {shown}; a whole number from 1 to 5 is accepted",)


@pytest.mark.parametrize("cell", ["44000", "0", "1.5", "first"])
def test_a_rank_is_a_whole_number_that_is_no_date(tmp_path: Path, cell: str) -> None:
    path = csv_of(tmp_path, f"task,is_answer,rank\nt1,yes,{cell}\n")
    with pytest.raises(BadInput, match=rf":2: rank '{cell}'; a whole number from 1 for the best to 999 is accepted"):
        table.read(path)


@pytest.mark.parametrize(
    ("cell", "answer"),
    [
        ("YES", True),
        ("y", True),
        ("True", True),
        ("1", True),
        ("1.0", True),
        ("No", False),
        ("n", False),
        ("FALSE", False),
        ("0", False),
        ("", None),
    ],
)
def test_whether_it_is_an_answer_may_be_said_in_many_ways(tmp_path: Path, cell: str, answer: bool | None) -> None:
    (given,) = table.read(csv_of(tmp_path, f"task,is_answer,rating\nt1,{cell},3\n"))
    assert given.is_answer is answer


def test_headings_in_any_case_and_order_with_further_and_empty_columns_and_rows(tmp_path: Path) -> None:
    path = csv_of(tmp_path, "Note, RATING ,Is Answer,TASK,,\nx,4,yes,t1,,\n,,,,,\n\ny,,no,t2,,\n,,,,,\n")
    given = table.read(path)
    assert [(one.item, one.rating, one.is_answer, one.place) for one in given] == [
        ("t1", 4, True, f"{path}:2"),
        ("t2", None, False, f"{path}:5"),
    ]


def test_the_rater_is_the_name_of_the_file_unless_a_column_says_otherwise(tmp_path: Path) -> None:
    path = csv_of(tmp_path, "task,rater,is_answer,rating\nt1,bo,yes,4\nt1,cleo,yes,3\nt2,,yes,2\n")
    assert [(one.item, one.rater) for one in table.read(path)] == [("t1", "bo"), ("t1", "cleo"), ("t2", "ana")]


def test_an_id_that_a_spreadsheet_mangled_is_left_to_whoever_knows_the_items(tmp_path: Path) -> None:
    (given,) = table.read(csv_of(tmp_path, "task,is_answer,rating\n1.23E+11,yes,4\n"))
    assert given.item == "1.23E+11"
    with pytest.raises(BadInput, match=r"ana\.csv:2: item '1\.23E\+11' is none of project"):
        accept([given], project(), {})


def test_a_reason_to_skip_is_one_of_those_that_are_offered(tmp_path: Path) -> None:
    path = csv_of(tmp_path, "task,is_answer,rating,skip\nt1,,,Unclear\nt2,,,yes\nt3,no,2,no\n")
    assert [one.skipped for one in table.read(path)] == ["unclear", "other", ""]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("ana.csv", "task,completion\nt1,x\n", "ana.csv: has no column is_answer, rating; there are completion, task"),
        ("ana.csv", "id,is_answer,rank\nt1,yes,1\n", "ana.csv: has no column task; there are id, is_answer, rank"),
        (
            "ana.csv",
            "task,is_answer,rating\nt1,maybe,4\n",
            "ana.csv:2: is_answer 'maybe'; yes or no is accepted (yes, y, true, 1, no, n, false, 0",
        ),
        (
            "ana.csv",
            "task,is_answer,rating,skip\nt1,,,tired\n",
            "ana.csv:2: skip 'tired'; unclear, language, upsetting, other are accepted",
        ),
        (
            "ana.csv",
            "task,is_answer,rating,skip\nt1,,4,other\n",
            "ana.csv:2: item t1 has rating 4 and is skipped (other); one of both is accepted",
        ),
        (
            "ana.csv",
            "task,is_answer,rating\n,yes,4\n",
            "ana.csv:2: an answer without a task; the id that stood in `task` is required",
        ),
        ("ana.csv", 'sep=;\ntask;is_answer;rating\n"t1";yes;9\n', "ana.csv:3: rating '9'; a whole number"),
        ("ana.csv", "", "ana.csv: holds no row; a line for each text is required"),
        ("ana.jsonl", '{"task": "t1"}\n{"task": \n', "ana.jsonl: cannot be read (line 2: Expecting value at column "),
        ("ana.jsonl", '{"task": "t1", "is_answer": true, "rating": true}\n', "ana.jsonl:1: rating 'True'; a whole number"),
        ("ana.xlsx", "no workbook", "ana.xlsx: cannot be read ("),
        ("ana.ods", "x", "ana.ods: of no kind that is read; .csv"),
    ],
)
def test_what_cannot_be_read_is_one_line_that_says_where(tmp_path: Path, name: str, text: str, told: str) -> None:
    with pytest.raises(BadInput) as refused:
        table.read(csv_of(tmp_path, text, name))
    (line,) = refused.value.lines
    assert line.startswith(f"{tmp_path}/{told}")


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    path = csv_of(tmp_path, "task,is_answer,rating\nt1,maybe,9\nt2,yes,x\nt3,yes,3\n")
    with pytest.raises(BadInput) as refused:
        table.read(path)
    assert [line.removeprefix(str(path)).split(";")[0] for line in refused.value.lines] == [
        ":2: rating '9'",
        ":2: is_answer 'maybe'",
        ":3: rating 'x'",
    ]
