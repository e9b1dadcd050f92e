"""Where outputs are kept: in a folder, or as objects under an address, by the same manifest."""

from __future__ import annotations

import hashlib
from pathlib import Path

from flows.engine.home import is_address
from flows.engine.stores.folder import Store
from flows.engine.stores.objects import Objects
from model_registry.home import home_folder


def open_store(place: str) -> Store:
    """The store at a path or an address.

    Raises:
        BadInput: as `Store` or, of an address, `Objects`.
    """
    folder = folder_of(place)
    return Objects(place, folder) if is_address(place) else Store(folder)


def folder_of(place: str) -> Path:
    """Where on this node its outputs lie, or come to lie."""
    if not is_address(place):
        return Path(place)
    return home_folder() / "cache" / "stores" / hashlib.sha256(place.rstrip("/").encode()).hexdigest()[:16]
