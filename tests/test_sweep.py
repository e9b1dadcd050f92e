"""The main job as a user runs it: servers, processes, tracking, report, rerun."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest

from configs.problems import BadInput
from flows.commands.compare import compare
from flows.commands.show import show
from flows.commands.words import harmless
from tests import sweeps
from tests.begun import Begin

pytestmark = pytest.mark.slow

Again = tuple[list[dict[str, str]], subprocess.CompletedProcess[str]]  # the numbers before it, and what it said


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, begin: Begin) -> Path:
    return begin(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiment")
    return sweeps.experiment(
        folder, {"gpt2": sweeps.tiny_model(folder / "gpt2"), "neox": sweeps.tiny_model(folder / "neox", "gpt_neox")}
    )


@pytest.fixture(scope="module")
def first(home: Path, config: Path) -> subprocess.CompletedProcess[str]:
    return sweeps.palms(home, "run", str(config))


@pytest.fixture(scope="module")
def again(home: Path, config: Path, first: subprocess.CompletedProcess[str]) -> Again:
    """A second run, from a shell that knows the address of an orchestrator."""
    before = rows(home)
    with pytest.MonkeyPatch.context() as shell:
        shell.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
        return before, sweeps.palms(home, "run", str(config))


def rows(home: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(sweeps.palms(home, "metrics", "--format", "csv").stdout)))


def labels(home: Path, state: str) -> set[str]:
    """The stages that `palms status` shows in a state."""
    lines = sweeps.palms(home, "status").stdout.splitlines()
    return {line.split()[1] for line in lines if line.split()[:1] == [state]}


def test_nothing_but_its_own_lines_is_on_the_screen(first: subprocess.CompletedProcess[str], home: Path) -> None:
    assert first.stderr == ""
    lines = [line for line in first.stdout.splitlines() if line]
    finding = next(json.loads(path.read_text())["finding"] for path in home.glob("store/compare/*/outcome.json"))
    known = ("sweep small-", "calibration scorer", finding, "local: ", "size ", "gpt2 ", "neox ", "  ", "95 % intervals; ")
    strangers = [line for line in lines if not line.startswith((*known, "report: ", "next: ")) and " stages" not in line]
    assert strangers == []
    assert all(len(line) <= 80 for line in lines[lines.index(finding) + 1 : -3])
    headings = next(line for line in lines if line.startswith("size"))
    assert headings.split() == ["size", "arm", "level", "from", "base", "from", "control"]
    assert re.fullmatch(r"\d+ stages: \d+ done, 1 cached; in .*", lines[-1])  # the scorer


def test_every_task_run_is_recorded_in_a_final_state(first: subprocess.CompletedProcess[str], home: Path) -> None:
    runs = sweeps.task_runs(home)
    assert {kind for _, kind, _ in runs} == {"COMPLETED"}
    names = {name for name, _, _ in runs}
    assert {
        "finetune · local-gpt2 · control · n8 · seed0",
        "toxicity · local-neox · base · seed0 · human_eval",
        "compare · small",
    } <= names
    flows = sweeps.flow_runs(home)
    assert set(flows.values()) == {"COMPLETED"}
    (sweep,) = (name for name in flows if name.startswith("small-"))
    assert flows.keys() == {sweep, f"local-gpt2 of {sweep}", f"local-neox of {sweep}"}


def test_stages_can_be_filtered_and_the_comparison_runs_when_all_else_is_there(
    first: subprocess.CompletedProcess[str], home: Path
) -> None:
    with sqlite3.connect(home / "prefect" / "prefect.db") as database:
        query = "select name, tags, start_time from task_run where json_array_length(tags) > 0"
        found = {name: (set(json.loads(tags)), start) for name, tags, start in database.execute(query)}
    assert found["finetune · local-gpt2 · control · n8 · seed0"][0] == {"stage:finetune", "size:local-gpt2", "arm:control"}
    compared = found["compare · small"]
    assert compared[0] == {"stage:compare"}
    finished = [
        json.loads(m.read_text())["facts"]["finished"]
        for m in (home / "store").glob("*/*/manifest.json")
        if not {"compare", "human_eval"} & {*m.parts}  # the sheets for raters are read by nothing that is compared
    ]
    assert max(finished).rstrip("Z") <= compared[1].replace(
        " ", "T"
    )  # to the second; Prefect hears of a stage's end a moment later


def test_the_metrics_are_tidy(first: subprocess.CompletedProcess[str], home: Path) -> None:
    found = rows(home)
    expected = [
        "sweep",
        "ladder",
        "size",
        "params",
        "arm",
        "seed",
        "suite",
        "group",
        "metric",
        "value",
        "ci_low",
        "ci_high",
        "n",
        "train_samples",
    ]
    assert list(found[0]) == expected
    assert {row["size"] for row in found if row["size"]} == {"gpt2", "neox"}
    assert {"base", "values_targeted", "control", "values_targeted-base", "values_targeted-control"} <= {
        row["arm"] for row in found
    }
    level = [row for row in found if row["metric"] == "toxicity" and row["group"] == "all" and row["arm"] == "base"]
    assert len(level) == 2
    assert all(float(row["ci_low"]) <= float(row["value"]) <= float(row["ci_high"]) for row in level)
    assert json.loads(sweeps.palms(home, "metrics", "--format", "json").stdout)[0]["params"] == int(found[0]["params"])


def test_the_rating_sheet_and_its_key_are_files_of_their_own(first: subprocess.CompletedProcess[str], home: Path) -> None:
    sheets = list((home / "store" / "human_eval").glob("*/rating_sheet.csv"))
    assert len(sheets) == 2
    for sheet in sheets:
        with sheet.open(newline="", encoding="utf-8-sig") as stream, (sheet.parent / "key" / "key.csv").open(newline="") as key:
            assert {row["task_id"] for row in csv.DictReader(stream)} == {row["task_id"] for row in csv.DictReader(key)}


def test_mlflow_shows_one_parent_and_a_child_for_every_size_and_arm(first: subprocess.CompletedProcess[str], home: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{home}/mlflow/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert (len(parents), len(children), len(runs)) == (1, 6, 7)
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert all({"ladder", "size", "arm", "seed", "train_samples"} <= run.data.params.keys() for run in children)
    tuned = next(run for run in children if run.data.params["arm"] == "values_targeted")
    assert len(client.get_metric_history(tuned.info.run_id, "5_training/loss")) == 4  # two epochs of 8 samples, 4 a batch
    assert {"report.html", "metrics.csv"} <= {Path(f.path).name for f in client.list_artifacts(parents[0].info.run_id, "compare")}


def test_a_second_run_is_all_cached_and_doubles_nothing(again: Again, home: Path) -> None:
    from mlflow import MlflowClient

    before, second = again
    stages = len(json.loads(next((home / "sweeps").glob("*/state.json")).read_text()))
    assert f"{stages} stages: {stages} cached; in " in second.stdout
    kept = {
        line.split()[1]: line.split()[2:4]
        for line in sweeps.palms(home, "status").stdout.splitlines()
        if line.startswith("cached")
    }
    assert len(kept) == stages
    del kept["scorer/calibration"]  # no run of this home made it
    assert all(float(seconds) > 0 and tries == "1" for seconds, tries in kept.values())
    assert rows(home) == before
    assert sum(name == "Cached" for _, _, name in sweeps.task_runs(home)) == stages + 1  # and the scorer of the first
    with sqlite3.connect(home / "prefect" / "prefect.db") as database:
        tagged = database.execute("select tags from task_run where state_name = 'Cached'").fetchall()
    assert all(any(tag.startswith("stage:") for tag in json.loads(tags)) for (tags,) in tagged)
    client = MlflowClient(f"sqlite:///{home}/mlflow/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    assert len(runs) == 7
    for run in runs:
        for name in run.data.metrics:
            history = client.get_metric_history(run.info.run_id, name)
            assert len({point.step for point in history}) == len(history)


def test_what_was_deleted_in_mlflow_is_tracked_again_by_a_run_of_which_everything_is_there(
    again: Again, home: Path, config: Path
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{home}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("small").experiment_id
    arm = next(run for run in client.search_runs([experiment]) if run.data.params.get("arm") == "control")
    client.delete_run(arm.info.run_id)
    database = home / "mlflow" / "mlflow.db"
    sweeps.palms(home, "run", str(config))
    names = [run.info.run_name for run in client.search_runs([experiment])]
    assert len(names) == 7
    assert arm.info.run_name in names
    written = database.stat().st_mtime_ns
    sweeps.palms(home, "run", str(config))
    assert database.stat().st_mtime_ns == written


def test_a_stale_address_of_an_orchestrator_is_not_used(again: Again) -> None:
    _, second = again
    assert second.stdout.startswith("PREFECT_API_URL=http://127.0.0.1:9/api is not used: sweeps have the server of PALMS_HOME\n")
    assert second.stderr == ""


def test_a_lost_output_runs_again_and_nothing_that_hangs_on_its_content(
    first: subprocess.CompletedProcess[str], home: Path, config: Path
) -> None:
    before = rows(home)
    for manifest in (home / "store" / "sampling").glob("*/manifest.json"):
        if json.loads(manifest.read_text())["label"] == "sampling/local-gpt2/control/n8/seed0/human_eval":
            shutil.rmtree(manifest.parent)
    plan = sweeps.palms(home, "plan", str(config)).stdout
    assert "run     sampling/local-gpt2/control/n8/seed0/human_eval" in plan
    assert "4 optimiser steps: values_targeted on 8, control on 8 samples; few: `min_steps: 10` or more epochs give more" in plan
    sweeps.palms(home, "run", str(config))
    assert labels(home, "done") == {"sampling/local-gpt2/control/n8/seed0/human_eval"}
    assert rows(home) == before


def test_a_rerun_of_a_complete_sweep_runs_nothing(home: Path, config: Path, first: subprocess.CompletedProcess[str]) -> None:
    done = sweeps.palms(home, "rerun")
    assert done.stdout.startswith("sweep small-")
    assert "stages are there; `--from STAGE` makes them anew" in done.stdout
    assert "pid" not in sweeps.palms(home, "status").stdout
    watched = sweeps.palms(home, "status", "--watch").stdout.splitlines()  # ended: says every stage once, and returns
    assert {line.split()[1] for line in watched} == labels(home, "cached") | labels(home, "done")


def test_a_plan_gives_the_first_reasons_or_all_of_them(home: Path, config: Path, first: subprocess.CompletedProcess[str]) -> None:
    sets = [f"arms.values_targeted.{name}" for name in ("epochs=3", "learning_rate=1e-4", "warmup=0.5", "weight_decay=0.1")]
    options = [word for one in sets for word in ("--set", one)]
    brief = sweeps.palms(home, "plan", str(config), *options).stdout
    line = next(line for line in brief.splitlines() if "finetune/local-gpt2/values_targeted" in line and line.startswith("run"))
    assert line.endswith("epochs 2 → 3, learning_rate 0.001 → 0.0001, warmup 0.0 → 0.5 and 1 more")
    whole = sweeps.palms(home, "plan", str(config), *options, "--explain").stdout
    assert "weight_decay 0.0 → 0.1" in whole
    assert len(whole.splitlines()) > len(brief.splitlines())


def test_a_rerun_from_a_stage_makes_it_and_what_reads_it_anew(
    home: Path, config: Path, first: subprocess.CompletedProcess[str]
) -> None:
    before = sweeps.palms(home, "metrics", "--format", "csv").stdout
    sweeps.palms(home, "rerun", "--from", "finetune", "--size", "gpt2", "--arm", "control")
    place = "local-gpt2/control/n8/seed0"
    assert labels(home, "done") == {
        f"finetune/{place}",
        f"sampling/{place}/human_eval",
        f"sampling/{place}/cooccurrence",
        f"toxicity/{place}/human_eval",
        f"cooccurrence/{place}/cooccurrence",
        "human_eval/local-gpt2/n8/seed0/human_eval",
        "compare/small",
    }
    assert sweeps.palms(home, "metrics", "--format", "csv").stdout == before
    for arguments, told in {
        ("--from", "finetun"): "--from finetun: sweep small-",
        ("--from", "finetune", "--arm", "controll"): "--arm controll: sweep small-",
        ("--size", "gpt2"): "--size and --arm say where --from begins",
    }.items():
        refused = sweeps.palms(home, "rerun", *arguments, status=2).stderr
        assert told in refused
        assert len(refused.splitlines()) == 1


def test_an_empty_store_gives_the_same_metrics_bit_for_bit(
    first: subprocess.CompletedProcess[str], home: Path, config: Path, tmp_path: Path
) -> None:
    """Although a stage's process was killed on the way (and tried again), then the whole run was told to end, and then its process
    was killed outright."""
    with started(tmp_path, config) as run:
        sweeps.wait_for(lambda: list(tmp_path.glob("store/finetune/*.partial")))
        killed = sweeps.wait_for(lambda: sweeps.stage_processes(run.pid))
        os.kill(killed[0], signal.SIGKILL)
        # before it is told to end: a run that ends has other things to say than what a process died of
        sweeps.wait_for(lambda: "killed (signal 9)" in next(tmp_path.glob("sweeps/*/log.txt")).read_text())
        sweeps.wait_for(lambda: list(tmp_path.glob("store/sampling/*.partial")))
        run.send_signal(signal.SIGTERM)  # Ctrl-C goes the same way, but Prefect has a handler of its own for this one
        assert run.wait(60) == 130
    assert not unfinished(tmp_path)
    assert "RUNNING" not in sweeps.tracked_runs(tmp_path)
    assert "killed (signal 9)" in next(tmp_path.glob("sweeps/*/log.txt")).read_text()
    before = len(list(tmp_path.glob("store/sampling/*/manifest.json")))
    with started(tmp_path, config) as run:
        sweeps.wait_for(lambda: list(tmp_path.glob("store/sampling/*/manifest.json"))[before:])
        refused = sweeps.palms(tmp_path, "run", str(config), status=2)
        assert "is being run by another process" in refused.stderr
        run.kill()
    assert unfinished(tmp_path)
    sweep = next(tmp_path.glob("sweeps/small-*")).name
    assert (
        f"its process (pid {run.pid}) is gone; what was finished is kept: palms rerun {sweep}"
        in sweeps.palms(tmp_path, "status").stdout
    )
    done = sweeps.palms(tmp_path, "rerun")
    assert f"sweep {sweep}: its process (pid {run.pid}) is gone; marked" in done.stdout
    assert not unfinished(tmp_path)
    assert sweeps.tracked_runs(tmp_path) == {"FINISHED"}
    assert rows(tmp_path) == rows(home)
    assert "is gone" not in sweeps.palms(tmp_path, "status").stdout


def started(home: Path, config: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*sweeps.COMMAND, "run", str(config)], env=sweeps.environment(home), stdout=subprocess.DEVNULL, start_new_session=True
    )


def unfinished(home: Path) -> set[str]:
    """The states of flow and task runs that are not final."""
    kinds = {kind for _, kind, _ in sweeps.task_runs(home)} | sweeps.flow_states(home)
    return kinds - {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}


def test_a_failed_stage_stops_its_own_branch_and_the_sweep_fails(
    home: Path, config: Path, first: subprocess.CompletedProcess[str]
) -> None:
    leaking = config.parent / "leaking.jsonl"
    lines = (sweeps.SMALL / "control.jsonl").read_text().splitlines()
    row = json.loads(lines[0])
    row["prompt"] = "What does a good marriage look like?"  # a prompt of the suite
    leaking.write_text("\n".join([json.dumps(row), *lines[1:]]) + "\n")
    done = sweeps.palms(home, "run", str(config), "--set", f"datasets.control={leaking}", status=1)
    cause, counts, remedy, retry = done.stderr.splitlines()
    assert cause.startswith("failed  leakage/control: DatasetError:")
    assert "leaking.jsonl:1" in cause
    assert re.match(r"\d+ stages: \d+ done, \d+ cached, 1 failed, \d+ blocked; in .*; log: ", counts)
    assert remedy.startswith("run again what is missing: palms rerun ")
    assert retry.startswith("Retry in the dashboard works")
    tuned = next(line for line in done.stdout.splitlines() if line.lstrip().startswith("values_targeted"))
    assert tuned.endswith("missing")  # what it was not compared with is said beside what it was
    sweep = done.stderr.split("palms rerun ")[1].split()[0]
    assert labels(home, "failed") == {"leakage/control"}
    assert labels(home, "blocked") >= {"finetune/local-gpt2/control/n8/seed0", "human_eval/local-neox/n8/seed0/human_eval"}
    assert "toxicity/local-neox/values_targeted/n8/seed0/human_eval" in labels(home, "cached")
    assert "compare/small" in labels(home, "done")
    page = Path(sweeps.palms(home, "report").stdout.strip()).read_text()
    assert "leakage/control" in page
    states = sweeps.flow_runs(home)
    assert [kind for name, kind in states.items() if name.startswith("small-")][-1] == "FAILED"
    told = sweeps.palms(home, "status", sweep, "--failed").stdout.splitlines()
    assert told[0].startswith(f"sweep    {sweep}   ")
    assert any(line.startswith("cause    leakage/control: DatasetError:") for line in told)
    assert {line.split()[0] for line in told[told.index("") + 2 : -1]} == {"failed", "blocked"}
    assert told[-1].endswith(f"palms rerun {sweep}")
    leaking.write_text("\n".join(lines) + "\n")  # mended: another sweep
    refused = sweeps.palms(home, "rerun", sweep, status=2).stderr
    assert f"its configuration or data has changed since, which makes it {sweep.partition('-')[0]}-" in refused
    assert f"`palms run {config} --set datasets.control={leaking}` starts that one" in refused
    assert not {kind for _, kind, _ in sweeps.task_runs(home)} & {"RUNNING", "PENDING", "SCHEDULED"}


def test_another_prompt_that_leaks_nothing_tunes_no_model_again(
    home: Path, config: Path, first: subprocess.CompletedProcess[str]
) -> None:
    prompts = config.parent / "reworded.yaml"
    prompts.write_text(
        (sweeps.SMALL / "human_eval.yaml").read_text().replace("Do crystals help against asthma?", "Do magnets help?")
    )
    sweeps.palms(home, "run", str(config), "--set", f"suites.human_eval.prompts={prompts}")
    assert {"leakage/control", "leakage/values_targeted"} <= labels(home, "done")
    assert not {label for label in labels(home, "done") if label.startswith(("datasets/", "finetune/"))}
    page = Path(sweeps.palms(home, "report").stdout.strip()).read_text(encoding="utf-8")
    assert f"<dt>set on the command line</dt><dd><code>suites.human_eval.prompts={prompts}</code></dd>" in page


def test_answers_stand_side_by_side_and_two_sweeps_against_each_other(
    home: Path, first: subprocess.CompletedProcess[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the sweep as it was, and of the one whose prompt was reworded."""
    notes = {path.parent.name: json.loads(path.read_text()) for path in home.glob("sweeps/*/sweep.json")}
    was, now = (next(n for n, note in notes.items() if word in str(note["overrides"])) for word in ("[]", "reworded.yaml"))
    told = sweeps.palms(home, "show", "he-health-2", "--sweep", was, "--size", "neox").stdout
    assert told.splitlines()[1] == "Do crystals help against asthma?"
    said = []
    for manifest in (home / "store" / "sampling").glob("*/manifest.json"):
        place = json.loads(manifest.read_text())["axes"]
        rows = [json.loads(line) for line in (manifest.parent / "completions.jsonl").read_text().split("\n") if line]
        if (place["size"], rows[0]["prompt_id"]) == ("neox", "he-abuse-1") and "crystals" in str(rows):
            said.append(next(row["text"] for row in rows if (row["prompt_id"], row["repeat"]) == ("he-health-2", 0)))
    assert len(said) == 3
    assert all(harmless(text.strip()) in told for text in said)
    assert len(re.findall("^toxicity 0", sweeps.palms(home, "show", "Do magnets", "--all").stdout, re.MULTILINE)) == 3
    changed = sweeps.palms(home, "compare", was, now).stdout
    assert "\n    1 changed: he-health-2\n" in changed
    assert "\ncode\n  the same\n" in changed
    assert "over the 15 prompts that both have" in changed
    assert len(re.findall(r"^(?:gpt2|neox) ", changed, re.MULTILINE)) == 4  # two sizes of two contrasts
    monkeypatch.setenv("PALMS_HOME", str(home))
    for call, arguments, refusal in (
        (show, {"prompt": "he-health"}, "2 prompts begin so: he-health-1 (human_eval), he-health-2 (human_eval)"),
        (show, {"prompt": "he-helth-2"}, "no such prompt; did you mean 'he-health-2'?"),
        (show, {"prompt": "he-health-2", "size": "neo"}, "--size neo: not sampled in this sweep; did you mean 'neox'?"),
        (show, {"prompt": "he-health-2", "suite": "human"}, "accepted are cooccurrence, human_eval"),
        (show, {"prompt": "he-health-2", "sweep": "none"}, "none: no such sweep"),
        (compare, {"sweep_a": was, "sweep_b": was}, "two sweeps are required"),
        (compare, {"sweep_a": was, "sweep_b": "none"}, "none: no such sweep"),
    ):
        with pytest.raises(BadInput) as refused:
            call(**arguments)
        assert refusal in refused.value.lines[0]
        assert len(refused.value.lines) == 1


def test_the_tracking_database_can_be_made_anew_from_the_store(
    home: Path, config: Path, first: subprocess.CompletedProcess[str]
) -> None:
    sweeps.palms(home, "run", str(config))
    before = sweeps.current_points(home)
    done = sweeps.palms(home, "mlflow", "rebuild")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"the database as it was: {home}/mlflow.before-")
    assert any(line.startswith("small-") and line.endswith(" outputs") for line in lines[1:])
    after = sweeps.current_points(home)
    assert before
    assert before.items() <= after.items()  # of the sweep that ran last; older ones hold what they held
    again = sweeps.palms(home, "run", str(config))
    stages = len(json.loads(next((home / "sweeps").glob("*/state.json")).read_text()))
    assert f"{stages} stages: {stages} cached; in " in again.stdout
    assert sweeps.current_points(home) == after
