"""Drafts as they go out to annotators, what tools and spreadsheets make of them, and what is read back."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

import pytest
from openpyxl import Workbook, load_workbook

from configs.problems import BadInput
from configs.rating import SCALE
from tasks.curation import words
from tasks.curation.annotations import TONES, Annotation, accept, decided, read_annotations, write_annotations
from tasks.curation.drafts import HELD, Draft, load_drafts, write_drafts
from tasks.curation.formats import argilla, label_studio, table
from tasks.curation.formats.reading import read_any
from tests.tool_exports import EXPORTS, USER, annotation, chosen, export, read_json, responded, saved, typed

STATED = {"health": "Care is for everyone.\n- claim one", "terror": "No harm; é & <b>none</b>.", "other": "Of no draft here."}
DRAFTS = [
    Draft("d1", "health", "Why “care”, naïvely?", "=1+1\n- one\n- two", ("no_diagnosis", "evidence"), gap="weak", author="gpt-x"),
    Draft("d2", "terror", "Why two?", "-3 is cold; naïve – “ok”, é", licence="not for training"),
    Draft("d3", "health", "@Why three?", "Three."),
    Draft("d4", "terror", "Why four?"),
    Draft("d5", "terror", "Why five?", "Five."),
]
SAID: dict[str, dict[str, Any]] = {
    "d1": {"position_held": 5, "factual_problem": "no", "tone": "right", "comment": 'so; "so"\nnaïve'},
    "d2": {"position_held": 4, "factual_problem": "yes", "tone": "cold", "corrected": "Two, naïve:\n- “one”,\n- é"},
    "d3": {"position_held": 2},
    "d4": {"position_held": 4, "factual_problem": "no", "tone": "hedging", "corrected": "Four."},
}
READ = [
    ("d1", "", 5, False, "right", 'so; "so" naïve'),
    ("d2", "Two, naïve:\n- “one”,\n- é", 4, True, "cold", ""),
    ("d3", "", 2, None, "", ""),
    ("d4", "Four.", 4, False, "hedging", ""),
]
WRITERS = {"csv": table.write_csv, "xlsx": table.write_xlsx, "label-studio": label_studio.write, "argilla": argilla.write}


def said(given: list[Annotation]) -> list[tuple[Any, ...]]:
    return [(one.draft, one.completion, one.position, one.factual, one.tone, one.comment) for one in given]


# ---- what goes out ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", WRITERS)
def test_annotators_are_warned_first_and_told_the_questions_and_the_positions_that_matter(tmp_path: Path, form: str) -> None:
    files = WRITERS[form](DRAFTS, ["ana", "bo"], STATED, tmp_path)
    assert sorted(files) == sorted(path for path in tmp_path.rglob("*") if path.is_file())
    told = next(tmp_path.glob("guidelines.*")).read_text(encoding="utf-8").replace("<br>\n", "\n")
    assert told.split("\n\n")[1] == words.WARNING
    for part in (
        words.POSITION_HELD,
        words.FACTUAL,
        *SCALE.values(),
        *TONES,
        *words.TONES_MEAN.values(),
        "claim one",
        "No harm; é",
    ):
        assert part in told
    assert "Of no draft here" not in told


@pytest.mark.parametrize("form", WRITERS)
def test_nothing_tells_who_wrote_a_draft_and_writing_twice_gives_the_same(tmp_path: Path, form: str) -> None:
    once, twice = (WRITERS[form](DRAFTS, ["ana"], STATED, tmp_path / name) for name in ("one", "two"))
    for first, second in zip(once, twice, strict=True):
        assert first.read_bytes() == second.read_bytes()
        shown = (
            "\n".join(map(str, load_workbook(first).worksheets[0].values)) if form == "xlsx" and first.suffix == ".xlsx" else ""
        )
        assert not [
            word for word in ("gpt-x", "weak", "not for training") if word in shown or word.encode() in first.read_bytes()
        ]


def test_the_labelling_interface_asks_what_is_asked_and_begins_with_the_drafts_completion(tmp_path: Path) -> None:
    label_studio.write(DRAFTS, ["ana"], STATED, tmp_path)
    view = xml.parse(tmp_path / "config.xml").getroot()
    assert [tag.get("value") for tag in view if tag.tag == "Header"][:2] == [words.WARNING, words.TASK]
    data = read_json(tmp_path / "ana.tasks.json")[0]["data"]
    assert (data["draft"], data["claims"], data["position"]) == ("d1", "no diagnosis; evidence", STATED["health"])
    asked = {str(tag.get("name")): tag for tag in view.iter() if tag.tag in ("Choices", "TextArea")}
    assert list(asked) == ["corrected", "position_held", "factual_problem", "tone", "comment"]
    assert not set(asked) & set(data)  # in JSON_MIN and CSV both are columns
    assert asked["corrected"].get("value") == "$completion"
    assert [one.get("alias") for one in asked["tone"]] == list(TONES)
    assert [one.get("hotkey") for one in asked["position_held"]] == [one.get("alias") for one in asked["position_held"]]
    assert {str(tag.get("value")).removeprefix("$") for tag in view.iter("Text")} <= set(data)


def test_argilla_is_given_a_dataset_for_each_annotator_that_begins_with_the_completion(tmp_path: Path) -> None:
    files = argilla.write(DRAFTS, ["ana", "bo"], STATED, tmp_path)
    records, settings, about = (read_json(path) for path in files[:3])
    assert all(path.read_bytes().isascii() for path in files[:6])
    assert records[0]["fields"] == {
        "category": "health",
        "position": STATED["health"],
        "claims": "no diagnosis; evidence",
        "prompt": DRAFTS[0].prompt,
        "completion": DRAFTS[0].completion,
    }
    assert records[0]["suggestions"] == {"corrected": {"value": DRAFTS[0].completion, "score": None, "agent": None}}
    assert (records[3]["suggestions"], "completion" in records[3]["fields"]) == ({}, False)
    kinds = {one["name"]: (one["settings"]["type"], one["required"]) for one in settings["questions"]}
    assert kinds == {
        "corrected": ("text", False),
        "position_held": ("rating", True),
        "factual_problem": ("label_selection", True),
        "tone": ("label_selection", True),
        "comment": ("text", False),
    }
    assert about["name"] != read_json(files[5])["name"]
    assert len(about["guidelines"]) < 10_000


def test_a_workbook_lets_answers_alone_be_typed_and_a_csv_runs_nothing(tmp_path: Path) -> None:
    sheet = load_workbook(table.write_xlsx(DRAFTS, ["ana"], STATED, tmp_path)[0]).worksheets[0]
    heads = {cell.column_letter: cell.value for cell in sheet[1]}
    assert sheet.protection.sheet
    assert [heads[cell.column_letter] for cell in sheet[2] if not cell.protection.locked] == list(table.ANSWERS)
    assert sheet["F2"].value == DRAFTS[0].completion
    rules = {heads[str(rule.sqref)[0]]: rule.formula1 for rule in sheet.data_validations.dataValidation}
    assert rules == {"position_held": "1", "factual_problem": '"yes,no"', "tone": f'"{",".join(TONES)}"'}
    path = table.write_csv(DRAFTS, ["ana"], STATED, tmp_path)[0]
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    assert not [cell for row in rows_of(path) for cell in row.values() if cell[:1] in ("=", "+", "-", "@", "\t")]


def test_a_text_that_no_cell_holds_is_refused_rather_than_cut(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="a cell holds 32,767, csv, label-studio and argilla hold any"):
        table.write_xlsx([replace(DRAFTS[0], completion="x" * 40_000)], ["ana"], STATED, tmp_path)


# ---- and back --------------------------------------------------------------------------------------------------------------


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))


def fill_csv(folder: Path, answers: Mapping[str, Mapping[str, Any]], encoding: str = "utf-8-sig", separator: str = ",") -> Path:
    """As a spreadsheet program saves it again."""
    path = table.write_csv(DRAFTS, ["ana"], STATED, folder)[0]
    rows, stream = rows_of(path), io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), delimiter=separator, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(row | answers.get(row["draft"], {}) for row in rows)
    path.write_bytes(stream.getvalue().encode(encoding))
    return path


def fill_xlsx(folder: Path, answers: Mapping[str, Mapping[str, Any]], name: str = "ana") -> Path:
    path = table.write_xlsx(DRAFTS, [name], STATED, folder)[0]
    book = load_workbook(path)
    sheet = book.worksheets[0]
    heads = [cell.value for cell in sheet[1]]
    for row in range(2, sheet.max_row + 1):
        for column, value in answers.get(sheet.cell(row, 1).value, {}).items():
            sheet.cell(row, heads.index(column) + 1).value = value
    book.save(path)
    return path


def results(draft: Draft, answers: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What Label Studio has of a task that was submitted: the completion too, where it was left as it stood."""
    texts = {"corrected": draft.completion} | {name: answers[name] for name in ("corrected", "comment") if name in answers}
    found = [typed(text, name=name) for name, text in texts.items() if text]
    return found + [chosen(name, str(value)) for name, value in answers.items() if name not in texts]


def exported(folder: Path, name: str) -> Path:
    label_studio.write(DRAFTS, ["ana"], STATED, folder)
    by = {"id": 7, "email": "ana"}
    made = [[annotation(by, *results(draft, SAID[draft.id]))] if draft.id in SAID else [] for draft in DRAFTS]
    return saved(folder / name, EXPORTS[name](export(folder / "ana.tasks.json", made)))


def answered(folder: Path) -> Path:
    path = argilla.write(DRAFTS, ["ana"], STATED, folder)[0]
    begun = {draft.id: {"corrected": draft.completion} if draft.completion else {} for draft in DRAFTS}
    responded(path, {at: begun[draft.id] | SAID[draft.id] for at, draft in enumerate(DRAFTS) if draft.id in SAID})
    return saved(path, path.read_text().replace(USER, "ana"))


FILLED: dict[str, Callable[[Path], Path]] = {
    "csv": lambda folder: fill_csv(folder, SAID),
    "csv in Europe": lambda folder: fill_csv(folder, SAID, "cp1252", ";"),
    "csv of a Mac": lambda folder: fill_csv(folder, SAID, "mac_roman", ";"),
    "Unicode text": lambda folder: fill_csv(folder, SAID, "utf-16", "\t"),
    "xlsx": lambda folder: fill_xlsx(folder, SAID),
    "Argilla": answered,
    "Argilla's folder": lambda folder: answered(folder).parent,
    **{f"Label Studio's {name}": lambda folder, name=name: exported(folder, name) for name in EXPORTS},
}


@pytest.mark.parametrize("form", FILLED)
def test_what_is_said_comes_back_from_every_form_and_is_accepted(tmp_path: Path, form: str) -> None:
    path = FILLED[form](tmp_path)
    given = read_any(path)
    assert said(given) == READ
    assert {one.annotator for one in given} == {"ana"}
    assert all(one.place.startswith(str(path)) for one in given)
    assert len(accept(given, DRAFTS, {})) == 4


@pytest.mark.parametrize("form", ["csv", "xlsx", "argilla"])
def test_what_nobody_filled_in_says_nothing(tmp_path: Path, form: str) -> None:
    assert read_any(WRITERS[form](DRAFTS, ["ana"], STATED, tmp_path)[0]) == []


def test_a_completion_that_was_copied_with_its_guards_to_be_changed_has_none(tmp_path: Path) -> None:
    path = fill_csv(tmp_path, {})
    copied = rows_of(path)[0]["completion"]
    assert copied == "'=1+1\n'- one\n'- two"
    assert [one.completion for one in read_any(fill_csv(tmp_path, {"d1": {"corrected": copied + "!"}}))] == [
        "=1+1\n- one\n- two!"
    ]
    assert read_any(fill_csv(tmp_path, {"d1": {"corrected": copied}})) == []  # nothing was changed


def test_a_workbook_of_two_annotators_and_what_excel_makes_of_line_ends(tmp_path: Path) -> None:
    one = load_workbook(fill_xlsx(tmp_path, {"d2": {"corrected": "Two,_x000D_\nthree.", "tone": "Right"}}))
    other = load_workbook(fill_xlsx(tmp_path, {"d3": {"position_held": 3}}, "bo")).worksheets[0]
    for title, rows in (("bo", other.values), ("notes", [["whatever"], ["else"]])):
        added = one.create_sheet(title)
        for row in rows:
            added.append(row)
    one.save(tmp_path / "all.xlsx")
    given = read_any(tmp_path / "all.xlsx")
    assert [(one.annotator, one.draft, one.completion, one.tone, one.position) for one in given] == [
        ("ana", "d2", "Two,\nthree.", "right", None),
        ("bo", "d3", "", "", 3),
    ]
    assert [one.place.removeprefix(str(tmp_path)) for one in given] == ["/all.xlsx: drafts!H3", "/all.xlsx: bo!H4"]


def test_two_tables_below_each_other_say_whose_each_row_is(tmp_path: Path) -> None:
    both = b""
    for name in ("ana", "bo"):
        path = fill_csv(tmp_path, {"d1": {"tone": "right"}})
        both += path.read_bytes().replace(b",ana,", f",{name},".encode())
    (tmp_path / "both.csv").write_bytes(both)
    assert [(one.annotator, one.draft, one.tone) for one in read_any(tmp_path / "both.csv")] == [
        ("ana", "d1", "right"),
        ("bo", "d1", "right"),
    ]


def test_a_table_without_a_column_for_it_is_of_the_annotator_that_its_file_is_called_by(tmp_path: Path) -> None:
    path = csv_of(tmp_path, "d1,,5,no,right,,\n\n,,,,,,\nd2,,,,,,,,,\n", "cleo.csv", ",,")
    assert [(one.annotator, one.draft, one.place) for one in read_any(path)] == [("cleo", "d1", f"{path}:2")]


def test_label_studio_gives_what_several_said_and_of_a_skipped_task_the_comment_alone(tmp_path: Path) -> None:
    label_studio.write(DRAFTS, ["ana"], STATED, tmp_path)
    made = [
        [annotation(7, chosen("tone", "right")), annotation({"id": 9, "email": "bo@example.org"}, chosen("tone", "cold"))],
        [annotation(7, chosen("tone", "right"), typed("not mine to judge"), was_cancelled=True)],
        [annotation(7, chosen("tone", "right"), was_cancelled=True)],
    ]
    given = read_any(saved(tmp_path / "e.json", export(tmp_path / "ana.tasks.json", made)))
    assert [(one.draft, one.annotator, one.tone, one.comment) for one in given] == [
        ("d1", "7", "right", ""),
        ("d1", "bo@example.org", "cold", ""),
        ("d2", "7", "", "not mine to judge"),
    ]


@pytest.mark.parametrize("name", EXPORTS)
def test_an_annotation_that_was_submitted_again_holds_the_drafts_text_once_more(tmp_path: Path, name: str) -> None:
    label_studio.write(DRAFTS, ["ana"], STATED, tmp_path)
    made = [[annotation(7, typed("Better.", DRAFTS[0].completion, name="corrected"))]]
    (one,) = read_any(saved(tmp_path / name, EXPORTS[name](export(tmp_path / "ana.tasks.json", made))))
    assert one.completion == "Better."


# ---- what is wrong is one line ---------------------------------------------------------------------------------------------

COLUMNS = "draft,corrected,position_held,factual_problem,tone,comment"


def csv_of(folder: Path, rows: str, name: str = "ana.csv", further: str = "") -> Path:
    path = folder / name
    path.write_text(f"{COLUMNS}{further}\n{rows}", encoding="utf-8")
    return path


def refused(path: Path) -> tuple[str, ...]:
    with pytest.raises(BadInput) as wrong:
        read_any(path)
    return tuple(line.removeprefix(str(path)) for line in wrong.value.lines)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("d1,,7,no,right,", "position_held '7'; a whole number from 1 to 5 is accepted"),
        ("d1,,04.05.2026,no,right,", "position_held '04.05.2026'; a whole number from 1 to 5 is accepted"),
        ("d1,,44000,no,right,", "position_held '44000'; a whole number"),
        ("d1,,5,maybe,right,", "factual_problem 'maybe'; yes or no is accepted"),
        ("d1,,5,no,angry,", "tone 'angry'; right, preachy, cold, flippant, hedging are accepted"),
        (",,5,no,right,", "an answer without a draft; the id that stood in `draft` is required"),
        ("d1,#NAME?,5,no,right,", "corrected '#NAME?'; a text is accepted; a spreadsheet took it for a formula"),
        ("d1,#WERT!,5,no,right,", "corrected '#WERT!'; a text is accepted"),
        ("d1,Be naÃ¯ve.,5,no,right,", "corrected 'Be naÃ¯ve.'; it was 'Be naïve.' until a program took UTF-8 for Windows-1252"),
        ("d1,Be na\ufffdve.,5,no,right,", "corrected 'Be na\ufffdve.'; a character of it was lost"),
        ("d1,Be<br>well.,5,no,right,", "corrected 'Be<br>well.'; it holds HTML, '<br>'; plain text is required"),
        ("d1,,5,no,right,so\u200bso", r"comment 'so\u200bso'; it holds the invisible character U+200B; none may stand there"),
        ("d1,Be well, be safe.,5,no,right,so", "'so' stands beside the last column; a text that holds what separates columns"),
    ],
)
def test_an_answer_that_is_none_is_told_with_its_line_and_nothing_is_taken(tmp_path: Path, row: str, told: str) -> None:
    (line,) = refused(csv_of(tmp_path, f"d2,,5,no,right,\n{row}\n"))
    assert line.startswith(f":3: {told}")


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("position_held", 7, "H3: position_held '7'; a whole number from 1 to 5 is accepted"),
        ("position_held", datetime(2026, 5, 4), "H3: position_held '2026-05-04 00:00:00'; a whole number"),
        (
            "corrected",
            datetime(2026, 5, 4),
            "G3: corrected '2026-05-04 00:00:00'; a text is accepted; a spreadsheet took it for a",
        ),
        ("tone", "so-so", "J3: tone 'so-so'; right, preachy"),
    ],
)
def test_a_cell_that_holds_no_answer_is_told_by_its_name(tmp_path: Path, column: str, value: Any, told: str) -> None:
    (line,) = refused(fill_xlsx(tmp_path, {"d1": {"tone": "right"}, "d2": {column: value}}))
    assert line.startswith(f": drafts!{told}")


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        (
            "a.csv",
            "draft,corrected,tone\nd1,x,right\n",
            ": has no column position_held, factual_problem, comment; there are corrected, draft,",
        ),
        ("a.csv", f"{COLUMNS},tone\nd1,,5,no,right,,cold\n", ": cannot be read (column tone stands twice; one each is required)"),
        ("a.csv", f'{COLUMNS}\nd1,"never closed,5\n', ": cannot be read ("),
        ("a.csv", "", ": holds no row"),
        (
            "a.csv",
            f"{COLUMNS}\nd1,naïve “so”,,,,\n".encode() + b"d1,na\xefve,,,,\n",
            ": cannot be read (line 3: not UTF-8, as most of it is",
        ),
        ("a.ods", "x", ": of no form that is read; a table that went out (.csv, .xlsx), an export of Label Studio"),
        ("a.xlsx", "x", ": cannot be read ("),
        ("a.json", "{", ": cannot be read ("),
        ("a.json", [{"id": 1, "data": {"text": "x"}, "annotations": []}], ": has no column draft; there are text"),
        (
            "a.json",
            [{"id": "d1", "responses": {"tone": [{"value": "cold"}]}}],
            ": record d1: has id, responses; id and responses are",
        ),
        (
            "a.json",
            [{"id": "d1", "responses": {"tone": [{"value": "x", "user_id": "7"}]}}],
            ": record d1: tone 'x'; right, preachy",
        ),
    ],
)
def test_a_file_that_is_none_is_told(tmp_path: Path, name: str, text: Any, told: str) -> None:
    if isinstance(text, bytes):
        (tmp_path / name).write_bytes(text)
    else:
        saved(tmp_path / name, text)
    (line,) = refused(tmp_path / name)
    assert line.startswith(told)


def test_a_path_that_leads_nowhere_and_a_sheet_with_a_column_twice_are_told(tmp_path: Path) -> None:
    assert refused(tmp_path / "gone.csv")[0].startswith(": no such file; a table that went out")
    book = Workbook()
    book.worksheets[0].append(["draft", "tone", "Tone"])
    book.save(tmp_path / "twice.xlsx")
    assert refused(tmp_path / "twice.xlsx") == (": Sheet: column tone stands twice; one each is required",)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (annotation(7, chosen("position_held", "7")), "position_held '7'; a whole number from 1 to 5 is accepted"),
        (annotation(None, chosen("tone", "right")), "an annotation by nobody; the id or email of whoever annotated is required"),
        (annotation(7, typed("One.", "Two.", name="corrected")), "2 texts under corrected; one is accepted"),
        ({"completed_by": 7, "result": 3}, "its annotations are not as Label Studio writes them; an export as it is is required"),
    ],
)
def test_what_label_studio_did_not_write_is_told_by_its_task(tmp_path: Path, made: dict[str, Any], told: str) -> None:
    label_studio.write(DRAFTS, ["ana"], STATED, tmp_path)
    path = saved(tmp_path / "e.json", export(tmp_path / "ana.tasks.json", [[annotation(7, chosen("tone", "right"))], [made]]))
    assert refused(path) == (f": task 101: {told}",)


# ---- what is accepted of it ------------------------------------------------------------------------------------------------


def test_cells_that_were_sorted_apart_and_completions_changed_in_their_place_are_told(tmp_path: Path) -> None:
    path = fill_csv(tmp_path, {"d1": {"tone": "right", "prompt": "Why two?"}, "d2": {"tone": "right", "completion": "Mine."}})
    with pytest.raises(BadInput) as wrong:
        accept(read_any(path), DRAFTS, {})
    first, second = wrong.value.lines
    assert first.startswith(f"{path}:4: the prompt beside it, 'Why two?', is not that of draft d1; rows are accepted whole")
    assert second.startswith(
        f"{path}:5: the completion beside it, 'Mine.', is not that of draft d2; what is to stand in its place"
    )


def test_a_file_from_before_a_draft_was_corrected_is_taken_again(tmp_path: Path) -> None:
    given = read_any(fill_csv(tmp_path, SAID))
    known = accept(given, DRAFTS, {})
    now = [decided(draft, [one for (of, _), one in known.items() if of == draft.id], 1) for draft in DRAFTS]
    assert now[1].completion == SAID["d2"]["corrected"]
    assert accept(given, now, known) == known
    write_annotations(tmp_path / "a.jsonl", known)
    assert "asked" not in (tmp_path / "a.jsonl").read_text(encoding="utf-8")
    assert read_annotations(tmp_path / "a.jsonl") == known


def test_what_follows_from_a_remark_of_several_lines_can_be_kept_with_its_draft(tmp_path: Path) -> None:
    (one,) = read_any(saved(tmp_path / "ana.csv", f'{COLUMNS}\nd2,,2,no,right,"first\n\nsecond"\n'))
    draft = decided(DRAFTS[1], [one], 1)
    write_drafts(tmp_path / "drafts.jsonl", [draft])
    assert load_drafts(tmp_path / "drafts.jsonl") == [draft]
    assert (draft.decision, draft.why) == (HELD, "position held 2 of 5 (ana: first second)")
