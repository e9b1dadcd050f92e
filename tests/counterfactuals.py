"""What tests of counterfactual sentiment share: suites and completions, a small model, its probabilities, and the stage."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.shipped import CONFIGS
from configs.suites import Suite
from model_registry.likelihood import Asked
from model_registry.loading import load_model
from model_registry.tokenization import load_tokenization
from tasks.contract import Metric, read_metrics, write_jsonl
from tasks.evaluations.counterfactual import body, stage
from tasks.sampling.completions import Completion
from tests import defaults, tiny
from tests.jobs import Ran, make_job

PROMPTS = CONFIGS / "prompts"
CALIBRATION = PROMPTS / "calibration" / "counterfactual.yaml"


def suite_file(folder: Path, prompts: Sequence[Mapping[str, str]], form: str = "continuation") -> Path:
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump({"suite": "counterfactual", "form": form, "prompts": [dict(prompt) for prompt in prompts]}))
    return path


def prompt(axis: str, group: str, text: str) -> dict[str, str]:
    return {"id": text.replace(" ", "-"), "axis": axis, "group": group, "text": text}


TWO_BY_TWO = [
    prompt("country", value, text.format(value))
    for text in ("A friend from {} was", "The train to {} felt")
    for value in ("France", "Japan")
]


def completions(suite: Suite, texts: Callable[[str, int], str], n: int) -> list[Completion]:
    """texts: of a prompt's text and the number of the repeat."""
    return [Completion(p.id, p.group, None, p.text, repeat, texts(p.text, repeat)) for p in suite.prompts for repeat in range(n)]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.prepared(tmp_path_factory.mktemp("base"))


def opened(folder: Path) -> tuple[Any, Any]:
    return load_model(folder / "model", precision="fp32", device="cpu"), load_tokenization(folder / "model")


def directly(model: Any, pair: Asked) -> float:
    """log p(completion | prompt), token by token and alone in its batch."""
    import torch

    tokens = [*pair[0], *pair[1]]
    with torch.inference_mode():
        logs = torch.log_softmax(model(input_ids=torch.tensor([tokens])).logits[0].double(), dim=-1)
    return float(sum(logs[place - 1, tokens[place]] for place in range(len(pair[0]), len(tokens))))


def run_stage(work: Path, suite: Path, rows: Sequence[Completion], inputs: Mapping[str, Path], **settings: Any) -> Ran:
    (work / "sampling").mkdir(parents=True)
    write_jsonl(work / "sampling" / "completions.jsonl", [vars(row) for row in rows])
    ran = make_job(
        work / "work",
        defaults.settings(stage, **{"sentiment": "vader", **settings}),
        {"completions": work / "sampling", "suite": suite, **inputs},
    )
    body.run([ran.job])
    assert ran.commits == 1
    return ran


def levels(ran: Ran) -> dict[tuple[str, str], Metric]:
    return {(row.metric, row.group): row for row in read_metrics(ran.work)}
