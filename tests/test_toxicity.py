"""Toxicity: scores by the real Detoxify class over a tiny random BERT, and the measures made of them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from model_registry.scorers import ScorerFolderError, fetch_published, load_scorer
from tasks.completions import Completion, read_completions
from tasks.contract import read_metrics, sha256_file, write_jsonl
from tasks.toxicity import stage
from tasks.toxicity.measures import prompt_rows
from tasks.toxicity.scorer import Reading, Scorer, ScorerError
from tests.jobs import make_job

CLASSES = ["toxic", "severe_toxic", "insult"]
WORDS = ["you", "are", "kind", "fool", "the", "day", "is", "good", "bad", "and"]
WINDOW = 16


pytestmark = pytest.mark.usefixtures("one_thread")


def save_checkpoint(path: Path, architecture: Path, bias: float = 0.0, extra: Any = None) -> None:
    """A random BERT in the format that Detoxify publishes, its classifier's bias set."""
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig.from_pretrained(str(architecture), num_labels=len(CLASSES)))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(20)  # at their first size random weights score every text near one half
        model.classifier.bias.fill_(bias)
    arch = {
        "model_type": "bert-base-uncased",
        "model_name": "BertForSequenceClassification",
        "tokenizer_name": "BertTokenizer",
        "num_classes": len(CLASSES),
    }
    config = {"arch": {"args": arch}, "dataset": {"args": {"classes": CLASSES}}}
    torch.save({"config": config, "state_dict": model.state_dict()} | ({} if extra is None else {"extra": extra}), path)


def describe(folder: Path, checkpoint: str, **changes: str) -> None:
    facts = {"kind": "detoxify", "name": "original", "checkpoint": checkpoint, "sha256": sha256_file(folder / checkpoint)}
    (folder / "scorer.json").write_text(json.dumps(facts | changes))


@pytest.fixture(scope="module")
def scorer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import BertConfig

    folder = tmp_path_factory.mktemp("scorer")
    (folder / "bert").mkdir()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "bert" / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=WINDOW,
    ).save_pretrained(folder / "bert")
    save_checkpoint(folder / "tiny.ckpt", folder / "bert")
    describe(folder, "tiny.ckpt")
    return folder


@pytest.fixture(scope="module")
def detoxify(scorer_folder: Path) -> Any:
    return load_scorer(scorer_folder)


@pytest.fixture
def copy(scorer_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(scorer_folder, tmp_path / "scorer"))


def some_texts() -> list[str]:
    return [" ".join(WORDS[(i * j + j) % len(WORDS)] for j in range(1 + i % 12)) for i in range(40)]


# ---- scoring ------------------------------------------------------------------------------------------------------


def test_scores_are_those_of_detoxify(detoxify: Any) -> None:
    reading = Scorer(detoxify).score(["you are bad", "the day is good"], batch=8)
    assert reading.classes == ("toxicity", "severe_toxicity", "insult")
    for i, text in enumerate(["you are bad", "the day is good"]):
        alone = detoxify.predict(text)
        assert reading.scores[i] == pytest.approx([alone[name] for name in reading.classes], abs=1e-6)
    assert abs(reading.scores[0][0] - reading.scores[1][0]) > 1e-3


def test_scores_depend_neither_on_the_order_of_rows_nor_on_repeats(detoxify: Any) -> None:
    texts = some_texts()
    forward = Scorer(detoxify).score(texts, batch=7)
    again = Scorer(detoxify).score([*reversed(texts), *texts[:5]], batch=7)
    assert again.scores == (*reversed(forward.scores), *forward.scores[:5])


def test_a_last_batch_of_one_text_is_scored(detoxify: Any) -> None:
    assert Scorer(detoxify).score(["you", "are bad", "the day is"], batch=2).scores[2] == pytest.approx(
        Scorer(detoxify).score(["the day is"], batch=64).scores[0], abs=1e-6
    )


def test_empty_and_overlong_texts_are_scored_and_counted(detoxify: Any) -> None:
    window = " ".join(["bad"] * (WINDOW - 2))  # beside the start and end marks
    reading = Scorer(detoxify).score(["", " ", window, window + " day is good"], batch=4)
    assert (reading.empty, reading.truncated) == (2, 1)
    assert reading.scores[0] == pytest.approx([detoxify.predict("")[name] for name in reading.classes], abs=1e-6)
    assert reading.scores[3] == pytest.approx(reading.scores[2], abs=1e-6)


def test_a_scorer_that_gives_no_number_is_an_error(copy: Path) -> None:
    save_checkpoint(copy / "tiny.ckpt", copy / "bert", bias=float("nan"))
    describe(copy, "tiny.ckpt")
    with pytest.raises(ScorerError, match="the scorer gave toxicity nan for 'you'; a number from 0 to 1 is required"):
        Scorer(load_scorer(copy)).score(["you"], batch=4)


# ---- loading ------------------------------------------------------------------------------------------------------


def test_a_checkpoint_with_another_digest_is_not_read(copy: Path) -> None:
    (copy / "tiny.ckpt").write_bytes(b"not even a checkpoint")
    with pytest.raises(ScorerFolderError, match="its sha256 is"):
        load_scorer(copy)


def test_the_digits_in_a_published_name_are_checked(copy: Path) -> None:
    digest = sha256_file(copy / "tiny.ckpt")
    good, bad = f"toxic_original-{digest[:8]}.ckpt", "toxic_original-c1212f89.ckpt"
    for name in (good, bad):
        shutil.copy(copy / "tiny.ckpt", copy / name)
    describe(copy, good)
    assert load_scorer(copy).class_names == ["toxicity", "severe_toxicity", "insult"]
    describe(copy, bad)
    with pytest.raises(ScorerFolderError, match=f"starts with {digest[:8]}; c1212f89, as in its name, is required"):
        load_scorer(copy)


class Payload:
    """What an attacker puts into a pickle: a call that runs when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (Path.touch, (self.target,))


def test_the_pickle_of_a_checkpoint_is_never_run(copy: Path, tmp_path: Path) -> None:
    save_checkpoint(copy / "tiny.ckpt", copy / "bert", extra=Payload(tmp_path / "ran"))
    describe(copy, "tiny.ckpt")
    with pytest.raises(ScorerFolderError, match="not a plain Detoxify checkpoint"):
        load_scorer(copy)
    assert not (tmp_path / "ran").exists()
    torch.load(copy / "tiny.ckpt", weights_only=False)  # the payload is a working one
    assert (tmp_path / "ran").exists()


def test_a_local_checkpoint_becomes_a_scorer_folder(scorer_folder: Path, tmp_path: Path) -> None:
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    fetch_published("original", scorer_folder / "tiny.ckpt", prepared)
    texts = some_texts()
    assert Scorer(load_scorer(prepared)).score(texts, 8) == Scorer(load_scorer(scorer_folder)).score(texts, 8)
    with pytest.raises(ScorerFolderError, match=r"none.ckpt: no such file; the scorer's checkpoint is required"):
        fetch_published("original", tmp_path / "none.ckpt", prepared)


def test_a_tokenizer_that_cannot_be_had_is_worth_another_try(
    scorer_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(scorer_folder / "tiny.ckpt", tmp_path / "alone.ckpt")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ConnectionError, match="hub model bert-base-uncased: its tokenizer cannot be fetched"):
        fetch_published("original", tmp_path / "alone.ckpt", tmp_path)


def test_a_checkpoint_without_some_weights_is_refused(copy: Path) -> None:
    loaded = torch.load(copy / "tiny.ckpt", weights_only=True)
    del loaded["state_dict"]["bert.pooler.dense.weight"]
    torch.save(loaded, copy / "tiny.ckpt")
    describe(copy, "tiny.ckpt")
    with pytest.raises(ScorerFolderError, match=r"1 tensors are missing \(bert.pooler.dense.weight"):
        load_scorer(copy)


def test_an_unknown_kind_is_refused(copy: Path) -> None:
    describe(copy, "tiny.ckpt", kind="perspective")
    with pytest.raises(ScorerFolderError, match="unknown kind 'perspective'; calibration or detoxify is required"):
        load_scorer(copy)


# ---- measures -----------------------------------------------------------------------------------------------------


def completions_of(*texts: tuple[str, str, str | None, int, str]) -> list[Completion]:
    return [Completion(prompt_id, group, kind, "prompt", repeat, text) for prompt_id, group, kind, repeat, text in texts]


def test_measures_by_hand() -> None:
    rows = completions_of(("p", "g", None, 0, "a"), ("p", "g", None, 1, "b"), ("q", "g", None, 0, "c"), ("q", "g", None, 1, "d"))
    reading = Reading(("insult", "toxicity"), ((0, 0.1), (0, 0.5), (1, 0.2), (1, 0.4)), 0, 0)
    found = {(row.prompt_id, row.metric): (row.value, row.kind, row.n) for row in prompt_rows(rows, reading, threshold=0.5)}
    assert found == {
        ("p", "toxicity"): (0.3, "score", 2),
        ("p", "toxic_share"): (0.5, "rate", 2),
        ("p", "expected_max_toxicity_k2"): (0.5, "score", 1),
        ("p", "any_toxic_k2"): (1.0, "rate", 1),
        ("q", "toxicity"): (pytest.approx(0.3), "score", 2),
        ("q", "toxic_share"): (0.0, "rate", 2),
        ("q", "expected_max_toxicity_k2"): (0.4, "score", 1),
        ("q", "any_toxic_k2"): (0.0, "rate", 1),
    }


def test_a_scorer_without_the_class_is_refused() -> None:
    with pytest.raises(ScorerError, match="the scorer has the classes insult; one named toxicity is required"):
        prompt_rows(completions_of(("p", "g", None, 0, "a")), Reading(("insult",), ((0.5,),), 0, 0), 0.5)


def write_completions(folder: Path, prompts: int, repeats: int, drop: int = 0) -> Path:
    folder.mkdir(parents=True)
    texts = some_texts()
    rows = [
        {
            "prompt_id": f"p{i}",
            "group": "ab"[i % 2],
            "kind": ["challenging", "neutral"][i // 2 % 2],
            "prompt": f"prompt {i}",
            "repeat": r,
            "text": texts[(i * repeats + r) % len(texts)],
            "tokens": 3,
            "finish": "stop",
        }
        for i in range(prompts)
        for r in range(repeats)
    ]
    write_jsonl(folder / "completions.jsonl", rows[: len(rows) - drop])
    return folder


def test_a_missing_completion_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"prompt p3 has the repeats \[0, 1\]; 0 to 2, each once, are required"):
        read_completions(write_completions(tmp_path / "c", prompts=4, repeats=3, drop=1))


def test_the_stage_writes_scores_prompts_and_levels(tmp_path: Path, scorer_folder: Path) -> None:
    inputs = {"completions": write_completions(tmp_path / "c", prompts=8, repeats=3), "scorer": scorer_folder}
    ran = make_job(tmp_path / "work", stage.Settings(batch=5), inputs)
    stage.run([ran.job])
    assert ran.commits == 1
    with (ran.work / "scores.csv").open() as stream:
        scores = list(csv.DictReader(stream))
    assert len(scores) == 24
    assert list(scores[0]) == [
        "prompt_id",
        "group",
        "kind",
        "repeat",
        "toxicity",
        "severe_toxicity",
        "insult",
    ]
    metrics = {(m.metric, m.group): m for m in read_metrics(ran.work)}
    groups = {group for metric, group in metrics if metric == "any_toxic_k3"}
    assert groups == {"all", "a", "b", "kind:challenging", "kind:neutral"}
    level = metrics["toxicity", "all"]
    mean = sum(float(row["toxicity"]) for row in scores) / 24
    assert level.value == pytest.approx(mean)
    assert level.n == 8
    assert level.ci_low is not None
    assert level.ci_high is not None
    assert level.ci_low < mean < level.ci_high
    challenging = [float(row["toxicity"]) for row in scores if row["kind"] == "challenging"]
    assert metrics["toxicity", "kind:challenging"].value == pytest.approx(sum(challenging) / 12)
    assert metrics["empty_completions", "all"].value == 0
