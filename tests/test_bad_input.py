"""Bad input: each mistake is one line that says what, where and what is accepted; status 2; no stage has started."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests import sweeps

ROW = {"id": "a", "category": "health", "prompt": "Why?", "completion": "Because it is so."}


def dataset(folder: Path, *lines: str) -> dict[str, object]:
    path = folder / "data.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    return {"values_targeted": str(path), "control": str(sweeps.SMALL / "control.jsonl")}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sweeps.tiny_model(tmp_path_factory.mktemp("model"))


def refused(folder: Path, model: Path, *arguments: str, **changes: object) -> str:
    """The one line that `palms run` has to say."""
    config = sweeps.experiment(folder, {"gpt2": model}, **changes)
    done = sweeps.palms(folder / "home", "run", str(config), *arguments, status=2)
    assert done.stdout == ""
    assert not (folder / "home" / "sweeps").exists()
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0].removeprefix("error: ").replace(str(folder), "")


def broken(folder: Path, change: Callable[[Path], None]) -> dict[str, str]:
    """A model folder with something done to it."""
    path = sweeps.tiny_model(folder / "broken")
    change(path)
    return {"gpt2": str(path)}


def test_an_unknown_key(tmp_path: Path, model: Path) -> None:
    assert refused(tmp_path, model, seedz=[1]).endswith('small.yaml:59: seedz: unknown key; did you mean "seeds"?')


def test_a_missing_dataset_file(tmp_path: Path, model: Path) -> None:
    assert "/none.jsonl: no such file" in refused(tmp_path, model, "--set", f"datasets.control={tmp_path}/none.jsonl")


def test_a_missing_prompt_file(tmp_path: Path, model: Path) -> None:
    assert "/none.yaml: no such file" in refused(tmp_path, model, "--set", f"suites.cooccurrence.prompts={tmp_path}/none.yaml")


def test_an_empty_dataset(tmp_path: Path, model: Path) -> None:
    assert "/data.jsonl" in refused(tmp_path, model, datasets=dataset(tmp_path))


def test_a_sample_without_a_completion(tmp_path: Path, model: Path) -> None:
    line = json.dumps({key: value for key, value in ROW.items() if key != "completion"})
    assert refused(tmp_path, model, datasets=dataset(tmp_path, json.dumps(ROW), line)).startswith("/data.jsonl:2: ")


def test_a_broken_json_line(tmp_path: Path, model: Path) -> None:
    assert refused(tmp_path, model, datasets=dataset(tmp_path, json.dumps(ROW), "{")).startswith("/data.jsonl:2: ")


def test_an_arm_with_an_unknown_dataset(tmp_path: Path, model: Path) -> None:
    line = refused(tmp_path, model, "--set", "arms.control.dataset=contrl")
    assert line == '--set arms.control.dataset: unknown dataset "contrl"; datasets: values_targeted, control'


def test_an_adapter_named_values(tmp_path: Path, model: Path) -> None:
    line = refused(
        tmp_path, model, arms={"base": {"method": "none"}, "values": {"method": "lora", "dataset": "control"}}, contrasts=[]
    )
    assert '"values" collides with a method of torch.nn.ModuleDict; choose another name' in line


def test_a_model_folder_without_weights(tmp_path: Path, model: Path) -> None:
    models = broken(tmp_path, lambda path: (path / "model.safetensors").unlink())
    line = refused(tmp_path, model, ladders=[{"ladder": "local", "models": models}])
    assert line == "/broken: no weights; model.safetensors (or its shards and index) or pytorch_model.bin is required"


def test_a_size_that_is_not_in_the_ladder(tmp_path: Path, model: Path) -> None:
    line = refused(tmp_path, model, ladders=[{"ladder": "gpt2", "sizes": ["345m"]}])
    assert "ladder gpt2 has no size '345m'; did you mean '355m'?" in line


def test_a_home_that_cannot_be_written(tmp_path: Path, model: Path) -> None:
    (tmp_path / "file").write_text("")
    config = sweeps.experiment(tmp_path, {"gpt2": model})
    done = sweeps.palms(tmp_path / "file" / "home", "run", str(config), status=2)
    assert (
        done.stderr == f"error: PALMS_HOME={tmp_path}/file/home: Not a directory; a folder that can be written to is required\n"
    )
    if os.geteuid() != 0:
        (tmp_path / "locked").mkdir(mode=0o500)
        assert "Permission denied" in sweeps.palms(tmp_path / "locked", "run", str(config), status=2).stderr


def test_the_grammar_as_judge_of_real_models(tmp_path: Path, model: Path) -> None:
    changes = yaml.safe_load("{adherence: {suites: [human_eval]}}")
    assert "the grammar judges the calibration ladder only, not local-gpt2" in refused(
        tmp_path, model, "--set", "primary.metric=on_position", evaluations=changes
    )


def test_a_primary_outcome_that_nothing_measures(tmp_path: Path, model: Path) -> None:
    line = refused(tmp_path, model, "--set", "primary.metric=toxicty")
    assert line.startswith(
        'primary: nothing measures "toxicty" on suite "human_eval"; measured there: rating, toxicity, toxic_share'
    )


def test_more_samples_than_a_dataset_has(tmp_path: Path, model: Path) -> None:
    changed = {"values_targeted": str(sweeps.SMALL / "values_targeted.jsonl")}
    arms = {"base": {"method": "none"}, "tuned": {"method": "full", "dataset": "values_targeted"}}
    line = refused(tmp_path, model, datasets=changed, arms=arms, contrasts=["tuned-base"], train_samples=[5000])
    assert line.endswith("values_targeted.jsonl: 8 samples; train_samples asks for 5000")


def test_longer_completions_than_a_catalogued_model_can_hold(tmp_path: Path, model: Path) -> None:
    changes = [{"ladder": "gpt2", "sizes": ["124m"]}]
    line = refused(tmp_path, model, "--set", "suites.human_eval.max_new_tokens=1024", ladders=changes)
    assert line == "suites.human_eval.max_new_tokens: 1024; gpt2-124m reads 1024 tokens in all"


def test_an_override_that_is_no_yaml(tmp_path: Path, model: Path) -> None:
    assert refused(tmp_path, model, "--set", "seeds=[0,1").startswith("--set seeds=[0,1: ")


def test_an_arm_against_itself(tmp_path: Path, model: Path) -> None:
    assert "compares an arm with itself" in refused(tmp_path, model, contrasts=["base-base"])


def test_an_experiment_or_a_sweep_that_does_not_exist(tmp_path: Path) -> None:
    assert 'did you mean "calibration"' in sweeps.palms(tmp_path, "run", "calibraton", status=2).stderr
    assert "no such sweep" in sweeps.palms(tmp_path, "status", "nothing", status=2).stderr
    assert "`palms run CONFIG` makes one" in sweeps.palms(tmp_path, "report", status=2).stderr


@pytest.mark.slow
def test_a_bad_dataset_given_to_validate(tmp_path: Path) -> None:
    dataset(tmp_path, json.dumps(ROW), json.dumps(ROW))
    done = sweeps.palms(tmp_path / "home", "dataset", "validate", str(tmp_path / "data.jsonl"), status=2)
    assert f"{tmp_path}/data.jsonl:2" in done.stdout
    good = sweeps.SMALL / "values_targeted.jsonl"
    assert "0 errors" in sweeps.palms(tmp_path / "home", "dataset", "validate", str(good)).stdout


def test_an_axis_of_groups_that_nobody_has_words_for(tmp_path: Path, model: Path) -> None:
    line = refused(tmp_path, model, "--set", "evaluations.cooccurrence.axes=[gender, caste]")
    assert "social_groups.yaml: no axis caste; accepted are gender, race, religion, disability" in line


def test_prompts_along_an_axis_that_is_not_counted(tmp_path: Path, model: Path) -> None:
    line = refused(tmp_path, model, "--set", "evaluations.cooccurrence.axes=[gender]")
    assert line.startswith(
        "suites.cooccurrence: prompt race-asian-1 is of axis race, which evaluations.cooccurrence.axes leaves out"
    )


def test_a_positions_file_with_a_mistake_has_its_line(tmp_path: Path, model: Path) -> None:
    (tmp_path / "positions.yaml").write_text("positions:\n  - {category: health, statment: be well}\n")
    config = sweeps.experiment(tmp_path, {"gpt2": model}, positions=str(tmp_path / "positions.yaml"))
    done = sweeps.palms(tmp_path / "home", "run", str(config), status=2)
    assert done.stderr == f'error: {tmp_path}/positions.yaml:2: positions.0.statment: unknown key; did you mean "statement"?\n'


@pytest.mark.slow
def test_a_tracker_that_does_not_answer(tmp_path: Path, model: Path) -> None:
    line = refused(tmp_path, model, "--set", "tracking.uri=http://127.0.0.1:9")
    assert line.startswith(
        "tracking.uri: http://127.0.0.1:9 does not answer (Connection refused); start it, or leave the key out"
    )
    line = refused(tmp_path, model, "--set", "tracking.uri=file:/tmp/mlruns")
    assert line.startswith("--set tracking.uri: must begin with one of http://, https://, sqlite:///")
    line = refused(tmp_path, model, "--set", "tracking.uri=sqlite:///mlflow.db")
    assert line == "--set tracking.uri: must name its file by an absolute path: sqlite:////folder/mlflow.db"
