"""The registered models of a home: which there are, found by name and alias, and loaded.

A home keeps `models/<name>.json` for each name, with a version for every content that was registered. Places in it are meant from the
home, so that it can be moved. `flows.engine.registry` writes these notes and shows them in MLflow; they do not hang on its database.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from configs.fields import Section
from configs.problems import BadInput, nearest
from model_registry.cards import Facts, card
from model_registry.folders import prepared_folder
from model_registry.home import home_folder

LATEST, CHAMPION = "latest", "champion"
FOLDER = "models"


class Version(Section):
    """One content. `tuned` and `prepared` are the outputs of fine-tuning and of preparing its base, `forced` why it was promoted in spite
    of what spoke against it."""

    number: int
    digest: str  # of what fine-tuning wrote
    tuned: str
    prepared: str
    precision: str
    device: str
    attention: str = "eager"  # of versions that were registered before there was another
    facts: Facts
    forced: str | None = None


class Registered(Section):
    """A name and its versions, numbered from 1 in the order of their registration."""

    name: str
    versions: tuple[Version, ...]
    champion: int | None = None

    def aliases(self, version: Version) -> list[str]:
        newest = [LATEST] if version.number == len(self.versions) else []
        return newest + ([CHAMPION] if version.number == self.champion else [])

    def version(self, wanted: str) -> Version:
        """By number or alias. Raises BadInput."""
        number = {LATEST: len(self.versions), CHAMPION: self.champion}.get(wanted, wanted)
        if number is None:
            raise BadInput(f"{self.name}: no version is champion yet; `palms models promote {self.name}` makes the latest one")
        found = next((one for one in self.versions if str(one.number) == str(number)), None)
        if found is None:
            raise BadInput(f"{self.name}: no version {wanted!r}; {LATEST}, {CHAMPION} and 1 to {len(self.versions)} are accepted")
        return found

    def card(self, version: Version) -> str:
        return card(self.name, version.number, version.facts, version.forced)


def names(home: Path) -> list[str]:
    return sorted(path.stem for path in (home / FOLDER).glob("*.json"))


def read(home: Path, name: str) -> Registered:
    """Raises BadInput: there is none of this name, or its note is damaged."""
    path = home / FOLDER / f"{name}.json"
    if name not in (known := names(home)):
        hint = nearest(name, known) if known else "none is registered yet, a finished `palms run` registers its models"
        raise BadInput(f"{name}: no such model under {home}; {hint}")
    try:
        return Registered.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        why = error.strerror if isinstance(error, OSError) else error.errors(include_url=False)[0]["msg"]
        raise BadInput(
            f"{path}: cannot be read ({why}); move it away: `palms mlflow rebuild` registers its models anew"
        ) from None


def find(home: Path, named: str) -> tuple[Registered, Version]:
    """The model that `NAME`, `NAME@ALIAS` or `NAME/VERSION` stands for; a name alone is its latest version.

    Raises:
        BadInput: there is none, or its note is damaged.
    """
    name, mark, wanted = named.partition("@" if "@" in named else "/")
    model = read(home, name)
    return model, model.version(wanted if mark else LATEST)


def outputs(home: Path, version: Version) -> tuple[Path, Path]:
    """Where what was prepared and what was tuned lie now. Raises BadInput where one of them is gone."""
    found = (home / version.prepared, home / version.tuned)
    for folder in found:
        if not folder.is_dir():
            raise BadInput(f"{folder}: is not there any more; `palms rerun {version.facts.sweep}` makes it anew")
    return found


def load(named: str) -> tuple[Any, Any]:
    """A registered model, in evaluation mode, in the precision and with the attention that it was sampled with, and its tokenizer.

    `named` is `NAME`, `NAME@ALIAS` (latest, champion) or `NAME/VERSION`, as `palms models list` has them, in the home that PALMS_HOME
    names (`.palms` here by default). An adapter comes on its base, as a PEFT model. On a machine without the GPU that it was
    tuned on, it is loaded for the CPU.

    Raises:
        BadInput: there is no such model, or its outputs are not there any more.
        ValueError: its files are damaged.
    """
    home = home_folder()
    version = find(home, named)[1]
    prepared, tuned = outputs(home, version)
    import torch

    from model_registry.loading import load_arm, load_tokenizer

    device = version.device if version.device == "cpu" or torch.cuda.is_available() else "cpu"
    model = load_arm(prepared, tuned, precision=version.precision, device=device, attention=version.attention)
    return model, load_tokenizer(prepared_folder(prepared))
