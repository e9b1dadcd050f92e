"""What came of trying the instruments of a sweep before they were believed."""

from __future__ import annotations

from tasks.compare.upstream import Sources
from tasks.contract import read_json
from tasks.trial import TRIAL


def trials(sources: Sources, which: str = "said", stage: str | None = None) -> list[str]:
    """A line an instrument; `chance`: of those that cannot be told from chance. `stage`: of those that one evaluation uses."""
    found = (node for node in sources.nodes if stage in (None, node.stage.removesuffix("_trial")))
    return [line for node in found if (path := node.folder / TRIAL).is_file() for line in read_json(path)[which]]
