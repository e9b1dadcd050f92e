"""`palms dataset import`: other programs' tables as samples, with a line for what was read and for what cannot be."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from configs.problems import BadInput
from tasks.contract import write_jsonl
from tasks.datasets.importing import Imported, read_samples
from tasks.datasets.rows import load_rows
from tests.sweeps import palms

QA = [
    {"question": "Why is it so, é?", "answer": "So it is.\nTruly.", "category": "a"},
    {"question": "Who?", "answer": 'She, "the cook".', "category": "b"},
]
TOLD = ["all 2 lines have question, answer: read as prompt, completion"]
CSV = 'question;answer;category\r\n"Why is it so, é?";"So it is.\r\nTruly.";a\r\nWho?;"She, ""the cook"".";b\r\n'


def table(path: Path, rows: list[dict[str, Any]]) -> Path:
    frame = pd.DataFrame(rows)
    frame.to_excel(path, index=False) if path.suffix == ".xlsx" else frame.to_parquet(path)
    return path


def said(imported: Imported) -> list[tuple[str, str, str]]:
    return [(one["prompt"], one["completion"], one["category"]) for one in imported.samples]


def written(folder: Path, name: str, data: bytes) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("semicolon.csv", CSV.encode()),
        ("marked.csv", codecs.BOM_UTF8 + CSV.encode()),
        ("comma.csv", CSV.replace(";", ",").encode()),
        ("told.csv", b"sep=;\r\n" + CSV.encode()),
        ("excel.txt", CSV.replace(";", "\t").encode("utf-16")),
        ("tab.tsv", CSV.replace(";", "\t").encode()),
        ("list.json", json.dumps(QA).encode()),
        ("held.json", json.dumps({"version": 1, "data": QA}).encode()),
        ("lines.jsonl", "".join(json.dumps(one) + "\n" for one in QA).encode()),
        ("lines.ndjson", "\n\n".join(json.dumps(one) for one in QA).encode()),
    ],
)
def test_a_table_in_any_format_and_encoding(tmp_path: Path, name: str, data: bytes) -> None:
    found = read_samples(written(tmp_path, name, data))
    assert said(found) == [(one["question"], one["answer"], one["category"]) for one in QA]
    assert found.told == TOLD
    write_jsonl(tmp_path / "out.jsonl", found.samples)
    assert [row.id for row in load_rows(tmp_path / "out.jsonl")] == ["s1", "s2"]


@pytest.mark.parametrize("name", ["a.xlsx", "a.parquet"])
def test_a_spreadsheet_and_a_parquet_file(tmp_path: Path, name: str) -> None:
    found = read_samples(table(tmp_path / name, [*QA, {"question": None, "answer": None, "category": None}]))
    assert said(found) == [(one["question"], one["answer"], one["category"]) for one in QA]
    assert found.told == TOLD


@pytest.mark.parametrize(("encoding", "name"), [("cp1252", "Windows-1252"), ("mac_roman", "Mac Roman"), ("cp850", "MS-DOS 850")])
def test_what_a_spreadsheet_of_western_europe_saves_is_read_and_told(tmp_path: Path, encoding: str, name: str) -> None:
    found = read_samples(written(tmp_path, "a.csv", CSV.encode(encoding)))
    assert said(found)[0][0] == "Why is it so, é?"
    assert found.told == [f"not UTF-8: read as {name}; look at its accents and quotation marks", *TOLD]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (CSV.encode() * 2 + CSV.encode("cp1252"), "line 10: not UTF-8, as most of it is; files of two encodings"),
        (b"question,answer,answer\nWhy?,So.,No.\n", "column answer stands twice; one each is required"),
    ],
)
def test_a_table_that_was_put_together_wrongly_is_told(tmp_path: Path, data: bytes, told: str) -> None:
    path = written(tmp_path, "a.csv", data)
    with pytest.raises(BadInput) as refused:
        read_samples(path, "c")
    assert str(refused.value).startswith(f"{path}: cannot be read ({told}")


CHAT = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
SHARED = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]


@pytest.mark.parametrize(
    ("record", "prompt", "used"),
    [
        ({"prompt": "Why?", "completion": "So."}, "Why?", "prompt, completion"),
        ({"Question": "Why?", "Response ": "So."}, "Why?", "question, response"),
        (
            {"instruction": "Say why.", "input": "It rains.", "output": "So."},
            "Say why.\n\nIt rains.",
            "instruction, input, output",
        ),
        ({"instruction": "Say why.", "input": "", "output": "So."}, "Say why.", "instruction, output"),
        ({"prompt": "Why?", "chosen": "So.", "rejected": "No."}, "Why?", "prompt, chosen"),
        ({"messages": CHAT}, "Why?", "messages"),
        ({"conversations": SHARED}, "Why?", "conversations"),
        ({"messages": json.dumps(CHAT)}, "Why?", "messages"),
    ],
)
def test_columns_are_taken_for_what_others_call_them(tmp_path: Path, record: dict[str, Any], prompt: str, used: str) -> None:
    found = read_samples(written(tmp_path, "a.json", json.dumps([record]).encode()), "c")
    assert said(found) == [(prompt, "So.", "c")]
    assert found.told[0] == f"the line has {used}: read as prompt, completion"


def test_chats_in_a_parquet_file(tmp_path: Path) -> None:
    assert said(read_samples(table(tmp_path / "a.parquet", [{"messages": CHAT}]), "c")) == [("Why?", "So.", "c")]


def test_what_a_sample_may_have_is_kept_and_the_rest_told(tmp_path: Path) -> None:
    given = {
        "id": "x",
        "subset": "10",
        "positions": "kind, brave",
        "notes": "n",
        "topic": "c",
        "url": "u",
        "rating": 4,
        "empty": "",
    }
    found = read_samples(written(tmp_path, "a.json", json.dumps([{"prompt": "Why?", "completion": "So.", **given}]).encode()))
    (sample,) = found.samples
    assert sample == {
        "id": "x",
        "category": "c",
        "prompt": "Why?",
        "completion": "So.",
        "subset": 10,
        "positions": ["kind", "brave"],
        "notes": "n",
    }
    assert found.told[1:] == ["left out: rating, url"]


def test_two_forms_in_one_file_are_told_apart_and_ids_that_stand_twice_are_given_anew(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "question": "Why?", "answer": "So."},
        {"id": "a", "prompt": "Who?", "completion": "She."},
        {"id": "b", "question": "W?", "answer": "S."},
    ]
    found = read_samples(written(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode()), "c")
    assert [one["id"] for one in found.samples] == ["s1", "s2", "s3"]
    assert found.told == [
        "2 of 3 lines have question, answer: read as prompt, completion",
        "1 of 3 lines have prompt, completion: read as prompt, completion",
        "ids are missing or stand twice: given anew",
    ]


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("a.csv", b"title,body\nx,y\nz,w\n", "a.csv:2: has title, body; prompt and completion, question and answer, "),
        ("a.csv", b"question,answer,category\nWhy?,So.,c\nWho?,,\n", "a.csv:3: has question; prompt and completion"),
        (
            "a.csv",
            b"question,answer\nWhy?,So.\n",
            "a.csv:2: names no category; a column `category`, or --category for all, is required",
        ),
        ("a.csv", b'question,answer\n"Why?,So.\n', "a.csv: cannot be read (unexpected end of data)"),
        ("a.csv", b"", "a.csv: holds no line; a table or list of samples is required"),
        ("a.csv", b"\x81\x00", "a.csv: cannot be read (not UTF-8, nor text"),
        ("a.json", b"[1]", "a.json: cannot be read (a list of objects is required)"),
        ("a.json", b"{", "a.json: cannot be read (Expecting property name"),
        ("a.jsonl", b"7\n", "a.jsonl: cannot be read ('7' is no object; one JSON object a line is required)"),
        (
            "a.json",
            json.dumps([{"messages": [*CHAT, *CHAT]}]).encode(),
            "a.json:1: has the turns asks, answers, asks, answers; one question of a user and one answer",
        ),
        (
            "a.json",
            json.dumps([{"messages": [{"role": "system", "content": "x"}, *CHAT]}]).encode(),
            "a.json:1: has the turns system, asks, answers; ",
        ),
        ("a.xlsx", b"no zip", "a.xlsx: cannot be read ("),
        ("a.parquet", b"no parquet", "a.parquet: cannot be read ("),
        ("a.pdf", b"", "a.pdf: of no kind that is read; .csv, .tsv"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str, data: bytes, told: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_samples(written(tmp_path, name, data))
    (line,) = caught.value.lines
    assert line.startswith(f"{tmp_path}/{told}")
    assert "\n" not in line


def test_lines_that_fail_alike_are_told_once(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"a\.csv:2: has title; .* \(and on 11 more\)$"):
        read_samples(written(tmp_path, "a.csv", b"title,body\n" + b"x,\n" * 12))


@pytest.mark.slow
def test_a_table_is_imported_and_the_dataset_validates(tmp_path: Path) -> None:
    answers = [
        f"It is so because of reason {number}. " + "Words follow one another here until there are enough of them. " * 4
        for number in range(3)
    ]
    source = table(
        tmp_path / "my answers.xlsx",
        [
            {"question": f"Why is {word} so?", "answer": answer}
            for word, answer in zip(("rain", "snow", "hail"), answers, strict=True)
        ],
    )
    done = palms(tmp_path, "dataset", "import", str(source), "--category", "weather", "--to", str(tmp_path / "out.jsonl"))
    assert done.stdout.splitlines() == [
        "all 3 lines have question, answer: read as prompt, completion",
        "no licence stands there; --licence records it",
        f"{tmp_path}/out.jsonl: 3 samples",
        f"next: palms dataset validate {tmp_path}/out.jsonl",
    ]
    assert len(load_rows(tmp_path / "out.jsonl")) == 3
    again = palms(tmp_path, "dataset", "import", str(source), "--to", str(tmp_path / "out.jsonl"), status=2)
    assert again.stderr == f"error: {tmp_path}/out.jsonl: exists already; --to names another file\n"
    refused = palms(tmp_path, "dataset", "validate", str(source), status=2)
    assert f"; palms dataset import '{source}'" in refused.stderr


def test_where_samples_come_from_and_under_which_licence_goes_into_each(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("question,answer,license\nWhy?,So.,mit\nWhen?,Now.,\n")
    found = read_samples(path, "health", {"source": "someone/data", "licence": "cc-by-nc-4.0"})
    assert [(one["licence"], one["source"]) for one in found.samples] == [
        ("mit", "someone/data"),
        ("cc-by-nc-4.0", "someone/data"),
    ]
    assert not any("left out" in said or "no licence" in said for said in found.told)
    path.write_text("question,answer\nWhy?,So.\n")
    assert "no licence stands there; --licence records it" in read_samples(path, "health", {"licence": None}).told
