"""What several test modules need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

# The files that take longest, so that no worker is left with one of them at the end: 1 to 9 minutes each.
FIRST = ("sweep", "up", "homes", "evaluations", "faults", "arms", "csv", "extending")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {f"test_{name}.py": at for at, name in enumerate(FIRST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(FIRST)))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small models are trained and scored by one thread: as stages do it, and more only slow them down."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
