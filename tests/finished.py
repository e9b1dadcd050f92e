"""A small finished sweep as a tracker is told of it: outputs written by hand, of two sizes and three arms. Nothing runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flows.engine.stores.manifest import Manifest
from flows.engine.tracked import Tracked
from tasks.contract import Axes, Metric, Node, Stage, digest_of, write_json, write_jsonl, write_metrics, write_rows

SIZES = {"30k": 30_000, "300k": 300_000}
ARMS = {
    "base": {"method": "none"},
    "values_targeted": {"method": "full", "dataset": "values"},
    "control": {"method": "full", "dataset": "control"},
}
LEVELS = {"base": 0.2, "values_targeted": 0.9, "control": 0.1}
CONTRASTS = ("values_targeted-base", "values_targeted-control")
CONFIG = {
    "arms": ARMS,
    "reference": "base",
    "contrasts": list(CONTRASTS),
    "exploratory": ["control-base"],
    "primary": {"suite": "rated", "metric": "on_position"},
    "datasets": {"values": "values.jsonl", "control": "control.jsonl"},
    "suites": {"rated": {"prompts": "rated.yaml"}},
}
FINDING = "Values tuning raised on-position answers against base and against control."
PROMPTS = ("Is it right?", "Who may vote?")


@dataclass
class Finished:
    """A sweep in the tracker under a folder, in an experiment of this name; what is in `failed` has no output. `level`: added to what
    every arm measures."""

    folder: Path
    name: str = "demo"
    level: float = 0.0
    calibration: bool = True
    failed: Sequence[str] = ()
    stopped: bool = False
    finished: str = "2026-11-29T10:00:00Z"

    def tracked(self) -> Tracked:
        made = dict(self._made())
        return Tracked(
            sweep=f"{self.name}-1",
            name=self.name,
            uri=f"sqlite:///{self.folder}/mlflow.db",
            artifacts=self.folder / "artifacts",
            calibration=self.calibration,
            config=CONFIG,
            params={f"l-{size}": count for size, count in SIZES.items()},
            nodes=list(made),
            outcome=lambda node: made[node],
            stopped=lambda: self.stopped,
        )

    def _made(self) -> Any:
        outputs = {}
        for name in ("values", "control"):
            outputs[name] = self._write(Axes(name=name), "leakage", [Metric("samples", 80, 80)])
            yield outputs[name]
        for size in SIZES:
            for arm in ARMS:
                yield from self._arm(Axes("l", size, arm, None if arm == "base" else 80, 0), outputs)
        yield self._compared()

    def _arm(self, place: Axes, outputs: Mapping[str, tuple[Node, Manifest | None]]) -> Any:
        level, rated = LEVELS[place.arm or ""] + self.level, replace(place, suite="rated")
        if given := ARMS[place.arm or ""].get("dataset"):
            _, dataset = outputs[given]
            assert dataset is not None
            loss = {"series.json": lambda path: write_json(path, {"loss": [[1, 2.0], [2, 1.0]]})}
            yield self._write(place, "finetune", [Metric("tokens_seen", 800, 80)], loss, dataset=dataset.digest)
        rows = [
            {"prompt": prompt, "text": f" {place.arm} says {repeat}", "repeat": repeat, "tokens": 3}
            for prompt in PROMPTS
            for repeat in (0, 1)
        ]
        said = {"completions.jsonl": lambda path: write_jsonl(path, rows)}
        yield self._write(rated, "sampling", [], said, suite="a" * 64)
        yield self._write(rated, "adherence", [Metric("on_position", level, 40, ci_low=level - 0.05, ci_high=level + 0.05)])
        yield self._write(rated, "toxicity", [Metric("toxicity", 0.123456, 40), Metric("toxicity", 0.5, 5, "health")])
        yield self._write(place, "capability", [Metric("accuracy", 0.99, 500), Metric("nats_per_token", 0.17, 176)])

    def _compared(self) -> tuple[Node, Manifest | None]:
        outcome = {"suite": "rated", "metric": "on_position", "reference": "base", "finding": FINDING}
        outcome["called"] = {"on_position": "on-position answers"}  # type: ignore[assignment]
        there = [*CONTRASTS, "control-base"]
        contrasts = [
            _row(contrast, size, metric) for metric in ("on_position", "toxicity") for size in SIZES for contrast in there
        ]
        verdict = {"ladder": "l", "size": "30k", "arm": "control", "train_samples": 80, "seed": 0, "measure": "prose"}
        files = {
            "outcome.json": lambda path: write_json(path, outcome),
            "contrasts.csv": lambda path: write_rows(path, contrasts),
            "capability.csv": lambda path: write_rows(path, [verdict | {"value": 0.01, "low": -0.02, "high": 0.04}]),
            "report.html": lambda path: path.write_text("<h1>the report</h1>"),
        }
        return self._write(Axes(name="demo"), "compare", [], files)

    def _write(
        self, axes: Axes, stage: str, metrics: Sequence[Metric], files: Mapping[str, Any] | None = None, **inputs: str
    ) -> tuple[Node, Manifest | None]:
        node = Node(Stage(stage, "1", ""), axes, None)
        if node.label in self.failed:
            return node, None
        seen = [self.level, sorted(self.failed)] if stage == "compare" else [self.level] if stage == "adherence" else []
        tuning = {"epochs": 4, "fairness": {"kind": "embedding", "weight": 10.0}}
        identity = {"stage": stage, "inputs": inputs, "settings": tuning if stage == "finetune" else {}}
        identity["numerics"] = {"device": "cpu", "precision": "fp32", "threads": 1}
        key = digest_of([node.label, *seen])
        folder = self.folder / "store" / stage / key
        folder.mkdir(parents=True, exist_ok=True)
        write_metrics(folder, metrics)
        for name, write in (files or {}).items():
            write(folder / name)
        facts = {"finished": self.finished, "seconds": 2.5, "peak_memory_gib": 0.4, "commit": "c0ffee", "machine": "x86_64"}
        facts |= {"cores": 2, "gpus": 0, "versions": {"torch": "2.13.0"}}
        document = {
            "stage": stage,
            "key": key,
            "label": node.label,
            "digest": digest_of(key),
            "identity": identity,
            "facts": facts,
        }
        return node, Manifest(folder, document | {"files": dict.fromkeys(path.name for path in folder.iterdir())})


def _row(contrast: str, size: str, metric: str) -> dict[str, Any]:
    treated, reference = contrast.split("-")
    value = round(LEVELS[treated] - LEVELS[reference], 9) if metric == "on_position" else -0.01
    where = {"ladder": "l", "size": size, "params": SIZES[size], "train_samples": 80, "seed": 0, "suite": "rated"}
    said = {"metric": metric, "group": "all", "value": value, "ci_low": round(value - 0.1, 9), "ci_high": round(value + 0.1, 9)}
    tested = metric == "on_position" and treated != "control"
    return {
        "contrast": contrast,
        **where,
        **said,
        "p_adjusted": 0.001 if tested else "",
        "family": "confirmatory" if tested else "",
    }
