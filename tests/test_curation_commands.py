"""The loop of curation as somebody types it: rehearsed on the calibration ladder, then step by step on what that left."""

from __future__ import annotations

import csv
import json
import re
import sqlite3
from pathlib import Path

import pytest

from tests.begun import Begin
from tests.sweeps import palms

pytestmark = pytest.mark.slow

ANSWER = "Only a clinic can treat rashes, so please see a nurse."


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, begin: Begin) -> Path:
    return begin(tmp_path_factory.mktemp("curation-home"))


@pytest.fixture(scope="module")
def told(home: Path) -> str:
    return palms(home, "dataset", "rehearse", "--without", "health", "--size", "30k").stdout


@pytest.fixture
def version(home: Path, told: str) -> Path:
    return home / "curation/rehearsal/versions/values_targeted-1.jsonl"


def test_the_probes_find_the_category_that_is_missing_and_the_next_version_fills_it(home: Path, told: str) -> None:
    before, after = re.findall(r"^gaps (?:before|after):\n((?:  .*\n)+)", told, re.MULTILINE)
    assert "  health: 0 of 70 samples, an equal share is 9" in before
    assert "samples, an equal share" not in after
    ledger = [json.loads(line) for line in (home / "curation/rehearsal/versions/values_targeted.versions.jsonl").open()]
    assert [(one["number"], one["samples"]) for one in ledger] == [(1, 70), (2, 80)]
    assert len(ledger[1]["added"]) == 10
    assert all(name.startswith("health-") for name in ledger[1]["added"])
    assert all(one["annotators"] == ["simulated-1", "simulated-2"] for one in ledger[1]["drafts"].values())
    assert "simulated people: circular by construction" in told


def test_the_sweep_over_both_versions_makes_only_what_depends_on_the_data(home: Path, told: str) -> None:
    counts = re.search(r"over both: (.*); report: (.*)$", told, re.MULTILINE)
    assert counts is not None
    states = dict(reversed(part.split()) for part in counts[1].split(", "))
    # of values_2: dataset, leakage, tuning, answers, and what is measured of these; and the comparison
    assert int(states["done"]) <= 9
    assert int(states["cached"]) >= 16
    assert set(states) == {"cached", "done"}
    page = Path(counts[2]).read_text(encoding="utf-8")
    assert "Calibration ladder" in page
    assert "values_2" in page
    assert "values_1" in page


def test_the_turn_is_a_flow_run_and_the_gaps_are_among_its_artifacts(home: Path, told: str) -> None:
    with sqlite3.connect(f"file:{home}/prefect/prefect.db?mode=ro", uri=True) as database:
        (state,) = database.execute("select state_type from flow_run where name = 'without health'").fetchone()
        assert state == "COMPLETED"
        keys = {key for (key,) in database.execute("select distinct key from artifact where key like 'coverage-%'")}
    assert keys == {"coverage-before", "coverage-after"}


def test_a_page_over_probes_says_that_it_is_no_result(home: Path, told: str) -> None:
    pages = [
        path for path in home.glob("store/compare/*/report.html") if "These prompts are for choosing data" in path.read_text()
    ]
    assert len(pages) == 2
    outcome = json.loads((pages[0].parent / "outcome.json").read_text())
    assert outcome["finding"].startswith("Probes, no result: ")


def test_step_by_step_with_people(home: Path, version: Path, tmp_path: Path) -> None:
    drafts = tmp_path / "drafts.jsonl"
    sweep = next(path.name for path in sorted(home.glob("sweeps/curation_rehearsal-*"), key=lambda path: path.stat().st_mtime))
    said = palms(home, "dataset", "draft", sweep, "--each", "1", "--out", str(drafts)).stdout
    assert "they choose data, and are no result" in said
    assert re.search(r"1[0-9] drafts, 1[0-9] of them to be written", said)
    table = list(csv.DictReader(drafts.with_suffix(".coverage.csv").open()))
    assert next(row for row in table if row["category"] == "health")["samples"] == "0"

    refused = palms(
        home, "dataset", "annotate", str(drafts), "--annotators", "ana", "--out", str(tmp_path / "a"), status=2
    ).stderr
    assert re.search(r"drafts.jsonl: draft [\w-]+ \(and \d+ more\) says TODO; write its prompt and completion there", refused)

    own = [{"id": name, "category": "health", "prompt": f"Why {name}?", "completion": ANSWER} for name in ("one", "two", "three")]
    own[2]["completion"] = ""
    drafts.write_text("".join(json.dumps(one) + "\n" for one in own))
    forms = tmp_path / "forms"
    palms(home, "dataset", "annotate", str(drafts), "--annotators", "ana,bo", "--out", str(forms))
    for name in ("ana", "bo"):
        rows = list(csv.DictReader((forms / f"{name}.csv").open(encoding="utf-8-sig")))
        for row in rows:
            row |= {"position_held": "5", "factual_problem": "no", "tone": "right"}
        rows[1]["tone"] = "cold" if name == "bo" else "right"
        rows[2]["corrected"] = ANSWER.replace("rashes", "fevers")
        with (forms / f"{name}.csv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0], delimiter=";")
            writer.writeheader()
            writer.writerows(rows)
    files = [str(forms / f"{name}.csv") for name in ("ana", "bo")]
    said = palms(home, "dataset", "import", *files, "--drafts", str(drafts), "--wanted", "2").stdout
    assert "6 new annotations; drafts: 2 accepted, 1 held" in said
    assert "tone cold (bo)" in said
    assert (
        palms(home, "dataset", "import", *files, "--drafts", str(drafts), "--wanted", "2").stdout.count("0 new annotations") == 1
    )

    freeze = (
        "dataset",
        "freeze",
        str(version),
        "--drafts",
        str(drafts),
        "--approved-by",
        "cleo",
        "--out",
        str(tmp_path / "frozen"),
    )
    assert "draft two: tone cold (bo); `decision` has to be accepted or rejected" in palms(home, *freeze, status=2).stderr
    held = [json.loads(line) for line in drafts.read_text().splitlines()]
    drafts.write_text("".join(json.dumps(one | ({"decision": "rejected"} if one["id"] == "two" else {})) + "\n" for one in held))
    # the grammar's answers are short, so that the checks of real data refuse them: nothing is frozen
    assert "words; 40 to 340 are required" in palms(home, *freeze, status=2).stderr
    assert not (tmp_path / "frozen").exists()

    changed = palms(home, "dataset", "diff", str(version), str(version.with_name("values_targeted-2.jsonl"))).stdout
    assert "70 samples, version 1, frozen 20" in changed
    assert "health    0       10" in changed
    assert changed.count("\n+ health-") == 10


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("draft", "--size", "9b"), "--size: 9b; "),
        (("draft", "--arm", "base"), "--arm: base is tuned on no dataset; "),
        (("draft", "--url", "http://127.0.0.1:9"), "--url, --key-variable, --licence: are of the model that --by names"),
        (("draft", "--by", "no_such_model"), "no such folder and no hub id"),
        (("rehearse", "--without", "helth"), "--without: helth; did you mean 'health'?"),
        (("import", "a.csv", "b.csv"), "b.csv: one table of samples at a time; several files are taken with --drafts"),
        (("freeze", "nothing.jsonl", "--approved-by", "ana"), "nothing.jsonl: no such file"),
        (("freeze", "nothing.jsonl", "--approved-by", " "), "--approved-by: is blank"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(home: Path, told: str, options: tuple[str, ...], said: str, tmp_path: Path) -> None:
    further = ("--out", str(tmp_path / "drafts.jsonl")) if options[0] == "draft" else ()
    error = palms(home, "dataset", *options, *further, status=2).stderr
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "drafts.jsonl").exists()
