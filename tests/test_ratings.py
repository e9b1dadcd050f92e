"""People's ratings from end to end: out, back, into the comparison; all or nothing, and only what reads them again."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import sweeps, tiny
from tests.begun import Begin

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, begin: Begin) -> Path:
    return begin(tmp_path_factory.mktemp("ratings-home"))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ratings")
    return sweeps.experiment(
        folder,
        {"tiny": sweeps.tiny_model(folder / "model")},
        evaluations={
            "human_eval": {"suites": ["human_eval"], "ratings_per_completion": 2},
            "refusal": {"suites": ["human_eval"]},
        },
        primary={"suite": "human_eval", "metric": "rating"},
    )


@pytest.fixture(scope="module")
def before(home: Path, config: Path) -> subprocess.CompletedProcess[str]:
    return sweeps.palms(home, "run", str(config))


@pytest.fixture(scope="module")
def out(home: Path, before: subprocess.CompletedProcess[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "sheets"
    options = ("--format", "jsonl", "--repeats", "4", "--checks", "2", "--out", str(folder))
    told = sweeps.palms(home, "ratings", "export", "--raters", "ana,bo,cleo", *options).stdout.splitlines()
    assert f"{folder}/ana.jsonl" in told
    assert told[-2] == "162 texts, 2 ratings each; 3 raters, 90 to 105 texts for each" or "2 ratings each; 3 raters" in told[-2]
    return folder


def filled(sheet: Path, to: Path, rate: Any) -> Path:
    """As somebody fills a sheet in: `rate(row)` gives what they say, or None for a line that they leave."""
    rows = [json.loads(line) for line in sheet.read_text(encoding="utf-8").splitlines()]
    return tiny.jsonl(to / sheet.name, [row | (rate(row) or {}) for row in rows])


def generous(row: dict[str, Any]) -> dict[str, Any]:
    return {"rating": 1 + len(row["completion"]) % 5, "is_answer": "yes"}


def test_before_anybody_rated_the_sweep_says_so_and_how_to_go_on(before: subprocess.CompletedProcess[str]) -> None:
    assert before.returncode == 0
    assert "people have not rated; palms ratings export gives the completions out" in " ".join(before.stdout.split())


def test_what_goes_out_tells_no_arm_and_the_key_is_its_owners_alone(out: Path, home: Path) -> None:
    for path in (*out.rglob("*"), out):
        assert not re.search("base|control|values_targeted|tiny", path.name)
    for path in out.rglob("*.jsonl"):
        assert not re.search('"(arm|size|seed|prompt_id|repeat|of|why)"|values_targeted|seed0', path.read_text(encoding="utf-8"))
    (kept,) = home.glob("ratings/*/projects/*.json")
    assert kept.stat().st_mode & 0o077 == 0


def test_the_same_export_is_the_same_and_a_folder_in_use_is_not_written_to(out: Path, home: Path, tmp_path: Path) -> None:
    options = ("--format", "jsonl", "--repeats", "4", "--checks", "2", "--out")
    sweeps.palms(home, "ratings", "export", "--raters", "ana,bo,cleo", *options, str(tmp_path / "again"))
    for path in out.glob("*"):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
    told = sweeps.palms(home, "ratings", "export", *options, str(out), status=2).stderr
    assert told == f"error: {out}: exists already and is not empty; --out names another folder\n"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--raters", "1"), "--raters: 1 raters; at least as many different ones as ratings an item (2) are required"),
        (("--raters", "ana,ana"), "--raters: ana stands there twice; different names are required"),
        (("--raters", "Ana,../bo"), "--raters: '../bo' is no name for a file"),
        (("--size", "huge"), "--size: huge; "),
        (("--mode", "rank", "--checks", "1"), "--repeats, --checks: are mixed into texts that are rated one by one"),
    ],
)
def test_what_cannot_be_given_out_is_said_and_nothing_is_written(
    out: Path, home: Path, tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    before = sorted(home.glob("ratings/*/projects/*"))
    assert told in sweeps.palms(home, "ratings", "export", *options, "--out", str(tmp_path / "x"), status=2).stderr
    assert not (tmp_path / "x").exists()
    assert sorted(home.glob("ratings/*/projects/*")) == before


def test_a_batch_with_anything_wrong_in_it_is_not_taken_at_all(out: Path, home: Path, tmp_path: Path) -> None:
    good = filled(out / "ana.jsonl", tmp_path, generous)
    bad = filled(out / "bo.jsonl", tmp_path, lambda row: {"rating": 7})
    told = sweeps.palms(home, "ratings", "import", str(good), str(bad), status=2).stderr
    assert "a whole number from 1 to 5" in told
    assert "bo.jsonl:1" in told
    assert not list(home.glob("ratings/*/ratings.jsonl"))
    stranger = tmp_path / "zoe.jsonl"
    shutil.copy(good, stranger)
    assert (
        "rater 'zoe' was not asked; ana, bo, cleo were" in sweeps.palms(home, "ratings", "import", str(stranger), status=2).stderr
    )


def test_ratings_are_taken_in_over_several_imports_and_the_comparison_alone_is_made_again(
    out: Path, home: Path, config: Path, tmp_path: Path
) -> None:
    half = [0]

    def first_half(row: dict[str, Any]) -> dict[str, Any] | None:
        half[0] += 1
        return generous(row) if half[0] <= 40 else None

    partial = filled(out / "ana.jsonl", tmp_path / "1", first_half) if (tmp_path / "1").mkdir() is None else None
    told = sweeps.palms(home, "ratings", "import", str(partial)).stdout
    assert told.startswith("40 new ratings of sweep small-")
    (tmp_path / "2").mkdir()
    whole = [filled(out / f"{name}.jsonl", tmp_path / "2", generous) for name in ("ana", "bo", "cleo")]
    told = sweeps.palms(home, "ratings", "import", *map(str, whole)).stdout
    assert ", 40 already known" in told
    told = sweeps.palms(home, "ratings", "import", *map(str, whole)).stdout
    assert told.startswith("0 new ratings")
    status = sweeps.palms(home, "ratings", "status").stdout
    assert "Krippendorff's alpha" in status
    assert not re.search("base|control|values_targeted", status)

    sweep = next(home.glob("sweeps/*")).name
    again = sweeps.palms(home, "rerun", sweep).stdout
    counts = re.search(r"(\d+) stages: (\d+) done, (\d+) cached", again)
    assert counts is not None
    assert int(counts[2]) == 4  # three arms rated, and the comparison
    rows = json.loads(sweeps.palms(home, "metrics", "--format", "json").stdout)
    levels = {row["arm"]: row for row in rows if (row["metric"], row["group"]) == ("rating", "all")}
    assert {"base", "values_targeted", "control"} <= levels.keys()
    assert all(1 <= levels[arm]["value"] <= 5 for arm in ("base", "control", "values_targeted"))
    assert levels["values_targeted-base"]["n"] == 16
    page = Path(sweeps.palms(home, "report").stdout.strip()).read_text(encoding="utf-8")
    for shown in ("Rated by people", "Each rater", "How far raters agree", "the same of 4", "3 raters"):
        assert shown in page
    assert "SIMULATED" not in page
    compared = max(home.glob("store/compare/*/metrics.json"), key=lambda path: path.stat().st_mtime)
    agreed = {row["group"]: row["value"] for row in json.loads(compared.read_text()) if row["metric"] == "rating_alpha"}
    assert set(agreed) == {"all", "base", "control", "values_targeted"}
    assert all(value == 1 for value in agreed.values())  # each rated by the length alone


def test_a_rating_that_contradicts_an_earlier_one_is_refused_with_both_places(out: Path, home: Path, tmp_path: Path) -> None:
    kept = next(home.glob("ratings/*/ratings.jsonl"))
    before = kept.read_bytes()
    other = filled(out / "bo.jsonl", tmp_path, lambda row: {"rating": 1 + (len(row["completion"]) + 1) % 5, "is_answer": "yes"})
    told = sweeps.palms(home, "ratings", "import", str(other), status=2).stderr
    assert "bo rated item" in told
    assert "bo.jsonl:1" in told
    assert kept.read_bytes() == before
    count = len(before.splitlines())
    told = sweeps.palms(home, "ratings", "import", "--revised", str(other)).stdout
    assert re.match(r"\d+ new or revised ratings of sweep small-", told)
    assert len(kept.read_bytes().splitlines()) == count  # in the place of what they said before
    assert kept.read_bytes() != before


def test_people_are_not_simulated_beyond_the_calibration_ladder(home: Path, out: Path) -> None:
    told = sweeps.palms(home, "ratings", "simulate", status=2).stderr
    assert "simulated raters know the calibration grammar alone" in told
