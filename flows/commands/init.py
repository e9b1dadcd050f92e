"""`palms init`: starts a set of values of your own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from configs.fields import SetName
from configs.problems import BadInput
from configs.shipped import CONFIGS
from flows.commands.words import out, writing
from model_registry.untrained import write_untrained

SCAFFOLD = CONFIGS / "scaffold"
UNTRAINED = "untrained"  # the folder of the model that try.yaml names
NAME = "NAME"  # what the scaffold says where the new set's name belongs


def init(
    name: Annotated[str, typer.Argument(help="what the new set is called: lower-case letters, digits, - and _")],
    folder: Annotated[Path, typer.Option("--in", help="where the set's folder is made")] = Path(),
) -> None:
    """Start a set of values of your own: positions, datasets with their datasheet, prompts, an experiment over them, and one to try it offline.

    Example:  palms init library && palms dataset validate library
    """
    made = scaffold(name, folder)
    for path in sorted(made.rglob("*")):
        if path.is_file():
            out.print(str(path), highlight=False, markup=False)
    out.print(f"next: edit the texts; `palms dataset validate {made}` says what is still missing", highlight=False)
    out.print(f"then: `palms run {made / 'try.yaml'}` runs every stage offline, on random weights", highlight=False)


def scaffold(name: str, parent: Path) -> Path:
    """A folder with a set to fill in: positions, datasets with their datasheet, prompts, an experiment over them, and the same on a model with
    random weights.

    Raises BadInput for a name that an experiment cannot have, a folder that exists, or a place that cannot be written to.
    """
    try:
        TypeAdapter(SetName).validate_python(name)
    except ValidationError:
        raise BadInput(
            f"{name[:80]}: not a name for a set; up to 60 lower-case letters, digits, - and _ are accepted, a letter or digit first"
        ) from None
    folder = parent / name
    if folder.exists():
        raise BadInput(f"{folder}: exists already; a new name is required")
    if not parent.exists():
        raise BadInput(f"{parent}: no such folder; --in names one that exists")
    with writing(folder):
        shutil.copytree(SCAFFOLD, folder)
        for path in folder.rglob("*"):
            if path.is_file():
                path.write_text(path.read_text(encoding="utf-8").replace(NAME, name), encoding="utf-8")
        write_untrained(folder / UNTRAINED)
    return folder
