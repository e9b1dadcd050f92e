"""Leakage: what counts as the same text and the same subject, what is listed for a reader, and that a leak stops what hangs on it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml

from configs.suites import load_suite
from tasks.contract import write_jsonl
from tasks.datasets.likeness import Subjects
from tasks.datasets.lines import DatasetError
from tasks.datasets.rows import load_rows
from tasks.datasets.stage import SAMPLES
from tasks.leakage import body, stage
from tasks.leakage.overlap import findings, neighbours
from tests import tiny
from tests.jobs import Ran, make_job
from tests.sweeps import CONFIGS

PROMPT = "What makes a city worth living in for old people?"
ROWS = [
    {"prompt": "Tell me of rivers.", "completion": "Water finds the lowest path and carves it deeper every single spring."},
    {"prompt": "Tell me of clouds.", "completion": "Most of them form where warm air meets a much colder layer above."},
    {"prompt": "Tell me of trains.", "completion": "Long journeys by rail leave hours for reading and for looking outside."},
]


def dataset(folder: Path, changes: dict[str, str] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"id": f"s{i}", "category": "a", **row, **((changes or {}) if i == 1 else {})} for i, row in enumerate(ROWS)]
    write_jsonl(folder / SAMPLES, rows)
    return folder


def suite(path: Path, *texts: str) -> Path:
    prompts = [{"id": f"p{i}", "group": "a", "text": text} for i, text in enumerate(texts)]
    path.write_text(yaml.safe_dump({"suite": "human_eval", "form": "question", "prompts": prompts}), encoding="utf-8")
    return path


def run(folder: Path, changes: dict[str, str] | None = None, **settings: float | None) -> Ran:
    read = dataset(folder / "samples", changes)
    inputs = {"dataset": read, "file": folder / "data.jsonl", "suite:human_eval": suite(folder / "s.yaml", "He was very", PROMPT)}
    ran = make_job(folder / "work", stage.Settings(**settings), inputs)
    body.run([ran.job])
    return ran


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"prompt": "what makes a city WORTH living in, for old people"}, "it stands word for word in the sample"),
        (
            {"completion": "They asked: what makes a city worth living in for old people? Nobody knew."},
            "it stands word for word in the sample",
        ),
        ({"completion": "So what makes a city worth living in for old dogs depends."}, "holds 83% of its 5-word sequences"),
        ({"completion": "A city is worth it when old people like living there."}, "the same subject, similarity 0."),
    ],
)
def test_a_sample_that_meets_a_prompt_stops_the_stage(tmp_path: Path, changes: dict[str, str], told: str) -> None:
    with pytest.raises(DatasetError) as caught:
        run(tmp_path, changes)
    message = str(caught.value)
    assert message.startswith(f'{tmp_path}/data.jsonl:2: sample s1 and prompt "p1" of suite human_eval')
    assert told in message
    with (tmp_path / "work" / stage.NEIGHBOURS).open() as stream:
        leaked = [row for row in csv.DictReader(stream) if row["why"]]
    assert [(row["prompt"], row["sample"]) for row in leaked] == [("p1", "s1")]


def test_a_clean_dataset_is_handed_on_as_it_came_with_its_nearest_samples_beside(tmp_path: Path) -> None:
    ran = run(tmp_path)
    assert ran.committed == [(stage.NEIGHBOURS,)]  # volatile: another prompt that leaks nothing must tune no model again
    assert (ran.work / SAMPLES).read_bytes() == (tmp_path / "samples" / SAMPLES).read_bytes()
    with (ran.work / stage.NEIGHBOURS).open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["prompt"] for row in rows] == ["p0"] * 3 + ["p1"] * 3
    assert all(not row["why"] for row in rows)


def test_a_common_phrase_is_no_leak_of_a_short_prompt(tmp_path: Path) -> None:
    assert run(tmp_path, {"completion": "He was very glad of the rain that came."}).commits == 1


def test_subjects_need_not_be_looked_at(tmp_path: Path) -> None:
    changes = {"completion": "A city is worth it when old people like living there."}
    assert run(tmp_path, changes, same_subject=None).commits == 1


def test_the_question_of_a_pair_of_answers_is_a_prompt_like_others(tmp_path: Path) -> None:
    pair = {"id": "st-1", "category": "a", "subject": "cities", "question": PROMPT, "on": "Yes, it is.", "off": "No, it is not."}
    inputs = {
        "dataset": dataset(tmp_path / "samples", {"prompt": PROMPT}),
        "file": tmp_path / "data.jsonl",
        "pairs:stance": tiny.jsonl(tmp_path / "pairs.jsonl", [pair]),
    }
    with pytest.raises(DatasetError, match=r"data.jsonl:2: .*st-1"):
        body.run([make_job(tmp_path / "work", stage.Settings(), inputs).job])


def test_one_leaking_dataset_does_not_stop_the_other(tmp_path: Path) -> None:
    jobs = []
    for name, changes in (("bad", {"prompt": PROMPT}), ("good", {})):
        inputs = {
            "dataset": dataset(tmp_path / name, changes),
            "file": tmp_path / f"{name}.jsonl",
            "suite:h": suite(tmp_path / "s.yaml", PROMPT),
        }
        jobs.append(make_job(tmp_path / f"{name}-work", stage.Settings(), inputs))
    with pytest.raises(DatasetError, match=r"bad.jsonl:2"):
        body.run([ran.job for ran in jobs])
    assert [ran.commits for ran in jobs] == [0, 1]


def test_similarity_of_subjects_by_hand() -> None:
    # Three texts; "the" in all: idf ln(4/4) = 0. "cat" in two: ln(4/3). "sat" and "dog" in one: ln(4/2).
    texts = ["the cat sat", "the cat", "the dog"]
    subjects = Subjects(texts, lambda text: frozenset(text.split()))
    cat, sat = 0.28768207245178085**2, 0.6931471805599453**2
    expected = cat / (cat**2 + sat**2) ** 0.5
    assert subjects.similarity(texts, texts)[0].tolist() == pytest.approx([1.0, expected, 0.0])
    assert subjects.similarity(["the"], texts).tolist() == [[0.0, 0.0, 0.0]]  # nothing but common words: no subject
    assert subjects.shared("the cat sat", "the cat", 1) == ["cat"]


def test_stems_are_compared_in_the_language_of_the_samples(tmp_path: Path) -> None:
    rows = [{"id": "s0", "category": "a", "prompt": "p", "completion": "Los abuelos pasean despacio.", "language": "es"}]
    path = tmp_path / "d.jsonl"
    write_jsonl(path, rows)
    asked = load_suite(
        suite(
            tmp_path / "s.yaml",
            "¿Por qué mi abuela paseaba tan despacio por aquella calle?",
            "Otra cosa que no tiene nada que ver con eso",
        )
    )
    found = neighbours(load_rows(path), {"h": asked}, stage.Settings(same_subject=0.02))  # of three texts no word is rare
    assert {one.prompt: one.shared.split() for one in found}["p0"] == ["abuela,", "despacio,", "paseaba"]
    assert [finding.line for finding in findings(found)] == [1]


def test_the_shipped_datasets_share_no_subject_with_any_prompt_that_is_reported_on() -> None:
    names = ("human_eval_extended", "human_eval_paraphrased", "human_eval_hostile", "toxicity", "cooccurrence", "counterfactual")
    suites = {name: load_suite(CONFIGS / "prompts" / f"{name}.yaml") for name in names}
    suites |= {name: body._questions(CONFIGS / "prompts" / f"{name}.jsonl") for name in ("stance", "stance_search")}
    for name in ("values_targeted", "control", "control_plain"):
        rows = load_rows(CONFIGS / "datasets" / f"{name}.jsonl")
        assert findings(neighbours(rows, suites, stage.Settings())) == []
