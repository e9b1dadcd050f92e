"""Tables for people: harmless in a spreadsheet whatever a text says, read back as they were, and in the encoding that Excel knows."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.contract import csv_text, read_rows, write_rows
from tests import sweeps
from tests.begun import Begin

TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30),
    st.text("=+-@\t\r\n;,\"' a1＝", max_size=12),
)


def cells(text: str, delimiter: str) -> list[str]:
    """What a spreadsheet that parts cells by this makes of a file."""
    return [cell for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) for cell in row]


def runs(cell: str) -> bool:
    """A spreadsheet runs it; a plain number is one."""
    return re.match(r"[=+\-@\t\r＝＋－＠]", cell) is not None and re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d+)?", cell) is None


@given(st.lists(st.tuples(TEXT, TEXT), max_size=4))
@example([("=cmd|' /C calc'!A1", "\t=1"), ("a;=1", 'a;"=1"'), ("a\r=1", "\r\n-1"), ("'=1", "''=1")])
def test_texts_come_back_as_they_were_and_none_is_run(
    tmp_path_factory: pytest.TempPathFactory, given: list[tuple[str, str]]
) -> None:
    rows = [{"one": one, "two": two, "number": -0.5} for one, two in given]
    path = tmp_path_factory.mktemp("t") / "t.csv"
    write_rows(path, rows, ("one", "two", "number"))
    assert [(row["one"], row["two"], float(row["number"])) for row in read_rows(path)] == [(*texts, -0.5) for texts in given]
    written = path.read_bytes().decode()
    for delimiter in ",;\t":
        assert not [cell for cell in cells(written, delimiter) if runs(cell)]


def test_numbers_stay_numbers() -> None:
    assert csv_text([{"a": -0.5, "b": -3, "c": None, "d": "-0.5"}], "abcd") == 'a,b,c,d\n-0.5,-3,"","\'-0.5"\n'


def test_a_table_begins_with_a_byte_order_mark_where_it_should(tmp_path: Path) -> None:
    for mark, text, marked in (("never", "é", False), ("needed", "é", True), ("needed", "e", False), ("always", "e", True)):
        write_rows(tmp_path / "t.csv", [{"a": text}], mark=mark)  # type: ignore[arg-type]
        assert (tmp_path / "t.csv").read_bytes().startswith(b"\xef\xbb\xbf") is marked
        assert read_rows(tmp_path / "t.csv") == [{"a": text}]


LONG = "x" * 300
GROUPS = ["Rights // justice", "/a/", "é", "e\u0301", "=cmd|calc", "हिन्दी", "$x^$", LONG, "..", "a_b-0123456789"]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, begin: Begin) -> Path:
    """The home of a sweep over prompts with ids that are formulas, and groups that MLflow takes under no such name."""
    folder = tmp_path_factory.mktemp("odd")
    prompts = [
        {
            "id": f"{'=-+@'[i % 4]}cmd|calc!A{i}",
            "group": group,
            "text": f"Why is number {i} and its {group[:9]} so?",
            "kind": ("neutral", "challenging")[i % 2],
        }
        for i, group in enumerate(group for group in GROUPS for _ in range(2))
    ]
    (folder / "odd.yaml").write_text(
        yaml.safe_dump({"suite": "odd", "form": "question", "prompts": prompts}, allow_unicode=True), encoding="utf-8"
    )
    (folder / "rated.yaml").write_text(
        "suite: rated\nform: question\nprompts:\n"
        + "".join(f"- {{id: '=r{i}', group: health, text: 'Is é {i} well?'}}\n" for i in range(2)),
        encoding="utf-8",
    )
    config = sweeps.experiment(
        folder,
        {"gpt2": sweeps.tiny_model(folder / "model")},
        suites={
            "odd": {"prompts": str(folder / "odd.yaml"), "completions": 2, "max_new_tokens": 8},
            "rated": {"prompts": str(folder / "rated.yaml"), "completions": 2, "max_new_tokens": 8},
        },
        evaluations={
            "toxicity": {"suites": ["odd"], "scorer": {"kind": "calibration"}},
            "memorisation": {"suites": ["odd"]},
            "refusal": {"suites": ["odd"]},
            "human_eval": {"suites": ["rated"]},
        },
        arms={
            "base": {"method": "none"},
            "control": {"method": "full", "dataset": "control", "learning_rate": 1e-3, "batch": 4},
        },
        contrasts=["control-base"],
        primary={"suite": "odd", "metric": "toxicity"},
        tracking={"experiment": "Ours: A/B ../é"},
    )
    home = begin(folder / "home")
    sweeps.palms(home, "run", str(config))
    return home


@pytest.mark.slow
def test_a_sweep_over_odd_names_is_tracked_to_its_end(swept: Path) -> None:
    from mlflow import MlflowClient

    assert sweeps.tracked_runs(swept) == {"FINISHED"}
    client = MlflowClient(f"sqlite:///{swept}/mlflow/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("Ours: A/B ../é").experiment_id])
    base = next(run for run in runs if run.data.params.get("arm") == "base")
    assert "1_outcome/toxicity" in base.data.metrics
    kept = json.loads(Path(client.download_artifacts(base.info.run_id, "toxicity/odd/metrics.json")).read_text())
    assert {row["group"] for row in kept} == {"all", "kind:neutral", "kind:challenging", *GROUPS}
    assert "all" in sweeps.palms(swept, "rerun").stdout
    held = {row["group"] for row in csv.DictReader(io.StringIO(sweeps.palms(swept, "metrics", "--format", "csv").stdout))}
    assert {"Rights // justice", "e\u0301", "'=cmd|calc"} <= held


@pytest.mark.slow
def test_no_table_that_a_sweep_leaves_holds_a_formula(swept: Path) -> None:
    tables = [path for path in swept.rglob("*.csv") if path.is_file()]
    assert {"rating_sheet.csv", "key.csv", "prompts.csv", "scores.csv", "neighbours.csv", "metrics.csv", "contrasts.csv"} <= {
        path.name for path in tables
    }
    texts = [path.read_bytes().decode("utf-8-sig") for path in tables]
    texts.append(sweeps.palms(swept, "metrics", "--format", "csv").stdout)
    for text in texts:
        for delimiter in ",;\t":
            assert not [cell for cell in cells(text, delimiter) if runs(cell)]
    assert any("'=cmd|calc!A0" in text for text in texts)
    for sheet in swept.rglob("rating_sheet.csv"):
        assert sheet.read_bytes().startswith(b"\xef\xbb\xbf")
        assert not any(re.fullmatch(r"\d+(e\d+)?", row["task_id"]) for row in read_rows(sheet))


@pytest.mark.slow
def test_what_could_not_be_tracked_is_failed_and_tracked_by_a_rerun(swept: Path) -> None:
    """The tracker's disk says no once: the run does not stay running, and a rerun has something to do though all stages are there."""
    artifacts = next(path for path in (swept / "mlflow" / "artifacts").iterdir() if path.is_dir())
    for path in swept.glob("mlflow/mlflow.db*"):
        path.unlink()
    aside = artifacts.rename(artifacts.with_name("aside"))
    artifacts.write_text("no folder")
    (config,) = swept.parent.glob("small.yaml")
    failed = sweeps.palms(swept, "run", str(config), status=1)
    assert "Traceback" not in failed.stdout + failed.stderr
    assert "RUNNING" not in sweeps.tracked_runs(swept)
    artifacts.unlink()
    aside.rename(artifacts)
    assert "17 stages: 17 cached" in sweeps.palms(swept, "rerun").stdout
    assert sweeps.tracked_runs(swept) == {"FINISHED"}
