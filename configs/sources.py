"""Where a model that scores or judges comes from, as a section of an evaluation names it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from configs.fields import Name, Section


class ModelSource(Section):
    """One of the kinds below, told apart by `kind`."""

    def placed(self, base: Path) -> ModelSource:
        """The same with its path, which is meant from the experiment's own file, made absolute: a runner reads it in another folder
        than a command."""
        return self


class CalibrationScorer(ModelSource):
    kind: Literal["calibration"]


class DetoxifyScorer(ModelSource):
    kind: Literal["detoxify"]
    name: Literal["original", "unbiased", "multilingual", "original-small", "unbiased-small"] = "original"
    checkpoint: str | None = Field(
        None, description="a local checkpoint file, relative to this file; default: the published one, downloaded once"
    )

    def placed(self, base: Path) -> DetoxifyScorer:
        checkpoint = self.checkpoint and str(base / Path(self.checkpoint).expanduser())
        return self.model_copy(update={"checkpoint": checkpoint})


class Classifier(ModelSource):
    """Any sequence-classification model: of a hub id, or of a folder."""

    kind: Literal["classifier"]
    model: str = Field(description="hub id (owner/name), a folder relative to this file, or a name of `palms models ladders`")
    revision: str = Field("main", description="branch, tag or commit of a hub model")
    classes: dict[str, Name] = Field(
        {}, description="label of the model: what it stands for here (`toxicity`, `positive`); a catalogued model has its own"
    )

    def placed(self, base: Path) -> Classifier:
        return self.model_copy(update={"model": _folder_or_id(self.model, base)})


class LanguageModel(ModelSource):
    kind: Literal["local"]
    model: str = Field(
        description="an instruction-tuned model with a chat template: hub id, folder or GGUF file relative to this file, or a "
        "ladder's size (`smollm2/135m-instruct`)"
    )
    revision: str = "main"

    def placed(self, base: Path) -> LanguageModel:
        return self.model_copy(update={"model": _folder_or_id(self.model, base)})


Scorer = Annotated[CalibrationScorer | DetoxifyScorer | Classifier, Field(discriminator="kind")]


def _folder_or_id(model: str, base: Path) -> str:
    """A folder as an absolute path; a hub id stays as it is."""
    folder = base / Path(model).expanduser()
    return str(folder) if folder.exists() or model.startswith((".", "/", "~")) else model
