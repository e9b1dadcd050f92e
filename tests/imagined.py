"""Committed outputs of an imagined sweep: what arms answered, how it was labelled and scored, prompt by prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tasks.compare import upstream
from tasks.compare.comparison import Comparison
from tasks.compare.stage import Settings
from tasks.contract import Axes, digest_of, write_json, write_jsonl, write_rows
from tests.arms import ARMS, MEASURES

OUTCOME = ("rated", "on_position")
SETTINGS = Settings("imagined", *OUTCOME, ARMS, measures=MEASURES, resamples=99)
TUNED = ("values_targeted", "control")
DRAWS = 4  # completions a prompt


@dataclass
class Imagined:
    """Committed outputs of two categories of prompts; `made_by` goes into every key."""

    root: Path
    made_by: str = ""
    inputs: dict[str, Path] = field(default_factory=dict)
    places: dict[str, Axes] = field(default_factory=dict)

    def output(self, stage: str, axes: Axes, **settings: Any) -> Path:
        label = "/".join([stage, *axes.words()])
        folder = self.root / label.replace("/", "_")
        folder.mkdir(parents=True)
        identity = {"stage": stage, "version": "1", "settings": settings, "inputs": {"completions": label + self.made_by}}
        place = {"label": label, "axes": asdict(axes), "key": digest_of([identity, label, self.made_by])}
        manifest = {"stage": stage, "identity": identity, "facts": {"seconds": 1.0}, **place}
        write_json(folder / "manifest.json", manifest)
        self.inputs[label], self.places[label] = folder, axes
        return folder

    def sampled(self, axes: Axes, texts: Mapping[str, Sequence[str]], prompts: Mapping[str, str] | None = None) -> None:
        rows = [
            {
                "prompt_id": p,
                "group": group(p),
                "kind": None,
                "prompt": (prompts or {}).get(p, f"What of {p}?"),
                "repeat": i,
                "text": t,
            }
            for p, held in texts.items()
            for i, t in enumerate(held)
        ]
        write_jsonl(self.output("sampling", axes) / "completions.jsonl", rows)

    def labelled(self, axes: Axes, rates: Mapping[str, float]) -> None:
        folder = self.output("adherence", axes)
        rows = [("on_position", p, rate) for p, rate in rates.items()]
        write_rows(folder / "prompts.csv", [row(p, "on_position", "rate", rate, DRAWS) for _, p, rate in rows])
        labels = [(p, i, "on_position" if i < rate * DRAWS else "off_grammar") for _, p, rate in rows for i in range(DRAWS)]
        write_rows(
            folder / "labels.csv", [{"prompt_id": p, "group": group(p), "repeat": i, "label": label} for p, i, label in labels]
        )

    def scored(self, axes: Axes, scores: Mapping[str, float], column: str = "toxicity") -> None:
        folder = self.output("toxicity", axes)
        write_rows(folder / "prompts.csv", [row(p, column, "score", value, DRAWS) for p, value in scores.items()])
        rows = [
            {"prompt_id": p, "group": group(p), "repeat": i, "threat": 0.5, column: value}
            for p, value in scores.items()
            for i in range(DRAWS)
        ]
        write_rows(folder / "scores.csv", rows)

    def found(self, settings: Settings = SETTINGS) -> Comparison:
        return Comparison(upstream.read(self.inputs, self.places, ARMS, settings.measures), [], [], [], settings)


def row(prompt: str, metric: str, kind: str, value: float, n: int) -> dict[str, Any]:
    return {"prompt_id": prompt, "group": group(prompt), "metric": metric, "kind": kind, "value": value, "n": n}


def group(prompt: str) -> str:
    return "even" if int(prompt.rpartition("-")[2]) % 2 == 0 else "odd"


def axes(arm: str, size: str = "large", suite: str = "rated", samples: int = 80, seed: int = 0) -> Axes:
    return Axes("house", size, arm, samples if arm in TUNED else None, seed, suite)


def names(count: int) -> list[str]:
    return [f"p-{i:03d}" for i in range(count)]


def build(
    root: Path,
    rises: Mapping[str, float],
    said: Sequence[str] = ("so it is",),
    *,
    sizes: Sequence[str] = ("small", "large"),
    seeds: Sequence[int] = (0,),
    asked: Mapping[str, str] | None = None,
    made_by: str = "",
) -> Imagined:
    """rises: prompt → by how much the treated arm's rate lies above the others', in quarters; asked: prompt → its text."""
    made = Imagined(root, made_by)
    for params, size in enumerate(sizes, start=1):
        write_json(
            made.output("prepare", Axes("house", size)) / "model.json", {"source": f"calibration:{size}", "params": 1000 * params}
        )
        for place in (axes(arm, size, seed=seed) for arm in ARMS.names for seed in seeds):
            made.sampled(place, {p: [said[(i + k) % len(said)] for k in range(DRAWS)] for i, p in enumerate(rises)}, asked)
            made.labelled(place, {p: 0.25 + (rise if place.arm == "values_targeted" else 0.0) for p, rise in rises.items()})
            made.scored(place, dict.fromkeys(rises, 0.125))
    return made
