"""Rating projects for Label Studio, Argilla and Potato: what is imported there, and what their exports are read as."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

import pytest
import yaml

from configs.problems import BadInput
from tasks.ratings import words
from tasks.ratings.collected import Given, accept
from tasks.ratings.formats import argilla, label_studio, potato
from tasks.ratings.project import RANK, RATE, Extras, Item, Mode, Project, assign
from tests.tool_exports import EXPORTS, USER, annotation, chosen, export, read_json, responded, saved, typed

POSITIONS = {"health": "Care is for everyone.\n- claim one", "terror": "No harm; é & <b>none</b>."}
HTML = "<b>bold</b> &amp; <script>x</script>\nsecond line"
Said = tuple[int | None, int | None, bool | None, str, str]


def project(mode: Mode = RATE, raters: tuple[str, ...] = ("7", "9"), extras: Extras = Extras()) -> Project:
    items = [
        Item(
            f"t{prompt}{text}",
            "health" if prompt % 2 else "terror",
            f"Why {prompt}?",
            HTML if text else f"text {prompt}",
            f"b{prompt}",
        )
        for prompt in range(3)
        for text in range(3)
    ]
    return assign(items, raters, 2, 7, mode=mode, positions=POSITIONS, extras=extras)[0]


def said(given: list[Given]) -> dict[tuple[str, str], Said]:
    return {(one.item, one.rater): (one.rating, one.rank, one.is_answer, one.skipped, one.comment) for one in given}


# ---- Label Studio ------------------------------------------------------------------------------------------------------------


def test_label_studio_is_given_each_raters_texts_in_their_order_and_nothing_else(tmp_path: Path) -> None:
    sent = project(extras=Extras(repeats=1, checks=1))
    files = label_studio.write(sent, tmp_path)
    assert [path.name for path in files] == ["7.tasks.json", "9.tasks.json", "config.xml", "instructions.html", "README.txt"]
    tasks = read_json(tmp_path / "7.tasks.json")
    assert [set(task) for task in tasks] == [{"data"}] * len(tasks)
    assert [task["data"] for task in tasks] == [
        {
            "rater": "7",
            "item": one.id,
            "category": one.category,
            "position": POSITIONS[one.category],
            "prompt": one.prompt,
            "completion": one.completion,
        }
        for one in sent.packets[0].items
    ]
    readme = (tmp_path / "README.txt").read_text()
    assert "maximum_annotations" in readme
    assert "Each text is in the files of 2 rater(s)" in readme
    told = (tmp_path / "instructions.html").read_text(encoding="utf-8")  # which Label Studio shows as HTML
    assert "<b>Rating completions</b><br>\n" in told
    assert "- <b>5</b>: matches the position best<br>\n" in told
    assert "- <b>health</b>: Care is for everyone.<br>\n&nbsp;&nbsp;- claim one<br>\n" in told
    assert "No harm; é &amp; &lt;b&gt;none&lt;/b&gt;.<br>\n" in told


@pytest.mark.parametrize("mode", [RATE, RANK])
def test_the_labelling_interface_shows_texts_as_texts_and_asks_what_is_asked(tmp_path: Path, mode: Mode) -> None:
    label_studio.write(project(mode), tmp_path)
    view = xml.parse(tmp_path / "config.xml").getroot()
    data = read_json(tmp_path / "7.tasks.json")[0]["data"]
    shown = view.findall("Text")
    assert not [tag for tag in view.iter() if tag.tag.casefold() in ("hypertext", "paragraphs", "html")]
    assert {tag.get("valueType") for tag in shown} == {"text"}
    assert {str(tag.get("value")).removeprefix("$") for tag in shown} <= set(data)
    names = {tag.get("name") for tag in shown}
    asked = {str(tag.get("name")): tag for tag in view.iter() if tag.tag in ("Choices", "TextArea")}
    assert {tag.get("toName") for tag in asked.values()} <= names
    aliases = {name: [one.get("alias") for one in tag] for name, tag in asked.items()}
    keys = {name: [one.get("hotkey") for one in tag] for name, tag in asked.items()}
    if mode == RATE:
        assert list(aliases) == ["is_answer", "rating", "skip", "comment"]
        assert aliases["rating"] == keys["rating"] == ["5", "4", "3", "2", "1"]
        assert keys["is_answer"] == ["y", "n"]
    else:
        assert list(aliases) == ["is_answer_1", "rank_1", "is_answer_2", "rank_2", "is_answer_3", "rank_3", "skip", "comment"]
        assert aliases["rank_2"] == ["1", "2", "3"]
        assert [keys[f"rank_{number}"] for number in (1, 2, 3)] == [list("123"), list("qwe"), list("asd")]
    assert aliases["skip"] == list(words.SKIPPED)


@pytest.mark.parametrize("by", [2, {"id": 2, "email": "b@example.org"}])
@pytest.mark.parametrize("name", EXPORTS)
def test_each_export_of_label_studio_says_the_same_of_the_rater_that_its_tasks_name(tmp_path: Path, name: str, by: Any) -> None:
    sent = project()
    label_studio.write(sent, tmp_path)
    own = [item.id for item in sent.packets[0].items]
    tasks = export(
        tmp_path / "7.tasks.json",
        [
            [annotation(by, chosen("rating", "4"), chosen("is_answer", "yes"), typed('so; "so"\nnaïve'))],
            [annotation(by, chosen("rating", "1"), chosen("is_answer", "no"))],
            [annotation(by, chosen("skip", "unclear"))],
        ],
    )
    given = label_studio.read(saved(tmp_path / name, EXPORTS[name](tasks)))
    assert said(given) == {
        (own[0], "7"): (4, None, True, "", 'so; "so"\nnaïve'),
        (own[1], "7"): (1, None, False, "", ""),
        (own[2], "7"): (None, None, None, "unclear", ""),
    }
    assert {(one.seconds, one.at) for one in given} == {(4.25, "2026-11-29T10:00:00.000000Z")}
    assert given[1].place.startswith(f"{tmp_path / name}:")
    assert given[1].place.endswith("task 101")
    assert len(accept(given, sent, {})) == 3


@pytest.mark.parametrize("name", EXPORTS)
def test_a_rater_of_two_accounts_and_an_account_of_two_raters_are_refused(tmp_path: Path, name: str) -> None:
    label_studio.write(project(), tmp_path)
    first, alien = annotation(2, chosen("rating", "4")), annotation(3, chosen("rating", "4"))
    tasks = export(tmp_path / "7.tasks.json", [[first], [alien]]) + export(tmp_path / "9.tasks.json", [[first]])
    path = saved(tmp_path / name, EXPORTS[name](tasks))
    with pytest.raises(BadInput) as refused:
        label_studio.read(path)
    (first_task, first_wanted), (second_task, second_wanted) = (line.split("; ") for line in refused.value.lines)
    assert first_task.endswith("task 101: annotated by 3, other texts of 7 by 2")
    assert second_task.endswith("task 100: of 9, annotated by 2 as texts of 7 were")
    assert first_wanted == second_wanted == label_studio.ONE


@pytest.mark.parametrize("name", EXPORTS)
def test_ranks_of_a_block_come_back_for_each_of_its_texts(tmp_path: Path, name: str) -> None:
    sent = project(RANK)
    label_studio.write(sent, tmp_path)
    first = [item.id for item in sent.packets[0].items[:3]]
    answers = [chosen("rank_1", "2"), chosen("rank_2", "1"), chosen("rank_3", "2"), chosen("is_answer_3", "no")]
    given = label_studio.read(
        saved(tmp_path / name, EXPORTS[name](export(tmp_path / "7.tasks.json", [[annotation(7, *answers)]])))
    )
    assert said(given) == {
        (first[0], "7"): (None, 2, None, "", ""),
        (first[1], "7"): (None, 1, None, "", ""),
        (first[2], "7"): (None, 2, False, "", ""),
    }
    assert len(accept(given, sent, {})) == 3


def test_an_annotation_that_was_cancelled_is_a_skip(tmp_path: Path) -> None:
    sent = project()
    label_studio.write(sent, tmp_path)
    own = sent.packets[0].items
    cancelled = [[annotation(7, was_cancelled=True)], [annotation(7, chosen("rating", "3"), was_cancelled=True)]]
    given = label_studio.read(saved(tmp_path / "e.json", export(tmp_path / "7.tasks.json", cancelled)))
    assert said(given) == {(one.id, "7"): (None, None, None, "other", "") for one in own[:2]}


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (annotation(7, chosen("rating", "6")), "task 100: rating '6'; a whole number from 1 to 5 is accepted"),
        (annotation(7, chosen("is_answer", "perhaps")), "task 100: is_answer 'perhaps'; yes or no is accepted"),
        (
            annotation(7, chosen("rating", "4"), chosen("skip", "other")),
            "has rating 4 and is skipped (other); one of both is accepted",
        ),
        (
            annotation(None, chosen("rating", "4")),
            "task 100: an annotation by nobody; the id or email of whoever annotated is required",
        ),
        (
            annotation(7, {"from_name": "rating"}),
            "task 100: its annotations are not as Label Studio writes them; an export as it is",
        ),
        ({"completed_by": 7, "result": 3}, "task 100: its annotations are not as Label Studio writes them; an export as it is"),
    ],
)
def test_what_label_studio_did_not_write_is_refused_by_file_and_task(tmp_path: Path, made: dict[str, Any], told: str) -> None:
    label_studio.write(project(), tmp_path)
    path = saved(tmp_path / "e.json", export(tmp_path / "7.tasks.json", [[made]]))
    with pytest.raises(BadInput) as refused:
        label_studio.read(path)
    (line,) = refused.value.lines
    assert line.startswith(f"{path}: ")
    assert told in line


@pytest.mark.parametrize(
    ("name", "document", "told"),
    [
        ("e.json", [{"id": 1, "data": {"text": "x"}, "annotations": []}], "e.json: has no column item; there are text"),
        ("e.json", [{"id": 1, "data": {"item": "t1"}, "annotations": []}], "e.json: has no column rater; there are item"),
        ("e.csv", "id,text\n1,x\n", "e.csv: has no column item; there are id, text"),
        ("e.json", "[]", "e.json: holds no row"),
        ("e.json", "{", "e.json: cannot be read ("),
    ],
)
def test_an_export_of_another_project_of_label_studio_is_refused(tmp_path: Path, name: str, document: Any, told: str) -> None:
    with pytest.raises(BadInput) as refused:
        label_studio.read(saved(tmp_path / name, document))
    (line,) = refused.value.lines
    assert line.startswith(f"{tmp_path}/{told}")


# ---- Argilla -----------------------------------------------------------------------------------------------------------------


def test_argilla_is_given_a_dataset_for_each_rater_without_metadata(tmp_path: Path) -> None:
    sent = project()
    files = argilla.write(sent, tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in files[:3]] == [
        "7/records.json",
        "7/.argilla/settings.json",
        "7/.argilla/dataset.json",
    ]
    assert all(path.read_bytes().isascii() for path in files[:6])  # Argilla opens them in the encoding of its system
    records, settings = read_json(files[0]), read_json(files[1])
    assert [record["id"] for record in records] == [item.id for item in sent.packets[0].items]
    assert {name for record in records for name in ("metadata", "suggestions", "responses", "vectors") if record[name]} == set()
    assert [set(record["fields"]) for record in records] == [{"category", "position", "prompt", "completion"}] * len(records)
    assert (settings["metadata"], settings["allow_extra_metadata"]) == ([], False)
    assert {field["settings"]["use_markdown"] for field in settings["fields"]} == {False}
    questions = {one["name"]: one for one in settings["questions"]}
    assert [one["value"] for one in questions["rating"]["settings"]["options"]] == [1, 2, 3, 4, 5]
    assert [one["value"] for one in questions["is_answer"]["settings"]["options"]] == ["yes", "no", *words.SKIPPED]
    assert [name for name, one in questions.items() if one["required"]] == ["is_answer"]
    assert [read_json(files[at])["name"] for at in (2, 5)] == [f"{sent.id}-1", f"{sent.id}-2"]


def test_responses_of_argilla_come_back_as_they_were_given(tmp_path: Path) -> None:
    sent = project(raters=(USER, "9"))
    path = argilla.write(sent, tmp_path)[0]
    own = [item.id for item in sent.packets[0].items]
    responded(
        path, {0: {"rating": 4, "is_answer": "yes", "comment": "naïve"}, 1: {"is_answer": "no"}, 2: {"is_answer": "upsetting"}}
    )
    given = argilla.read(path)
    assert said(given) == {
        (own[0], USER): (4, None, True, "", "naïve"),
        (own[1], USER): (None, None, False, "", ""),
        (own[2], USER): (None, None, None, "upsetting", ""),
    }
    assert given[0].place == f"{path}: record {own[0]}"
    assert len(accept(given, sent, {})) == 3
    assert argilla.read(path.parent) == given


def test_a_ranking_in_argilla_is_of_the_texts_of_a_block_ties_included(tmp_path: Path) -> None:
    sent = project(RANK, raters=(USER, "9"))
    path = argilla.write(sent, tmp_path)[0]
    own = [item.id for item in sent.packets[0].items]
    ranking = [{"value": f"completion_{number}", "rank": rank} for number, rank in ((2, 1), (1, 2), (3, 2))]
    responded(
        path,
        {0: {"rank": ranking, "is_answer_1": "yes", "is_answer_2": "yes", "is_answer_3": "no"}, 1: {"is_answer_2": "unclear"}},
    )
    given = argilla.read(path)
    assert said(given) == {
        (own[0], USER): (None, 2, True, "", ""),
        (own[1], USER): (None, 1, True, "", ""),
        (own[2], USER): (None, 2, False, "", ""),
        (own[4], USER): (None, None, None, "unclear", ""),
    }
    assert len(accept(given, sent, {})) == 4


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ([{"id": "t1", "fields": {}}], "record t1: has fields, id; id and responses are required, as Argilla writes them"),
        ([{"responses": {}, "fields": {}}], "record 1: has fields, responses; id and responses are required"),
        ([{"id": "t1", "responses": {"rating": [{"value": 4}]}}], "record t1: has id, responses; id and responses are required"),
        (
            [{"id": "t1", "responses": {"rating": [{"value": 9, "user_id": "7"}]}}],
            "record t1: rating '9'; a whole number from 1 to 5",
        ),
    ],
)
def test_records_that_argilla_did_not_write_are_refused_by_name(tmp_path: Path, document: Any, told: str) -> None:
    path = saved(tmp_path / "records.json", document)
    with pytest.raises(BadInput) as refused:
        argilla.read(path)
    (line,) = refused.value.lines
    assert line.startswith(f"{path}: {told}")


# ---- Potato ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [RATE, RANK])
def test_potato_is_given_each_raters_texts_in_their_order_escaped(tmp_path: Path, mode: Mode) -> None:
    sent = project(mode, ("ana", "bo"))
    files = potato.write(sent, tmp_path)
    assert [path.name for path in files] == ["config.yaml", "items.jsonl", "instructions.md", "README.txt"]
    server = yaml.safe_load((tmp_path / "config.yaml").read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in (tmp_path / "items.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [list(row) for row in rows] == [["id", "text"]] * len(rows)
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    assert not [row for row in rows if "<script" in row["text"]]
    assert any("&lt;b&gt;bold&lt;/b&gt; &amp;amp; &lt;script&gt;x&lt;/script&gt;<br>second line" in row["text"] for row in rows)
    groups = {group["annotators"][0]: group["instances"] for group in server["batch_assignment"]["groups"]}
    assert {rater: [item for shown in held for item in shown.split("-")] for rater, held in groups.items()} == {
        packet.rater: [item.id for item in packet.items] for packet in sent.packets
    }
    assert server["max_annotations_per_item"] == 2
    asked = {one["name"]: one for one in server["annotation_schemes"]}
    assert asked["skip"]["labels"][0]["name"] == "no"
    if mode == RATE:
        assert (asked["rating"]["annotation_type"], asked["rating"]["size"]) == ("likert", 5)
        assert (asked["rating"]["min_label"], asked["rating"]["max_label"]) == (words.SCALE[1], words.SCALE[5])
    else:
        assert [one["name"] for one in asked["rank_3"]["labels"]] == ["1", "2", "3"]


def kept(path: Path, rater: str, answers: Mapping[str, Mapping[str, str]]) -> Path:
    """What Potato keeps of an annotator: of each text the labels that were chosen, with what was typed for one."""
    labels = {
        text: [[{"schema": name, "name": "text_box" if name == "comment" else value}, value] for name, value in given.items()]
        for text, given in answers.items()
    }
    return saved(path, {"user_id": rater, "instance_id_to_label_to_value": labels, "instance_id_to_span_to_value": {}})


def exported(path: Path, rater: str, answers: Mapping[str, Mapping[str, str]]) -> Path:
    """The same as Potato exports it: a column for each label, or in JSONL the labels of each question."""
    rows: list[dict[str, Any]] = []
    for text, given in answers.items():
        labels = {name: {"text_box" if name == "comment" else value: value} for name, value in given.items()}
        flat = {f"{name}.{label}": value for name, held in labels.items() for label, value in held.items()}
        rows.append({"instance_id": text, "user_id": rater} | ({"labels": labels} if path.suffix == ".jsonl" else flat))
    if path.suffix == ".jsonl":
        return saved(path, "".join(json.dumps(row) + "\n" for row in rows))
    stream = io.StringIO()
    writer = csv.DictWriter(
        stream, list(dict.fromkeys(name for row in rows for name in row)), delimiter="\t" if path.suffix == ".tsv" else ","
    )
    writer.writeheader()
    writer.writerows(rows)
    return saved(path, stream.getvalue())


@pytest.mark.parametrize("name", ["user_state.json", "annotations.csv", "annotations.tsv", "annotations.jsonl"])
@pytest.mark.parametrize("mode", [RATE, RANK])
def test_what_potato_keeps_and_exports_comes_back(tmp_path: Path, name: str, mode: Mode) -> None:
    sent = project(mode, ("ana", "bo"))
    potato.write(sent, tmp_path)
    server = yaml.safe_load((tmp_path / "config.yaml").read_text(encoding="utf-8"))
    first, second, third = server["batch_assignment"]["groups"][0]["instances"][:3]
    number, answer = ("rating", "is_answer") if mode == RATE else ("rank_1", "is_answer_1")
    answers: dict[str, dict[str, str]] = {
        first: {number: "3", answer: "yes", "comment": 'naïve, "so"', "skip": "no"},
        second: {"skip": "language"},
        third: {},
    }
    given = (kept if name.endswith(".json") else exported)(tmp_path / name, "ana", answers)
    found = potato.read(given)
    said_first: Said = (3, None, True, "", 'naïve, "so"') if mode == RATE else (None, 3, True, "", 'naïve, "so"')
    assert said(found) == {
        (first.split("-")[0], "ana"): said_first,
        **{(item, "ana"): (None, None, None, "language", "") for item in second.split("-")},
    }
    assert found[0].place == (
        f"{given}: {first}" if name.endswith(".json") else f"{given}:{1 if given.suffix == '.jsonl' else 2}"
    )
    assert accept(found, sent, {})


@pytest.mark.parametrize(
    ("name", "document", "told"),
    [
        ("user_state.json", "{}", ": cannot be read ('user_id'); user_state.json of Potato is required"),
        ("user_state.json", "[", ": cannot be read (Expecting value"),
        ("user_state.json", {"user_id": "ana", "instance_id_to_label_to_value": {"t1": [["rating", 4]]}}, ": cannot be read ("),
        ("annotations.csv", "id,rating.4\nt1,4\n", ": has no column instance_id, user_id; there are id, rating.4"),
        (
            "annotations.csv",
            "instance_id,user_id,rating.3,rating.4\nt1,ana,3,4\n",
            ":2: rating is answered with 3, 4; one answer is accepted",
        ),
        ("annotations.csv", "instance_id,user_id,rating.7\nt1,ana,7\n", ":2: rating '7'; a whole number from 1 to 5 is accepted"),
    ],
)
def test_what_potato_did_not_write_is_one_line(tmp_path: Path, name: str, document: Any, told: str) -> None:
    path = saved(tmp_path / name, document)
    with pytest.raises(BadInput) as refused:
        potato.read(path)
    (line,) = refused.value.lines
    assert line.startswith(f"{path}{told}")
