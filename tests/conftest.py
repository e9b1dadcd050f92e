"""What several test modules need."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.begun import Begin

# The files that take longest, so that no worker is left with one of them at the end. While a worker makes for all what `test_sweep` begins
# with, the other one has `test_tokenization`, which needs nothing of it.
FIRST = ("sweep", "tokenization", "up", "preference_turns", "evaluations", "homes", "faults", "arms", "csv", "extending")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {f"test_{name}.py": at for at, name in enumerate(FIRST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(FIRST)))


@pytest.fixture(scope="session", autouse=True)
def slots_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Workers do not wait for one another's stages: what a test times would be the other's."""
    os.environ["TMPDIR"] = str(tmp_path_factory.mktemp("tmp"))
    tempfile.tempdir = None


@pytest.fixture(scope="module", autouse=True)
def imports_are_no_garbage() -> None:
    """Every tuning ends with a full collection (accelerate's `free_memory`), which took 0.36 s to look through what libraries keep for ever:
    a third of what tuning a tiny model takes."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small models are trained and scored by one thread: as stages do it, and more only slow them down."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def begin(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Begin:
    """Makes of a folder a home in which something has run: from what the worker that needs it first makes for all."""
    from flows.engine.lock import locked
    from tests import begun

    folder = tmp_path_factory.getbasetemp()
    made = (folder if worker_id == "master" else folder.parent) / "begun"
    with locked(made.with_suffix(".lock")):
        if not made.exists():
            begun.make(made.with_suffix(".making"))
            made.with_suffix(".making").rename(made)
    return partial(begun.begin, made)
