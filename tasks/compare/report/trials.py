"""What came of trying the automatic judges before they were believed."""

from __future__ import annotations

from tasks.compare.upstream import Sources
from tasks.contract import read_json
from tasks.evaluations.judge import judge
from tasks.evaluations.judge.stage import AUC, JUDGE, TRIAL


def trials(sources: Sources, *, only_chance: bool = False) -> list[str]:
    """One a judge; or of those alone that cannot be told from chance."""
    return [
        judge.tried(read_json(node.folder / JUDGE)["judge"], area)
        for node in sources.nodes
        if node.stage == TRIAL.stage.name and (area := node.level(AUC)) is not None and (judge.is_chance(area) or not only_chance)
    ]
