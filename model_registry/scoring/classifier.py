"""Any sequence-classification model as a scorer, from the hub or a folder.

A folder of this kind holds `model/` (configuration, tokenizer and one layout of weights); scorer.json is `{"kind": "classifier",
"source": "hub:owner/name" or "folder", "revision": the commit, "classes": {label of the model: our name of it}, "files": {name: sha256}}`.
Knows which of the model's labels are scored and how logits become scores in [0, 1]. What a class means is the user's word: a model
says no more than the names of its labels, which are often LABEL_0 and LABEL_1.
"""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model_registry.folders import check_folder, files_that_matter, fingerprint, weight_files
from model_registry.hub import fetch_hub
from model_registry.loading import open_weights
from model_registry.scoring.folder import ScorerFolderError, one_line, read_description, write_description

MODEL = "model"


class Classifier:
    """A loaded sequence classifier, with those attributes of a `detoxify.Detoxify` that scoring reads.

    Scores follow the model's `problem_type` as transformers' own text-classification pipeline does: sigmoid of each label's logit
    for `multi_label_classification` and for a model of one label, else softmax over all labels, of which the named ones are kept.
    """

    def __init__(self, model: Any, tokenizer: Any, classes: Mapping[str, str]) -> None:
        """classes: label of the model → name of the class. Raises ScorerFolderError where the model has no such label or no such score."""
        labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
        known = f"the model has the labels {', '.join(map(str, labels))}"
        if not classes:
            raise ScorerFolderError(f"classes: none; at least one label with the name of its class is required; {known}")
        if unknown := sorted(classes.keys() - set(labels)):
            raise ScorerFolderError(f"classes: {unknown[0]}: not a label of the model; {known}")
        if len(set(classes.values())) < len(classes):
            raise ScorerFolderError(f"classes: {', '.join(classes.values())}: a name of its own for each label is required")
        if model.config.problem_type == "regression":
            raise ScorerFolderError("problem_type: regression, which bounds no score; a model that classifies is required")
        self.model, self.tokenizer = model, tokenizer
        self._kept = [i for i, label in enumerate(labels) if label in classes]  # in the model's order, whatever the user's
        self.class_names = [classes[labels[i]] for i in self._kept]
        self._each_alone = model.config.problem_type == "multi_label_classification" or len(labels) == 1

    def predict(self, texts: Sequence[str]) -> dict[str, list[float]]:
        """Scores in [0, 1] of each class, in the order of the texts; a text beyond the tokenizer's limit is cut there."""
        import torch

        with torch.no_grad():
            inputs = self.tokenizer(list(texts), return_tensors="pt", truncation=True, padding=True).to(self.model.device)
            scores = self.scores(self.model(**inputs).logits.cpu())
        return {name: scores[:, i].tolist() for i, name in enumerate(self.class_names)}

    def scores(self, logits: Any) -> Any:
        """Scores in [0, 1], (text, class), of the model's logits, (text, label)."""
        import torch

        logits = logits.masked_fill(
            ~torch.isfinite(logits), torch.nan
        )  # of +inf a sigmoid would make a plausible 1.0; no number is no score
        return (torch.sigmoid(logits) if self._each_alone else torch.softmax(logits, dim=1))[:, self._kept]


def fetch_classifier(id_or_folder: str, revision: str, classes: Mapping[str, str], folder: Path) -> None:
    """Make `folder` a scorer folder of a sequence-classification model: a copy of what is needed of it, opened once to see that it works.

    Args:
        id_or_folder: `owner/name` on the hub, or the path of a folder as `save_pretrained` writes it.
        revision: branch, tag or commit on the hub; empty for a folder.
        classes: label of the model → name of the class that its score is kept under; labels not named are left out.

    Raises:
        ValueError (ScorerFolderError among them): nothing there that can be loaded without running its code, weights that do not
        fit, a label that the model does not have, or a tokenizer that cannot pad or read an empty text: final.
        ConnectionError: the hub is out of reach: worth another try.
    """
    if revision:
        from huggingface_hub.constants import HF_HUB_CACHE

        source, commit = fetch_hub(id_or_folder, revision, Path(HF_HUB_CACHE))
    else:
        source, commit = Path(id_or_folder).expanduser(), ""
        check_folder(source)
    copy = folder / MODEL
    copy.mkdir(exist_ok=True)
    for name in files_that_matter(file.name for file in source.iterdir()):
        shutil.copyfile(source / name, copy / name)
    description = {
        "kind": "classifier",
        "source": f"hub:{id_or_folder}" if revision else "folder",
        "revision": commit,
        "classes": dict(classes),
        "files": fingerprint(copy),
    }
    write_description(folder, description)
    _opened(copy, classes, "cpu", id_or_folder)


def load_classifier(folder: Path, device: str = "cpu") -> Classifier:
    """The classifier of a folder that `fetch_classifier` wrote, in single precision.

    Raises:
        ScorerFolderError: a file is not the recorded one, or the model cannot be used (see `fetch_classifier`).
    """
    description, copy = read_description(folder), folder / MODEL
    found = fingerprint(copy) if copy.is_dir() else {}
    for name, recorded in description["files"].items():
        if found.get(name) != recorded:
            raise ScorerFolderError(f"{copy / name}: its sha256 is {found.get(name)}; {recorded} is required")
    return _opened(copy, description["classes"], device, copy)


def _opened(folder: Path, classes: Mapping[str, str], device: str, named: object) -> Classifier:
    try:
        return Classifier(*_open(folder, device), classes)
    except ScorerFolderError as error:
        raise ScorerFolderError(f"classifier {named}: {error}") from None


def _open(folder: Path, device: str) -> tuple[Any, Any]:
    """Model and tokenizer, opened as `model_registry.loading` opens language models: no free pickle, no code of a repository."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    weights = weight_files(file.name for file in folder.iterdir())
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        # shapes that do not fit are told below, by name
        model, told = open_weights(AutoModelForSequenceClassification, folder, "fp32", ignore_mismatched_sizes=True)
    except pickle.UnpicklingError:
        raise ScorerFolderError(
            f"{weights[0]} holds more than tensors; a file that torch opens with weights_only is required"
        ) from None
    except (ValueError, KeyError, OSError, RuntimeError) as error:
        raise ScorerFolderError(f"cannot be opened ({one_line(error)}); a sequence-classification model is required") from None
    # transformers fills what it does not find with random numbers and goes on
    unfit = [*told["missing_keys"], *(key for key, *_ in told["mismatched_keys"])]
    if unfit:
        raise ScorerFolderError(
            f"{len(unfit)} weights are missing or of another shape ({min(unfit)}, …); "
            "a sequence-classification model with weights that fit config.json is required"
        )
    if tokenizer.pad_token is None:
        raise ScorerFolderError("the tokenizer has no pad_token; one is required to score texts together")
    if not tokenizer("")["input_ids"]:
        raise ScorerFolderError("the tokenizer makes no token of an empty text; one that adds a start or end mark is required")
    return model.to(device).eval(), tokenizer
