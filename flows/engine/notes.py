"""The small notes that a home holds: JSON of a known shape, read whole or refused in one line.

Knows what a sweep notes of itself, so that it is found again by its id. Paths inside the home are noted from the home, so that a home
that was moved or copied is read where it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from configs.problems import BadInput
from flows.engine.home import Home, is_address
from flows.engine.ownership import Owner
from tasks.contract import canonical, replace_file

Shape = TypeVar("Shape")


class Unreadable(BadInput):
    """A note that is not there, that cannot be read, or that holds something else than was written."""


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def read_note(path: Path, shape: Callable[..., Shape], remedy: str) -> Shape:
    """Raises Unreadable, with what is wrong and the remedy, for whatever is no such note."""
    try:
        return _adapter(shape).validate_json(path.read_bytes())
    except OSError as error:
        raise Unreadable(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        what = f"{where}: {first['msg']}" if where else first["msg"]
        raise Unreadable(f"{path}: cannot be read ({what}); {remedy}") from None


@dataclass(frozen=True, config=ConfigDict(extra="ignore"))
class SweepNote:
    """`noted` is when its last run began (seconds since 1970, later than that of every other sweep here); None in an old note.

    `config`, `store` and `tracking` are as `Home.noted` has them; `tracking` is None for the home's own database.
    """

    config: str
    overrides: tuple[str, ...]
    store: str
    tracking: str | None
    tracked_as: str
    calibration: bool
    experiment: Mapping[str, Any]
    params: Mapping[str, int | None]
    places: Mapping[str, Mapping[str, Any]]  # label: its axes, in the words of the version that wrote it
    owner: Owner
    strict_code: bool = False
    flow_run: str | None = None
    ended: bool = True
    untracked: bool = False
    noted: float | None = None


def sweep_note(folder: Path) -> SweepNote:
    """What a sweep noted of itself. Raises Unreadable."""
    path = folder / "sweep.json"
    return read_note(path, SweepNote, f"move {path} away: `palms run CONFIG` writes it anew")


def write_sweep_note(folder: Path, note: SweepNote) -> None:
    replace_file(folder / "sweep.json", canonical(_adapter(SweepNote).dump_python(note, mode="json")))


def store_of(home: Home, folder: Path, note: SweepNote) -> str:
    """The store of a sweep, a path or an address. Raises Unreadable where the note names a path that is not there."""
    if is_address(note.store):
        return note.store
    path = home.place(note.store)
    if not path.is_dir():
        raise Unreadable(
            f"{folder / 'sweep.json'}: its store {path} is not there; put it back, or `palms rerun {folder.name}` makes it anew"
        )
    return str(path)


def tracker_of(home: Home, folder: Path, note: SweepNote) -> str:
    """The tracker's address. Raises Unreadable for a database that is not there: an old note, written where the home stood before."""
    uri = home.tracking_uri(note.tracking)
    if uri != home.tracking_uri() and uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        raise Unreadable(
            f"{folder / 'sweep.json'}: its database {uri} is not there; `palms rerun {folder.name}` notes this home's own"
        )
    return uri
