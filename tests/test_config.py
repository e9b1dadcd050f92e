"""Configuration: every mistake is one line that says what, where and what would be accepted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from configs import schema
from configs.positions import load_positions
from configs.problems import BadInput
from configs.shipped import CONFIGS, find_experiment, shipped
from flows.engine.home import Home
from flows.experiment import json_schema, read_experiment
from flows.prepared import prepare_run
from flows.request import request
from tasks.finetune import methods
from tasks.finetune.methods.full import Full

METHODS = ", ".join(["none", "checkpoint", "null_adapter", *sorted(methods.found())])
GOOD = """\
name: demo
ladders:
  - {ladder: gpt2, sizes: [124m]}
arms:
  base: {method: none}
  tuned:
    method: full
    dataset: good
    epochs: 3
datasets: {good: a.jsonl}
suites:
  human_eval: {prompts: p.yaml, completions: 3}
primary: {suite: human_eval, metric: toxicity}
"""


def problems(tmp_path: Path, text: str, *sets: str) -> list[str]:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        read_experiment(path, sets)
    return [line.replace(str(path), "x.yaml") for line in caught.value.lines]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("epochs: 3", "epochz: 3", 'x.yaml:9: arms.tuned.epochz: unknown key; did you mean "epochs"?'),
        ("epochs: 3", "epochs: 0", "x.yaml:9: arms.tuned.epochs: input should be greater than or equal to 1 (got 0)"),
        ("completions: 3", "completion: 3", 'x.yaml:12: suites.human_eval.completion: unknown key; did you mean "completions"?'),
        ("name: demo\n", "", "x.yaml:1: name: is required"),
        ("dataset: good", "dataset: bad", 'x.yaml:8: arms.tuned.dataset: unknown dataset "bad"; datasets: good'),
        (
            "  tuned:",
            "  values:",
            'x.yaml:6: arms.values: "values" collides with a method of torch.nn.ModuleDict; '
            'choose another name, such as "values_targeted"',
        ),
        ("name: demo", "name: demo\nname: again", 'x.yaml:2: key "name" stands twice; keep one'),
        ("suites:", "suites: [", "x.yaml:13: did not find expected ',' or ']'; valid YAML is required"),
        ("{ladder: gpt2, sizes: [124m]}", "{ladder: gpt2}", "x.yaml:3: ladders.0: needs either `sizes` (of a ladder in the catalogue) "
         "or `models` (a folder, GGUF file or hub id a size)"),
        ("suite: human_eval, metric", "suite: other, metric", 'x.yaml:13: primary.suite: unknown suite "other"; suites: human_eval'),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_its_place(tmp_path: Path, old: str, new: str, line: str) -> None:
    assert problems(tmp_path, GOOD.replace(old, new, 1)) == [line]


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    assert len(problems(tmp_path, GOOD.replace("epochs", "epochz").replace("completions", "completion"))) == 2


def test_overrides_reach_every_value_and_are_named_when_wrong(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(GOOD)
    experiment = read_experiment(path, ["arms.tuned.learning_rate=1e-4", "seeds=[1, 2]", "ladders.0.sizes=[355m]"])
    arm = experiment.arms["tuned"]
    assert isinstance(arm, Full)
    assert (arm.learning_rate, experiment.seeds, experiment.ladders[0].sizes) == (1e-4, (1, 2), ("355m",))
    assert problems(tmp_path, GOOD, "arms.tuned.epochs=many")[0].startswith(
        "--set arms.tuned.epochs: input should be a valid integer"
    )
    assert problems(tmp_path, GOOD, "seeds")[0] == "--set seeds: not of the form key.path=value"
    assert "lies inside a plain value" in problems(tmp_path, GOOD, "name.x.y=1")[0]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("arms.tuneed.epochs=8", 'the file has none of that name; did you mean "tuned"? of a new one, method is required; '
         f"accepted are {METHODS}"),
        ("arms.tuned.method=ful", f"did you mean 'full'? accepted are {METHODS} (got 'ful')"),
        ("arms.other={epochs: 3}", f"is required; accepted are {METHODS}"),
        ("suites.human_evl.completions=4", 'the file has none of that name; did you mean "human_eval"? of a new one, prompts is required'),
        ("evaluations.toxicity.scorer.name=original", "the file has none of that name; of a new one, toxicity.suites is required, and "
         "toxicity.scorer.kind is required; accepted are calibration, detoxify, classifier"),
        ("numeric.threads=1", 'unknown key; did you mean "numerics"?'),
    ],
)  # fmt: skip
def test_a_set_that_begins_what_is_not_there_is_one_line(tmp_path: Path, given: str, line: str) -> None:
    (told,) = problems(tmp_path, GOOD, given)
    assert told.startswith("--set ")
    assert told.endswith(line)


def test_an_experiment_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(BadInput, match='gpt: no such experiment; did you mean "gpt2"'):
        find_experiment("gpt")
    with pytest.raises(BadInput, match=r"no/such\.yaml: no such file"):
        find_experiment("no/such.yaml")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"name: \xff")
    with pytest.raises(BadInput, match=r"x\.yaml:1: byte 0xff is not UTF-8"):
        read_experiment(path)


@pytest.mark.parametrize("name", shipped())
def test_shipped_experiments_are_valid_and_point_to_files_that_exist(name: str) -> None:
    path = shipped()[name]
    experiment = read_experiment(path)
    for given in [
        *experiment.datasets.values(),
        *(suite.prompts for suite in experiment.suites.values()),
        *filter(None, [experiment.positions]),
        *filter(None, [experiment.positions]),
    ]:
        assert (path.parent / given).is_file()


@pytest.mark.parametrize("name", ["calibration", "gpt2"])
def test_what_a_stage_halves_for_want_of_memory_is_one_of_its_settings(name: str, tmp_path: Path) -> None:
    nodes = prepare_run(Home(tmp_path), request(name)).dag.nodes
    halved = {node.stage.name: hasattr(node.settings, node.stage.shrink) for node in nodes if node.stage.shrink}
    assert set(halved) >= {"finetune", "sampling", "toxicity"}
    assert all(halved.values())


def test_the_editor_schema_is_what_the_code_says() -> None:
    assert json.loads((CONFIGS / "experiment.schema.json").read_text()) == json_schema()


def test_reserved_arm_names_are_methods_of_module_dict() -> None:
    public = {name for name in dir(torch.nn.ModuleDict) if not name.startswith("_")}
    assert public >= schema.RESERVED_ARMS
    assert {"values", "keys", "items", "pop", "clear", "update"} <= schema.RESERVED_ARMS


def test_positions_cover_the_eight_categories_and_mistakes_have_lines(tmp_path: Path) -> None:
    assert len(load_positions(CONFIGS / "positions.yaml")) == 8
    path = tmp_path / "p.yaml"
    path.write_text("positions:\n  - {category: a, statement: x}\n  - {category: a, statement: y}\n")
    with pytest.raises(BadInput, match=r':3: positions\.1: category "a" has a position already'):
        load_positions(path)
    for text, told in {
        "{category: a}": ":2: positions.0.statement: is required",
        "{category: a, statement: x, claim: {}}": ':2: positions.0.claim: unknown key; did you mean "claims"?',
        "{category: a, statement: x, claims: {B: y}}": ":2: positions.0.claims.B: string should match pattern",
        "{category: a, statement: ' '}": ":2: positions.0.statement: is blank; text is required",
        "{category: a, statement: x, instruments: [{name: UDHR, articles: []}]}": ":2: positions.0.instruments.0.articles: no entries;",
    }.items():
        path.write_text(f"positions:\n  - {text}\n")
        with pytest.raises(BadInput) as caught:
            load_positions(path)
        assert str(caught.value).startswith(f"{path}{told}")
