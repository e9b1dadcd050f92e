"""Scorers: Detoxify's published files held to their digests, and any sequence classifier from a folder or the hub."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch

from model_registry import scorers
from model_registry.scorers import ScorerFolderError, fetch_classifier, fetch_published, load_scorer
from tasks.contract import read_json, sha256_file
from tasks.prepare import body
from tasks.prepare import stage as prepare
from tasks.scoring import Scorer
from tests import hub_stand_in, tiny_scorers
from tests.jobs import make_job
from tests.tiny_scorers import WINDOW, Payload, some_texts

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def prepared_detoxify(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_scorers.detoxify(tmp_path_factory.mktemp("scorer"))


@pytest.fixture
def copy(prepared_detoxify: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared_detoxify, tmp_path / "scorer"))


# ---- a prepared folder of a published model -----------------------------------------------------------------------


def test_a_checkpoint_with_another_digest_is_not_read(copy: Path) -> None:
    (copy / "tiny.ckpt").write_bytes(b"not even a checkpoint")
    with pytest.raises(ScorerFolderError, match="its sha256 is"):
        load_scorer(copy)


def test_the_digits_in_a_published_name_are_checked(copy: Path) -> None:
    digest = sha256_file(copy / "tiny.ckpt")
    good, bad = f"toxic_original-{digest[:8]}.ckpt", "toxic_original-c1212f89.ckpt"
    for name in (good, bad):
        shutil.copy(copy / "tiny.ckpt", copy / name)
    tiny_scorers.describe(copy, good)
    assert load_scorer(copy).class_names == ["toxicity", "severe_toxicity", "insult"]
    tiny_scorers.describe(copy, bad)
    with pytest.raises(ScorerFolderError, match=f"starts with {digest[:8]}; c1212f89, as in its name, is required"):
        load_scorer(copy)


def test_the_pickle_of_a_checkpoint_is_never_run(copy: Path, tmp_path: Path) -> None:
    tiny_scorers.checkpoint(copy / "tiny.ckpt", copy / "bert", extra=Payload(tmp_path / "ran"))
    tiny_scorers.describe(copy, "tiny.ckpt")
    with pytest.raises(ScorerFolderError, match="not a plain Detoxify checkpoint"):
        load_scorer(copy)
    assert not (tmp_path / "ran").exists()
    torch.load(copy / "tiny.ckpt", weights_only=False)  # the payload is a working one
    assert (tmp_path / "ran").exists()


def test_a_local_checkpoint_becomes_a_scorer_folder(prepared_detoxify: Path, tmp_path: Path) -> None:
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    fetch_published("original", prepared_detoxify / "tiny.ckpt", prepared)
    texts = some_texts()
    assert Scorer(load_scorer(prepared)).score(texts, 8) == Scorer(load_scorer(prepared_detoxify)).score(texts, 8)
    with pytest.raises(ScorerFolderError, match=r"none.ckpt: no such file; the scorer's checkpoint is required"):
        fetch_published("original", tmp_path / "none.ckpt", prepared)


def test_a_tokenizer_that_cannot_be_had_is_worth_another_try(
    prepared_detoxify: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(prepared_detoxify / "tiny.ckpt", tmp_path / "alone.ckpt")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ConnectionError, match="hub model bert-base-uncased: its tokenizer cannot be fetched"):
        fetch_published("original", tmp_path / "alone.ckpt", tmp_path)


def test_a_checkpoint_without_some_weights_is_refused(copy: Path) -> None:
    loaded = torch.load(copy / "tiny.ckpt", weights_only=True)
    del loaded["state_dict"]["bert.pooler.dense.weight"]
    torch.save(loaded, copy / "tiny.ckpt")
    tiny_scorers.describe(copy, "tiny.ckpt")
    with pytest.raises(ScorerFolderError, match=r"1 tensors are missing \(bert.pooler.dense.weight"):
        load_scorer(copy)


def test_an_unknown_kind_is_refused(copy: Path) -> None:
    tiny_scorers.describe(copy, "tiny.ckpt", kind="perspective")
    with pytest.raises(ScorerFolderError, match="unknown kind 'perspective'; calibration, detoxify or classifier is required"):
        load_scorer(copy)


# ---- downloading a published model --------------------------------------------------------------------------------


class Publisher:
    """Serves one file on the loopback, whole or cut off half-way, and counts what was asked of it."""

    def __init__(self, content: bytes) -> None:
        self.content, self.cut, self.asked = content, False, 0
        publisher = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                publisher.asked += 1
                self.send_response(200)
                self.send_header("Content-Length", str(len(publisher.content)))
                self.end_headers()
                self.wfile.write(publisher.content[: len(publisher.content) // 2] if publisher.cut else publisher.content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


class Publication:
    """Where a published model comes from in a test, and where Detoxify keeps it."""

    def __init__(self, publisher: Publisher, name: str, cache: Path) -> None:
        self.publisher, self.name = publisher, name
        self.file = cache / "checkpoints" / name
        self.record = self.file.with_name(name + ".sha256")

    def fetch(self, folder: Path, model: str = "original") -> dict[str, Any]:
        folder.mkdir(exist_ok=True)
        fetch_published(model, None, folder)
        return read_json(folder / "scorer.json")


@pytest.fixture
def published(prepared_detoxify: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publication]:
    """Every published name stands for the tiny checkpoint, whose architecture is found beside it."""
    from detoxify import detoxify

    content = (prepared_detoxify / "tiny.ckpt").read_bytes()
    publisher = Publisher(content)
    name = f"toxic_original-{sha256_file(prepared_detoxify / 'tiny.ckpt')[:8]}.ckpt"
    monkeypatch.setattr(detoxify, "MODEL_URLS", dict.fromkeys(detoxify.MODEL_URLS, f"{publisher.url}/{name}"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    shutil.copytree(prepared_detoxify / "bert", tmp_path / "cache" / "hub" / "checkpoints" / "bert")
    yield Publication(publisher, name, tmp_path / "cache" / "hub")
    publisher.server.shutdown()
    publisher.server.server_close()


def test_every_published_file_tells_eight_digits_of_its_digest() -> None:
    from detoxify.detoxify import MODEL_URLS

    assert set(MODEL_URLS) == {"original", "unbiased", "multilingual", "original-small", "unbiased-small"}
    assert all(re.search(r"-[0-9a-f]{8}\.ckpt$", url) for url in MODEL_URLS.values())


@pytest.mark.parametrize("model", ["original", "unbiased", "multilingual", "original-small", "unbiased-small"])
def test_a_published_model_is_downloaded_once_and_its_digest_recorded(published: Publication, tmp_path: Path, model: str) -> None:
    digest = published.fetch(tmp_path / "first", model)["sha256"]
    assert published.record.read_text() == f"{digest}  {published.name}\n"
    assert published.fetch(tmp_path / "second", model)["sha256"] == digest == sha256_file(published.file)
    assert published.publisher.asked == 1
    assert load_scorer(tmp_path / "second").class_names == ["toxicity", "severe_toxicity", "insult"]


def test_a_file_that_changed_since_it_was_downloaded_is_refused(published: Publication, tmp_path: Path) -> None:
    before = published.fetch(tmp_path / "first")["sha256"]
    published.file.write_bytes(published.file.read_bytes() + b"x")
    with pytest.raises(ScorerFolderError) as told:
        published.fetch(tmp_path / "second")
    after = sha256_file(published.file)
    assert str(told.value) == (
        f"{published.file}: its sha256 is {after}, {published.record.name} records {before}; "
        "the file as first downloaded is required: delete both to download it again"
    )
    published.file.unlink()
    published.record.unlink()
    assert published.fetch(tmp_path / "second")["sha256"] == before


@pytest.mark.parametrize("record", ["", "0" * 64 + "  other.ckpt\n"])
def test_a_record_of_another_file_is_refused_also_after_a_new_download(
    published: Publication, tmp_path: Path, record: str
) -> None:
    published.record.write_text(record)
    with pytest.raises(ScorerFolderError, match=rf"records {record.split()[0] if record else 'none'}; .* delete both"):
        published.fetch(tmp_path / "first")
    assert published.record.read_text() == record


def test_a_file_that_was_there_before_is_checked_by_its_digits_and_then_recorded(published: Publication, tmp_path: Path) -> None:
    published.file.write_bytes(b"something else")
    with pytest.raises(ScorerFolderError, match=r"its sha256 starts with \w{8}; \w{8}, as in its name, is required"):
        published.fetch(tmp_path / "first")
    assert not published.record.exists()
    published.file.write_bytes(published.publisher.content)
    digest = published.fetch(tmp_path / "first")["sha256"]
    assert published.record.read_text().split() == [digest, published.name]
    assert published.publisher.asked == 0


def test_a_download_that_was_cut_off_is_not_taken_for_the_file(published: Publication, tmp_path: Path) -> None:
    published.publisher.cut = True
    with pytest.raises(
        ConnectionError, match=f"{published.name}: cannot be downloaded .* a local checkpoint is required"
    ) as told:
        published.fetch(tmp_path / "first")
    assert "\n" not in str(told.value)
    assert [path.name for path in published.file.parent.iterdir()] == ["bert"]
    published.publisher.cut = False
    assert published.fetch(tmp_path / "first")["checkpoint"] == published.name


def test_a_name_that_detoxify_does_not_publish_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScorerFolderError, match=r"scorer 'orignal': not published by Detoxify; one of original, unbiased"):
        fetch_published("orignal", None, tmp_path)


# ---- any sequence classifier --------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tiny_scorers.classifier(tmp_path / "source")


def prepare_classifier(source: Path, folder: Path, **classes: str) -> Path:
    folder.mkdir()
    fetch_classifier(str(source), "", classes, folder)
    return folder


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (("clean", "toxic"), None),
        (("clean", "toxic", "odd"), "single_label_classification"),
        (("threat", "toxic"), "multi_label_classification"),
        (("toxic",), None),
    ],
)
def test_scores_are_those_of_the_text_classification_pipeline(
    tmp_path: Path, labels: tuple[str, ...], problem: str | None
) -> None:
    from transformers import pipeline

    source = tiny_scorers.classifier(tmp_path / "source", labels, problem_type=problem)
    oracle = pipeline("text-classification", model=str(source), tokenizer=str(source), top_k=None, device="cpu")
    prepared = prepare_classifier(source, tmp_path / "scorer", toxic="toxicity")
    texts = [text for text in some_texts() if len(text.split()) <= WINDOW - 2]
    reading = Scorer(load_scorer(prepared)).score(texts, 8)
    expected = [next(entry["score"] for entry in oracle([text])[0] if entry["label"] == "toxic") for text in texts]
    assert reading.classes == ("toxicity",)
    assert reading.column("toxicity") == pytest.approx(expected, abs=1e-5)
    assert max(expected) - min(expected) > 0.01


def test_control_tokens_in_a_text_are_text(prepared_detoxify: Path, tmp_path: Path) -> None:
    classifier = prepare_classifier(tiny_scorers.classifier(tmp_path / "source"), tmp_path / "scorer", toxic="toxicity")
    for folder in (prepared_detoxify, classifier):
        tokenizer = load_scorer(folder).tokenizer
        ids = tokenizer("you [SEP] are [PAD] kind [CLS]")["input_ids"]
        for token in ("[PAD]", "[CLS]", "[SEP]"):
            assert ids[1:-1].count(tokenizer.convert_tokens_to_ids(token)) == 0
        assert len(ids) > 5


def test_classes_come_in_the_order_of_the_model(tmp_path: Path) -> None:
    source = tiny_scorers.classifier(tmp_path / "source", ("a", "b", "c"))
    one = prepare_classifier(source, tmp_path / "one", c="hate", a="toxicity")
    other = prepare_classifier(source, tmp_path / "other", a="toxicity", c="hate")
    assert load_scorer(one).class_names == load_scorer(other).class_names == ["toxicity", "hate"]
    assert (one / "scorer.json").read_bytes() == (other / "scorer.json").read_bytes()


def test_a_model_without_named_labels_has_numbered_ones(source: Path, tmp_path: Path) -> None:
    config = read_json(source / "config.json")
    for key in ("id2label", "label2id"):
        del config[key]
    (source / "config.json").write_text(json.dumps(config))
    assert load_scorer(prepare_classifier(source, tmp_path / "scorer", LABEL_1="toxicity")).class_names == ["toxicity"]
    with pytest.raises(ScorerFolderError, match=r"toxic: not a label of the model; the model has the labels LABEL_0, LABEL_1"):
        prepare_classifier(source, tmp_path / "other", toxic="toxicity")


def test_the_window_is_what_the_model_has_positions_for(tmp_path: Path) -> None:
    """RoBERTa skips positions up to the padding token's; its tokenizer here sets no limit, and one token too many would crash."""
    prepared = prepare_classifier(
        tiny_scorers.classifier(tmp_path / "source", roberta=True), tmp_path / "scorer", toxic="toxicity"
    )
    scorer = Scorer(load_scorer(prepared))
    full = " ".join(["bad"] * (WINDOW - 2))
    reading = scorer.score(["", full, full + " day is good"], 4)
    assert scorer.window == WINDOW
    assert (reading.empty, reading.truncated) == (1, 1)
    assert reading.scores[2] == pytest.approx(reading.scores[1], abs=1e-6)


def test_a_model_without_a_limit_reads_whole_texts(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_scorer(prepare_classifier(source, tmp_path / "scorer", toxic="toxicity"))
    fresh = tiny_scorers.tokenizer()
    loaded.model.config.max_position_embeddings = -1  # as configurations without the field answer
    scorers.set_window(loaded.model, fresh)
    assert fresh.model_max_length > 10**6


def test_the_stage_prepares_a_classifier_and_records_its_files(source: Path, tmp_path: Path) -> None:
    settings = prepare.ScorerSettings(
        "classifier", id=str(source), classes=(("toxic", "toxicity"),), listing=prepare.listing(source)
    )
    ran = make_job(tmp_path / "work", settings, {})
    body.run_scorer([ran.job])
    assert ran.commits == 1
    described = read_json(ran.work / "scorer.json")
    assert described["source"] == "folder"
    assert described["files"]["model.safetensors"] == sha256_file(source / "model.safetensors")
    assert set(described["files"]) == {file.name for file in (ran.work / "model").iterdir()}
    shutil.rmtree(source)
    assert load_scorer(ran.work).class_names == ["toxicity"]
    with (ran.work / "model" / "model.safetensors").open("r+b") as weights:
        weights.seek(-1, os.SEEK_END)
        weights.write(b"?")
    with pytest.raises(ScorerFolderError, match=r"model.safetensors: its sha256 is \w{64}; \w{64} is required"):
        load_scorer(ran.work)
    (ran.work / "model" / "model.safetensors").unlink()
    with pytest.raises(ScorerFolderError, match=r"model.safetensors: its sha256 is None"):
        load_scorer(ran.work)


def changed(folder: Path, **fields: Any) -> None:
    config = read_json(folder / "config.json")
    (folder / "config.json").write_text(json.dumps(config | fields))


def without_head(folder: Path) -> None:
    from transformers import BertForSequenceClassification

    BertForSequenceClassification.from_pretrained(folder).bert.save_pretrained(folder)


def other_head(folder: Path) -> None:
    changed(folder, id2label={"0": "clean", "1": "toxic", "2": "odd"}, label2id={"clean": 0, "toxic": 1, "odd": 2})


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"weight": torch.zeros(1), "payload": Payload(folder.parent / "ran")}, folder / "pytorch_model.bin")


def own_code(folder: Path) -> None:
    (folder / "own.py").write_text(f"open({str(folder.parent / 'ran')!r}, 'w')\n")
    changed(folder, model_type="unheard_of", auto_map={"AutoConfig": "own.C", "AutoModelForSequenceClassification": "own.M"})


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda folder: changed(folder, problem_type="regression"), "regression, which bounds no score"),
        (without_head, r"2 weights are missing or of another shape \(classifier.bias"),
        (other_head, r"2 weights are missing or of another shape \(classifier.bias"),
        (pickled, "pytorch_model.bin holds more than tensors"),
        (own_code, "cannot be opened"),
        (lambda folder: tiny_scorers.tokenizer(pad_token=None).save_pretrained(folder), "no pad_token"),
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer"),
        (shutil.rmtree, "no such folder"),
    ],
    ids=["regression", "no-head", "other-head", "pickle", "own-code", "no-padding", "no-config", "no-tokenizer", "no-folder"],
)
def test_what_cannot_score_is_refused_when_it_is_prepared(source: Path, tmp_path: Path, harm: Any, words: str) -> None:
    harm(source)
    with pytest.raises(ValueError, match=words) as told:
        prepare_classifier(source, tmp_path / "scorer", toxic="toxicity")
    assert "\n" not in str(told.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ({}, "classes: none; at least one label .* labels clean, toxic"),
        ({"hate": "toxicity"}, "classes: hate: not a label of the model; the model has the labels clean, toxic"),
        ({"clean": "toxicity", "toxic": "toxicity"}, "a name of its own for each label is required"),
    ],
)
def test_classes_that_the_model_cannot_give_are_refused(
    source: Path, tmp_path: Path, classes: dict[str, str], words: str
) -> None:
    with pytest.raises(ScorerFolderError, match=words):
        prepare_classifier(source, tmp_path / "scorer", **classes)


def test_a_tokenizer_that_makes_nothing_of_an_empty_text_is_refused(source: Path, tmp_path: Path) -> None:
    tokenizer = read_json(source / "tokenizer.json")
    (source / "tokenizer.json").write_text(json.dumps(tokenizer | {"post_processor": None}))
    with pytest.raises(ScorerFolderError, match="no token of an empty text; one that adds a start or end mark is required"):
        prepare_classifier(source, tmp_path / "scorer", toxic="toxicity")


FETCH = """
import json, pathlib, sys
from model_registry.scorers import fetch_classifier, known
folder = pathlib.Path(sys.argv[1])
listed = known()["granite-guardian-hap-38m"]
fetch_classifier(listed.id, listed.revision, listed.classes, folder)
"""


@pytest.mark.slow
def test_a_listed_classifier_is_fetched_from_the_hub_by_name_and_pinned(tmp_path: Path) -> None:
    source = tiny_scorers.classifier(tmp_path / "source", ("LABEL_0", "LABEL_1"), roberta=True)
    (source / "own.py").write_text("x")
    (source / "training_args.bin").write_bytes(b"x")
    name = scorers.known()["granite-guardian-hap-38m"].id
    prepared = tmp_path / "scorer"
    prepared.mkdir()
    with hub_stand_in.serve({name: source}) as hub:
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
        command = [sys.executable, "-c", FETCH, str(prepared)]  # of its own: the hub's address is read once, at import
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "own.py" not in hub.downloads
        assert "training_args.bin" not in hub.downloads
        described = read_json(prepared / "scorer.json")
        assert (described["source"], described["revision"]) == (f"hub:{name}", hub.commit(name))
    assert described["classes"] == {"LABEL_1": "toxicity"}
    assert Scorer(load_scorer(prepared)).score(["you are bad", ""], 2).classes == ("toxicity",)
