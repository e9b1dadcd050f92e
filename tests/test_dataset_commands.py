"""`palms dataset` and `palms init` as somebody types them: what they print, and with which exit status."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from configs.shipped import EXPERIMENTS, find_experiment
from flows.experiment import read_experiment
from tests import sweeps, tiny
from tests.sweeps import CONFIGS, SMALL, palms

pytestmark = pytest.mark.slow  # a process a command: a minute in all


def test_validate_takes_a_file_for_what_it_is(tmp_path: Path) -> None:
    files = [SMALL / "values_targeted.jsonl", CONFIGS / "prompts" / "weakness_probes.yaml", CONFIGS / "positions.yaml"]
    files += [CONFIGS / "prompts" / "neutral_text.jsonl", CONFIGS / "prompts" / "calibration" / "neutral_text.jsonl"]
    files += [CONFIGS / "prompts" / name for name in ("stance.jsonl", "stance_search.jsonl", "scorer_check.jsonl")]
    done = palms(tmp_path, "dataset", "validate", *map(str, files))
    lines = [line.split(": ", 1)[1] for line in done.stdout.splitlines()]
    assert lines == [
        "8 samples, 3 kB of text, answers of 60 to 69 words (mean 64): 0 errors, 0 warnings",
        "80 prompts, not reported on: 0 errors, 0 warnings",
        "8 positions, 21 claims: 0 errors, 0 warnings",
        "100 paragraphs: 0 errors, 0 warnings",
        "176 paragraphs: 0 errors, 0 warnings",
        "160 pairs, the on-position answer begins with yes in 80 and with no in 80 and has +0.0 words more in the mean: 0 errors, 0 warnings",
        "40 pairs, 40 of them not reported on, the on-position answer begins with yes in 19 and with no in 21 and has -0.1 words more in the "
        "mean: 0 errors, 0 warnings",
        "80 sentences, 40 of them toxic: 0 errors, 0 warnings",
    ]


def test_validate_names_the_line_of_each_finding_and_ends_with_2(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (SMALL / "values_targeted.jsonl").read_text().splitlines()]
    rows[1]["category"] = "helth"
    rows[2]["prompt"] = rows[0]["prompt"].upper()
    rows[4]["completion"] = "Too short."
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    suite = SMALL / "human_eval.yaml"
    done = palms(
        tmp_path,
        "dataset",
        "validate",
        str(path),
        "--positions",
        str(CONFIGS / "positions.yaml"),
        "--suite",
        str(suite),
        status=2,
    )
    table = {line.split()[0]: line for line in done.stdout.splitlines()[1:-1]}
    assert set(table) == {f"{path}:2", f"{path}:3", f"{path}:5"}
    assert "category \"helth\" has no position; did you mean 'health'?" in table[f"{path}:2"]
    assert "the prompt of line 1 with another completion" in table[f"{path}:3"]
    assert "the completion has 2 words; 40 to 340 are required" in table[f"{path}:5"]
    assert done.stdout.splitlines()[-1].endswith("2 errors, 1 warning")


def test_validate_names_the_lines_of_pairs_and_sentences(tmp_path: Path) -> None:
    pair = {"id": "p", "category": "c", "subject": "x", "question": "Why is it so?", "on": "It is.", "off": "It is."}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pair) + "\n")
    (tmp_path / "sentences.jsonl").write_text('{"id": "s", "kind": "rude", "text": "You."}\n')
    done = palms(tmp_path, "dataset", "validate", *(str(tmp_path / f"{name}.jsonl") for name in ("pairs", "sentences")), status=2)
    assert "off is the text of on" in done.stdout
    assert "rude" in done.stdout
    assert "pairs that cannot all be read: 1 error, 0 warnings" in done.stdout
    assert "sentences that cannot all be read: 1 error, 0 warnings" in done.stdout
    sentences, suite = tmp_path / "sentences.jsonl", SMALL / "human_eval.yaml"
    done = palms(tmp_path, "dataset", "validate", str(sentences), "--suite", str(suite), status=2)
    assert "is labelled sentences; they say what a dataset is checked against" in done.stderr


def test_validate_finds_leaks_into_the_suites_that_it_is_given(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (SMALL / "values_targeted.jsonl").read_text().splitlines()]
    rows[3]["prompt"] = "My sister's husband broke her phone during an argument; what would you tell her?"
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = palms(tmp_path, "dataset", "validate", str(path), "--suite", str(SMALL / "human_eval.yaml"), status=2)
    assert f'prompt "he-abuse-1" of suite {SMALL}/human_eval.yaml: it stands word for word in the sample' in done.stdout


def test_what_cannot_be_validated_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: 1\n")
    for given, told in {
        str(tmp_path / "x.yaml"): "neither an experiment",
        str(tmp_path / "none.yaml"): "no such file",
        "calibraton": 'did you mean "calibration"',
    }.items():
        done = palms(tmp_path / "home", "dataset", "validate", given, status=2)
        assert (told in done.stderr, len(done.stderr.splitlines()), done.stdout) == (True, 1, "")
    done = palms(
        tmp_path / "home", "dataset", "validate", str(SMALL / "control.jsonl"), "--suite", str(tmp_path / "none.yaml"), status=2
    )
    assert done.stderr.endswith("none.yaml: No such file or directory; a readable YAML file is required\n")


def test_compare_prints_every_measure_and_writes_its_page(tmp_path: Path) -> None:
    page = tmp_path / "match.html"
    done = palms(
        tmp_path, "dataset", "compare", *(str(SMALL / f"{n}.jsonl") for n in ("values_targeted", "control")), "--page", str(page)
    )
    lines = done.stdout.splitlines()
    assert lines[-1] == str(page)
    assert lines[-2].startswith("8 and 8 samples, not paired; further than ±0.25 standard deviations apart: ")
    assert len(lines) == 1 + 18 + 2
    assert page.read_text().startswith("<!doctype html>")


def test_compare_refuses_a_dataset_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("{\n")
    done = palms(tmp_path, "dataset", "compare", str(SMALL / "control.jsonl"), str(tmp_path / "bad.jsonl"), status=2)
    assert done.stderr.startswith(f"error: {tmp_path}/bad.jsonl:1: not JSON")


def test_a_new_set_asks_for_its_texts_from_the_first_minute_and_for_nothing_else(tmp_path: Path) -> None:
    palms(tmp_path, "init", "mylib", "--in", str(tmp_path))
    experiment = tmp_path / "mylib" / "experiment.yaml"
    done = palms(tmp_path, "dataset", "validate", str(experiment), status=2)
    found = [
        line.split()[1:3] for line in done.stdout.splitlines() if line.startswith(f"{tmp_path}/mylib") and "says TODO" in line
    ]
    assert found == [["error", "placeholder"]] * 8
    assert done.stdout.count("4 errors, 0 warnings") == 2
    for name in ("values_targeted", "control"):
        path = tmp_path / "mylib" / f"{name}.jsonl"
        path.write_text(path.read_text().replace("TODO: ", ""))
    palms(tmp_path, "dataset", "validate", str(experiment))
    assert read_experiment(experiment).name == "mylib"
    assert palms(tmp_path, "init", "mylib", "--in", str(tmp_path), status=2).stderr.endswith(
        "exists already; a new name is required\n"
    )
    for name in ("My Lib", "x" * 300, "-x"):
        assert "not a name for a set" in palms(tmp_path, "init", "--", name, status=2).stderr
    palms(tmp_path, "init", "1", "--in", str(tmp_path))
    assert read_experiment(tmp_path / "1" / "experiment.yaml").name == "1"


def test_a_new_set_runs_offline_on_random_weights_once_its_texts_are_written(tmp_path: Path) -> None:
    said = palms(tmp_path / "home", "init", "mylib", "--in", str(tmp_path)).stdout
    for path in (tmp_path / "mylib").glob("*.jsonl"):
        path.write_text(path.read_text().replace("TODO: ", ""))
    command = next(line for line in said.splitlines() if line.startswith("then: ")).split("`")[1]
    assert command == f"palms run {tmp_path}/mylib/try.yaml"
    done = palms(tmp_path / "home", *command.split()[1:])
    assert "stages: " in done.stdout.splitlines()[-1]
    assert "say nothing about real models" in done.stdout


def test_an_experiment_cannot_report_on_probes(tmp_path: Path) -> None:
    shutil.copytree(SMALL, tmp_path / "set")
    text = (CONFIGS / "scaffold" / "experiment.yaml").read_text().replace("NAME", "x")
    text = text.replace("prompts: human_eval.yaml", f"prompts: {CONFIGS}/prompts/weakness_probes.yaml")
    (tmp_path / "set" / "x.yaml").write_text(text.replace("positions: positions.yaml", f"positions: {CONFIGS}/positions.yaml"))
    done = palms(tmp_path, "plan", str(tmp_path / "set" / "x.yaml"), status=2)
    assert "weakness_probes.yaml: is marked `reported: false`" in done.stderr


def test_text_from_files_is_shown_as_it_is(tmp_path: Path) -> None:
    """Rich reads `:100:` as an emoji and `[/x]` as markup."""
    row = json.loads((SMALL / "values_targeted.jsonl").read_text().splitlines()[0])
    lines = [
        {**row, "id": f"[/x]{i}", "prompt": f"{row['prompt']} {i}", "completion": f"{i} {i}. " + row["completion"]}
        for i in range(100)
    ]
    path = tmp_path / "data[draft].jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines[:99], {"[/x]": 1}]))
    done = palms(tmp_path / "home", "dataset", "validate", str(path), status=2)
    assert f"{path}:100  error" in done.stdout
    assert 'unknown key "[/x]"' in done.stdout
    assert f"{path}: 99 samples" in done.stdout
    refused = palms(tmp_path / "home", "dataset", "compare", str(path), str(path), status=2).stderr
    assert f'{path}:100: "category" is missing' in refused


def test_places_that_cannot_be_read_or_written_are_one_line(tmp_path: Path) -> None:
    data, home = str(SMALL / "control.jsonl"), tmp_path / "home"
    for arguments, told in {
        ("dataset", "validate", data, "--suite", str(tmp_path)): f"{tmp_path}: Is a directory; a readable YAML file is required",
        (
            "dataset",
            "compare",
            data,
            data,
            "--page",
            str(tmp_path),
        ): f"{tmp_path}: Is a directory; a place that can be written to",
        ("init", "one", "--in", data): f"{data}/one: Not a directory; a place that can be written to",
        ("dataset", "validate", str(SMALL.parent / "toy.py")): "of no kind that is checked",
        ("dataset", "validate", str(CONFIGS / "positions.yaml"), "--suite", data): "--suite, --positions: ",
        ("dataset", "validate", "calibration", "--positions", data): "--positions: ",
    }.items():
        refused = palms(home, *arguments, status=2).stderr.splitlines()
        assert told in refused[-1]
        assert len(refused) == 1
    page = tmp_path / "new" / "match.html"
    palms(home, "dataset", "compare", data, data, "--page", str(page))
    assert page.is_file()


def test_a_file_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    done = palms(tmp_path, "dataset", "validate", str(tmp_path / "none.yaml"), str(SMALL / "control.jsonl"), status=2)
    assert "8 samples" in done.stdout
    assert "no such file" in done.stderr


def test_two_suites_of_one_name_are_both_looked_at(tmp_path: Path) -> None:
    row = json.loads((SMALL / "control.jsonl").read_text().splitlines()[0])
    suites = []
    for folder, text in (("a", row["prompt"]), ("b", "Where does the tide go when it has gone?")):
        suites.append(tmp_path / folder / "human_eval.yaml")
        suites[-1].parent.mkdir()
        suites[-1].write_text(f"suite: s\nform: question\nprompts:\n  - {{id: p, group: g, text: {json.dumps(text)}}}\n")
    options = [word for path in suites for word in ("--suite", str(path))]
    assert "word for word" in palms(tmp_path, "dataset", "validate", str(SMALL / "control.jsonl"), *options, status=2).stdout


def test_nearest_shows_both_texts_nearest_first(tmp_path: Path) -> None:
    done = palms(
        tmp_path,
        "dataset",
        "nearest",
        str(SMALL / "values_targeted.jsonl"),
        "--suite",
        str(SMALL / "human_eval.yaml"),
        "--top",
        "2",
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 6
    assert float(lines[0].split()[0]) >= float(lines[3].split()[0])
    assert all("both say: " in line for line in lines[::3])


def test_a_partner_that_nobody_holds_is_an_error_of_the_experiment(tmp_path: Path) -> None:
    shutil.copytree(CONFIGS / "sets" / "biblioteca", tmp_path / "set")
    control = tmp_path / "set" / "control.jsonl"
    control.write_text(control.read_text().replace('"matches": "va-01"', '"matches": "va-99"'))
    done = palms(tmp_path, "dataset", "validate", str(tmp_path / "set"), status=2)
    assert 'matches "va-99", which no other dataset of the experiment holds' in done.stdout


def test_a_sample_that_shares_its_subject_with_a_pair_of_answers_is_an_error_of_the_experiment(tmp_path: Path) -> None:
    pair = json.loads((CONFIGS / "prompts" / "stance.jsonl").read_text(encoding="utf-8").splitlines()[0])
    rows = [json.loads(line) for line in (SMALL / "values_targeted.jsonl").read_text(encoding="utf-8").splitlines()]
    rows[0]["prompt"] = pair["question"]
    datasets = {"values_targeted": str(tiny.jsonl(tmp_path / "mine.jsonl", rows)), "control": str(SMALL / "control.jsonl")}
    path = sweeps.experiment(tmp_path, {"a": tiny.model(tmp_path / "model")}, datasets=datasets, evaluations={"stance": {}},
        primary={"suite": "stance", "metric": "stance_margin"})  # fmt: skip
    done = palms(tmp_path, "dataset", "validate", str(path), status=2)
    assert f'prompt "{pair["id"]}" of suite stance' in " ".join(done.stdout.split())


def test_a_folder_does_not_hide_a_shipped_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gpt2").mkdir()
    assert find_experiment("gpt2") == EXPERIMENTS / "gpt2.yaml"
    palms(tmp_path / "home", "init", "opt")
    assert find_experiment("opt") == Path("opt/experiment.yaml")
