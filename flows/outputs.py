"""What a sweep left, found again by its id: every output that is there, and what the comparison is to know of them.

Reads notes and the store, and starts nothing. A sweep need not have come to its end: what is there is read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from functools import cached_property

from pydantic import TypeAdapter, ValidationError

from configs.problems import BadInput
from flows.engine.board import read_board
from flows.engine.home import Home
from flows.engine.notes import SweepNote, store_of, sweep_note
from flows.engine.store import Damaged, Manifest, Store
from flows.experiment import SCHEMA
from flows.prepared import find_sweep
from tasks.compare import upstream
from tasks.compare.stage import STAGE as COMPARE
from tasks.compare.stage import Settings
from tasks.contract import Axes


@dataclass(frozen=True)
class Outputs:
    """`places` and `keys` by label; what has no key was not made."""

    sweep: str
    note: SweepNote
    store: Store
    places: Mapping[str, Axes]
    keys: Mapping[str, str]

    @classmethod
    def of(cls, home: Home, sweep: str | None) -> Outputs:
        """Raises BadInput: no such sweep, or what it noted cannot be read."""
        name = find_sweep(home, sweep)
        folder = home.sweeps / name
        note = sweep_note(folder)
        known = {field.name for field in fields(Axes)}
        if not all(set(place) <= known for place in note.places.values()):
            raise BadInput(_older(name))
        keys = {entry.label: entry.key for entry in read_board(folder / "state.json") if entry.key}
        places = {label: Axes(**place) for label, place in note.places.items()}
        return cls(name, note, Store(store_of(home, folder, note)), places, keys)

    def manifest(self, label: str) -> Manifest | None:
        """The output of a label; None where it was not made. Raises BadInput for one that is damaged."""
        stage, key = label.split("/")[0], self.keys.get(label)
        found = self.store.find(stage, key) if key else None
        if isinstance(found, Damaged):
            raise BadInput(f"sweep {self.sweep}: {label} is damaged: {found.why}; `palms rerun {self.sweep}`")
        return found

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
            raise BadInput(_older(self.sweep)) from None
        return Settings(experiment.name, experiment.primary.suite, experiment.primary.metric, experiment.comparison)

    def sources(self, labels: Collection[str]) -> upstream.Sources:
        """These outputs as the comparison reads them, those that are there."""
        folders = {label: found.folder for label in labels if (found := self.manifest(label))}
        return upstream.read(folders, self.places, self.settings.arms, self.settings.measures)


def _older(sweep: str) -> str:
    return f"sweep {sweep}: written by another version, which left too little; `palms rerun {sweep}` first"
