"""What a sweep left, found again by its id: every output that is there, and what the comparison is to know of them.

Reads notes and the store, and starts nothing. A sweep need not have come to its end: what is there is read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from configs.problems import BadInput
from flows.engine.board import read_board
from flows.engine.home import Home
from flows.engine.notes import SweepNote, store_of, sweep_note
from flows.engine.stores import open_store
from flows.engine.stores.folder import Store
from flows.engine.stores.manifest import Damaged, Manifest
from flows.experiment import SCHEMA
from flows.prepared import find_sweep
from tasks.compare.stage import STAGE as COMPARE
from tasks.compare.stage import Settings
from tasks.contract import Axes, Node
from tasks.contract import Stage as Declared

if TYPE_CHECKING:
    from tasks.compare.upstream import Sources


@dataclass(frozen=True)
class Outputs:
    """`keys` by label, in the order of the DAG; what has none was not made."""

    folder: Path  # the sweep's notes
    note: SweepNote
    store: Store
    keys: Mapping[str, str | None]
    _found: dict[str, Manifest | Damaged | None] = field(default_factory=dict, repr=False)  # by label

    @classmethod
    def of(cls, home: Home, sweep: str | None) -> Outputs:
        """Raises BadInput: no such sweep, or what it noted cannot be read."""
        folder = home.sweeps / find_sweep(home, sweep)
        note = sweep_note(folder)
        keys = {entry.label: entry.key for entry in read_board(folder / "state.json")}
        return cls(folder, note, open_store(store_of(home, folder, note)), keys)

    @property
    def sweep(self) -> str:
        return self.folder.name

    @cached_property
    def places(self) -> Mapping[str, Axes]:
        """Where each output stands, by label. Raises BadInput: another version noted it, in other words."""
        known = {one.name for one in fields(Axes)}
        if not all(set(place) <= known for place in self.note.places.values()):
            raise BadInput(self._older())
        return {label: Axes(**place) for label, place in self.note.places.items()}

    @cached_property
    def made(self) -> dict[Node, Manifest | None]:
        """Every node, with its output as far as the store holds a whole one; nodes know their stage's name and axes."""
        return {
            Node(Declared(stage, "", ""), self.places[label], None): found if isinstance(found, Manifest) else None
            for label in self.keys
            for stage, found in [self._find(label)]
        }

    def manifest(self, label: str) -> Manifest | None:
        """The output of a label; None where it was not made. Raises BadInput for one that is damaged."""
        stage, found = self._find(label)
        if isinstance(found, Damaged):
            place = self.store.folder(stage, self.keys[label] or "")
            raise BadInput(f"sweep {self.sweep}: {label} is damaged: {place}: {found.why}; `palms rerun {self.sweep}`")
        return found

    def _find(self, label: str) -> tuple[str, Manifest | Damaged | None]:
        stage, key = label.split("/")[0], self.keys.get(label)
        if label not in self._found:
            self._found[label] = self.store.find(stage, key) if key else None
        return stage, self._found[label]

    @cached_property
    def comparison(self) -> Manifest | None:
        return next(
            (found for label in self.keys if label.split("/")[0] == COMPARE.name and (found := self.manifest(label))), None
        )

    @cached_property
    def settings(self) -> Settings:
        """Of the comparison; before there is one, as far as the experiment tells: without what was measured in words.

        Raises:
            BadInput: another version left it.
        """
        try:
            if self.comparison is not None:
                return TypeAdapter(Settings).validate_python(self.comparison.document["identity"]["settings"])
            experiment = SCHEMA.model_validate(dict(self.note.experiment))
        except ValidationError:
            raise BadInput(self._older()) from None
        return Settings(experiment.name, experiment.primary.suite, experiment.primary.metric, experiment.comparison)

    def sources(self, labels: Collection[str]) -> Sources:
        """These outputs as the comparison reads them, those that are there."""
        from tasks.compare import upstream  # with numpy, which most who ask for outputs do without

        folders = {label: found.folder for label in labels if (found := self.manifest(label))}
        return upstream.read(folders, self.places, self.settings.arms, self.settings.measures)

    def _older(self) -> str:
        return f"sweep {self.sweep}: written by another version, which left too little; `palms rerun {self.sweep}` first"
