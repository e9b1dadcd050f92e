"""Registered models, from a sweep to a prompt: once by content, in MLflow too, promoted, exported, loaded, asked."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import mlflow.artifacts
import pytest
import torch
from mlflow import MlflowClient
from typer.testing import CliRunner

from configs.problems import BadInput
from configs.shipped import CONFIGS
from configs.suites import load_suite
from flows.commands import chat as chatting
from flows.commands import models
from flows.engine import registry
from flows.engine.home import Home
from flows.engine.moved import settle
from flows.outputs import Outputs
from model_registry import load, registered
from model_registry.folders import stated_licence
from model_registry.loading import load_arm, load_model
from tasks.contract import read_json, read_jsonl
from tasks.sampling.beside import Beside, Manner
from tasks.sampling.body import ends
from tasks.sampling.engines.rows import Row
from tasks.sampling.streams import uniforms
from tests import sweeps, tiny
from tests.begun import Begin
from tests.decoding import decode_rows

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

FULL, ADAPTER, CONTROL = "local-gpt2-whole", "local-gpt2-values_targeted", "local-gpt2-control"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiment")
    tiny.jsonl(folder / "prose.jsonl", [{"id": f"p{i}", "topic": "bees", "text": f"{tiny.CORPUS[i % 3]} {i}"} for i in range(6)])
    tuned = {"dataset": "values_targeted", "learning_rate": 1e-2, "batch": 4}
    lora = {"method": "lora", "rank": 4, "alpha": 8}
    return sweeps.experiment(
        folder,
        {"gpt2": sweeps.tiny_model(folder / "gpt2")},
        arms={
            "base": {"method": "none"},
            "values_targeted": {**tuned, **lora},
            "control": {**tuned, **lora, "dataset": "control"},
            "whole": {**tuned, "method": "full"},
        },
        suites={"human_eval": {"prompts": str(sweeps.SMALL / "human_eval.yaml"), "completions": 2, "max_new_tokens": 8}},
        evaluations={
            "texture": {"suites": ["human_eval"], "type_token_words": 2},
            "capability": {"prose": "prose.jsonl", "tasks": [], "margins": {"nats": 99.0}},
        },
        primary={"suite": "human_eval", "metric": "length_words"},
    )


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, config: Path, begin: Begin) -> Path:
    home = begin(tmp_path_factory.mktemp("homes") / "first")
    sweeps.palms(home, "run", str(config))
    return home


@pytest.fixture
def home(swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A copy in another place, whose name an address would take for something else."""
    monkeypatch.setenv("PALMS_HOME", str(shutil.copytree(swept, tmp_path / "moved ?x=1%20", symlinks=True)))
    return Home.named()


def client(home: Home) -> MlflowClient:
    return MlflowClient(home.tracking_uri())


def shown(home: Home) -> dict[tuple[str, str], tuple[str, dict[str, str], list[str]]]:
    """(name, version) → description, tags and aliases, as MLflow has them."""
    found = [client(home).get_model_version(one.name, one.version) for one in client(home).search_model_versions()]
    return {(one.name, str(one.version)): (one.description, dict(one.tags), list(one.aliases)) for one in found}


def logged(home: Home) -> dict[tuple[str, str], tuple[dict[str, str], dict[str, str], dict[str, float], list[str]]]:
    """(name, digest) → tags, params, numbers and the names of the runs whose output it is, of MLflow's logged models."""
    tracker = client(home)
    (experiment,) = [one for one in tracker.search_experiments() if one.name == "small"]
    runs = tracker.search_runs([experiment.experiment_id])
    found = {}
    for one in tracker.search_logged_models([experiment.experiment_id]):
        by = [
            run.info.run_name
            for run in runs
            if run.outputs and one.model_id in [out.model_id for out in run.outputs.model_outputs]
        ]
        place = one.name, one.tags["palms.digest"]
        assert place not in found
        found[place] = dict(one.tags), dict(one.params), {metric.key: metric.value for metric in one.metrics}, sorted(by)
    return found


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=torch.arange(24).reshape(2, 12)).logits


def test_what_a_sweep_tuned_is_registered_and_in_mlflow(home: Home) -> None:
    before = shown(home)
    assert set(before) == {(name, "1") for name in (FULL, ADAPTER, CONTROL)}
    description, tags, _ = before[ADAPTER, "1"]
    model, version = registered.find(home.root, ADAPTER)
    assert description == model.card(version)
    assert (tags["method"], tags["capability"], tags["seed"]) == ("lora", "kept", "0")
    assert tags["palms.digest"] == read_json(home.place(version.tuned) / "manifest.json")["digest"]
    assert all(f"against {arm}" in description for arm in ("base", "control"))
    assert "not measured |" not in description
    run = client(home).get_run(client(home).get_model_version(ADAPTER, "1").run_id)
    assert (run.data.params["size"], run.data.params["arm"]) == ("gpt2", "values_targeted")


def test_what_a_run_tuned_is_a_logged_model_among_its_outputs(home: Home) -> None:
    settle(home)
    found = {name: one for (name, _), one in logged(home).items()}
    assert set(found) == {FULL, ADAPTER, CONTROL}
    tags, params, numbers, runs = found[ADAPTER]
    assert json.loads(tags["mlflow.modelVersions"]) == [{"name": ADAPTER, "version": 1}]
    assert tags["mlflow.note.content"] == shown(home)[ADAPTER, "1"][0]
    assert (params["method"], params["learning_rate"], tags["capability"]) == ("lora", "0.01", "kept")
    run = client(home).get_run(client(home).get_model_version(ADAPTER, "1").run_id)
    assert runs == [run.info.run_name]
    of_run = {name: value for name, value in run.data.metrics.items() if not name.startswith("5_training")}
    assert numbers == of_run
    assert {"1_outcome/length_words", "1_outcome/vs_base"} <= set(numbers)
    (model,) = [one for one in client(home).search_logged_models([run.info.experiment_id]) if one.name == ADAPTER]
    listed = {file.path for file in client(home).list_logged_model_artifacts(model.model_id)}
    assert listed == {"adapter_config.json", "adapter_model.safetensors", "base.json"}


def test_other_results_are_another_version_and_a_rebuilt_database_shows_the_same(home: Home, config: Path) -> None:
    registry.promote(home, ADAPTER, None)
    changed = ("arms.values_targeted.learning_rate=0.02", "evaluations.capability=null")
    sweeps.palms(home.root, "run", str(config), *(word for one in changed for word in ("--set", one)))
    before = shown(home)
    assert sorted(before) == sorted([(FULL, "1"), (CONTROL, "1"), (ADAPTER, "1"), (ADAPTER, "2")])
    assert before[ADAPTER, "1"][2] == ["champion"]
    assert client(home).get_model_version_by_alias(ADAPTER, "latest").version == 2
    with pytest.raises(BadInput, match=r"/2: its capability was not measured; `palms models promote .*/2 --force REASON`"):
        registry.promote(home, ADAPTER, None)
    registry.promote(home, ADAPTER, "a reason")
    before = shown(home)
    assert [before[ADAPTER, number][2] for number in ("1", "2")] == [[], ["champion"]]
    assert before[ADAPTER, "2"][1][registry.FORCED] == "a reason"
    assert "although its capability was not measured: a reason" in before[ADAPTER, "2"][0]
    models = logged(home)
    assert sorted(name for name, _ in models) == sorted([FULL, CONTROL, ADAPTER, ADAPTER])
    assert len(models[CONTROL, before[CONTROL, "1"][1]["palms.digest"]][-1]) == 2  # of both sweeps
    sweeps.palms(home.root, "mlflow", "rebuild")
    assert shown(home) == before
    assert logged(home) == models


def test_in_a_moved_home_mlflow_finds_the_weights_and_copies_none(home: Home, swept: Path) -> None:
    settle(home)
    source = client(home).get_model_version_download_uri(ADAPTER, "1")
    assert source.startswith((home.mlflow / "artifacts").as_uri())
    fetched = Path(mlflow.artifacts.download_artifacts(artifact_uri=source, dst_path=str(home.root / "fetched")))
    assert {path.name for path in fetched.rglob("*") if path.is_file()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "base.json",
    }
    assert not [path for path in home.mlflow.rglob("*.safetensors") if path.resolve().is_relative_to(home.mlflow)]
    link = home.mlflow / "artifacts" / registry.LINKS / ADAPTER / "1"
    assert link.resolve().is_relative_to(home.root)


def test_in_a_home_that_was_copied_with_its_links_followed_no_copy_is_kept(home: Home) -> None:
    """As `cp -rL` leaves it: where a link was stands a folder."""
    version = registered.find(home.root, ADAPTER)[1]
    link = home.artifacts / registry.LINKS / ADAPTER / "1"
    link.unlink()
    shutil.copytree(home.place(version.tuned), link)
    registry.promote(home, ADAPTER, None)
    assert link.is_symlink()
    assert link.resolve() == home.place(version.tuned).resolve()


@pytest.mark.parametrize("name", [ADAPTER, FULL])
def test_a_model_that_is_loaded_by_its_alias_says_what_it_said_in_the_sweep(home: Home, name: str) -> None:
    registry.promote(home, name, "for this test")
    model, tokenizer = load(f"{name}@champion")
    version = registered.find(home.root, name)[1]
    made = [
        (node, manifest) for node, manifest in Outputs.of(home, version.facts.sweep).made.items() if node.stage.name == "sampling"
    ]
    (sampled,) = [manifest for node, manifest in made if node.axes.arm == version.facts.arm and manifest]
    settings, suite = sampled.document["identity"]["settings"], load_suite(sweeps.SMALL / "human_eval.yaml")
    words = tiny.words(tokenizer, 1024)
    turn = words.turn(settings["template"])
    asked = {prompt.id: words.asked(turn, prompt.text, settings["max_new_tokens"]) for prompt in suite.prompts}
    stored = read_jsonl(sampled.folder / "completions.jsonl")
    for row in stored[:3]:
        numbers = uniforms(settings["seed"], row["prompt_id"], row["repeat"], settings["max_new_tokens"])
        (drawn,) = decode_rows(
            model,
            [Row(asked[row["prompt_id"]], numbers)],
            shape=settings["decode_batch"],
            shortest=min(map(len, asked.values())),
            longest=max(map(len, asked.values())),
            ends=ends(model, words, turn),
            filler=words.end,
            temperature=settings["temperature"],
            top_p=settings["top_p"],
        )
        assert words.text(asked[row["prompt_id"]], drawn.tokens) == row["text"]
    base = [manifest for node, manifest in made if node.axes.arm == "base" and manifest]
    assert [row["text"] for row in read_jsonl(base[0].folder / "completions.jsonl")] != [row["text"] for row in stored]


def test_the_lines_of_the_readme_run(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    registry.promote(home, ADAPTER, None)
    (lines,) = re.findall(r"```python\n(.*?)```", (CONFIGS.parent / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len([line for line in lines.splitlines() if line]) == 3
    exec(lines.replace("calibration-300k-values_targeted", ADAPTER), {})
    assert capsys.readouterr().out.startswith("Question: Why?\nAnswer:")


def test_an_adapter_is_exported_as_it_is_or_merged_into_the_same_model(home: Home, tmp_path: Path) -> None:
    model, _ = load(ADAPTER)
    for form, library in (("tuned", "peft"), ("merged", "transformers")):
        done = CliRunner().invoke(models.app, ["export", ADAPTER, "--to", str(tmp_path / form), "--form", form])
        assert done.exit_code == 0, done.output
        assert (tmp_path / form / "README.md").read_text().startswith(f'---\nlibrary_name: "{library}"')
    version = registered.find(home.root, ADAPTER)[1]
    assert version.attention == model.config._attn_implementation == "sdpa"  # as the sweep sampled
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "tuned" / name).read_bytes() == (home.place(version.tuned) / "model" / name).read_bytes()
    assert not (tmp_path / "tuned" / "model.safetensors").exists()
    merged = logits(load_model(tmp_path / "merged", precision="fp32", device="cpu"))
    assert torch.allclose(merged, logits(model), atol=1e-4)
    base = load_arm(home.place(version.prepared), None, precision="fp32", device="cpu")
    assert not torch.allclose(merged, logits(base), atol=1e-2)


def digest(model: Any) -> str:
    found = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        found.update(name.encode() + weight.numpy().tobytes())
    return found.hexdigest()


def test_arms_are_asked_side_by_side_and_leave_the_base_as_it_was(home: Home) -> None:
    sweep = next(path.name for path in home.sweeps.iterdir())
    chosen = chatting.choose(Outputs.of(home, sweep), [], None)
    assert list(chosen.tuned) == ["base", "values_targeted", "control", "whole"]
    manner = Manner(template="Question: {prompt}\nAnswer:", max_new_tokens=12, temperature=1.0, top_p=1.0, seed=0)
    beside = Beside(chosen.prepared, chosen.tuned, manner, chosen.numerics)
    asked = {prompt: dict(beside.answers(prompt)) for prompt in ("Why?", "Who?")}
    assert asked["Why?"] == dict(beside.answers("Why?"))  # whatever was asked between
    assert asked["Why?"] != dict(beside.answers("Why?", repeat=1))
    for arm, place in chosen.tuned.items():
        alone = Beside(chosen.prepared, {arm: place}, manner, chosen.numerics)
        assert {prompt: dict(alone.answers(prompt))[arm] for prompt in asked} == {
            prompt: said[arm] for prompt, said in asked.items()
        }
    assert len(set(asked["Why?"].values())) == 4
    fresh = load_arm(chosen.prepared, None, precision="fp32", device="cpu")
    assert digest(beside.unloaded()) == digest(fresh)


def test_lines_of_a_file_are_answered_until_its_end(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"Why?\n\nWh\xff?\n" + b"x" * 9000 + b"\nWho?")))
    stdout, stderr = io.StringIO(), io.StringIO()
    monkeypatch.setattr(chatting.out, "file", stdout)
    monkeypatch.setattr(chatting.err, "file", stderr)
    chatting.chat(arms=["base", "whole"])
    assert [line.split()[0] for line in stdout.getvalue().splitlines() if not line.startswith(" ")] == ["base", "whole"] * 3
    assert "tokens and 8 new ones" in stderr.getvalue()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("models", "show", "local-gpt2-whol"), f'no such model under HOME; did you mean "{FULL}"?'),
        (("models", "show", f"{FULL}@best"), "no version 'best'; latest, champion and 1 to 1 are accepted"),
        (
            ("models", "show", f"{FULL}@champion"),
            f"no version is champion yet; `palms models promote {FULL}` makes the latest one",
        ),
        (
            ("models", "promote", CONTROL),
            "its primary outcome was not compared with base; `palms models promote local-gpt2-control/1 --force",
        ),
        (("models", "promote", CONTROL, "--force", " "), "its primary outcome was not compared with base"),
        (("models", "export", FULL, "--to", "HOME"), "HOME: exists already; a new folder is required"),
        (
            ("models", "export", FULL, "--to", "HOME/x", "--form", "gguf"),
            "convert_hf_to_gguf.py of llama.cpp is required on the PATH",
        ),
        (("chat", "--arm", "contrl", "--prompt", "x"), "--arm contrl: sweep small-"),
        (("chat", "--size", "355m", "--prompt", "x"), "has none; accepted are local-gpt2"),
        (("chat", "nothing"), "nothing: no such sweep"),
    ],
)
def test_bad_input_is_one_line(home: Home, words: tuple[str, ...], told: str) -> None:
    done = CliRunner().invoke(command(words[0]), [word.replace("HOME", str(home.root)) for word in words[1:]])
    assert isinstance(done.exception, BadInput)
    (line,) = done.exception.lines
    assert told.replace("HOME", str(home.root)) in line


def command(word: str) -> Any:
    import typer

    if word == "models":
        return models.app
    app = typer.Typer()
    app.command()(chatting.chat)
    return app


def test_a_damaged_note_and_a_missing_output_are_one_line(home: Home) -> None:
    note = home.root / registered.FOLDER / f"{FULL}.json"
    version = registered.find(home.root, FULL)[1]
    shutil.rmtree(home.place(version.tuned))
    with pytest.raises(BadInput, match="is not there any more; `palms rerun small-"):
        load(FULL)
    note.write_text(json.dumps({"name": FULL}))
    with pytest.raises(BadInput, match="cannot be read"):
        load(FULL)


def test_a_licence_is_read_where_a_folder_states_one(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert stated_licence(tmp_path) is None
    (tmp_path / "README.md").write_text("# license: mit\n")
    assert stated_licence(tmp_path) is None
    (tmp_path / "README.md").write_text('---\nlanguage: en\nlicense: "apache-2.0"\n---\nlicense: mit\n')
    assert stated_licence(tmp_path) == "apache-2.0"
    (tmp_path / "config.json").write_text('{"license": "gpl-3.0"}')
    assert stated_licence(tmp_path) == "gpl-3.0"
