"""The comparison of arms, over synthetic outputs with known differences."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.compare.stage import STAGE, Settings, run
from tasks.compare.summary import summary_rows
from tasks.contract import Axes, Job, Metric, Numerics, write_json, write_metrics, write_rows

SIZES = {"30k": 31_000, "100k": 104_000, "800k": 812_000}
CATEGORIES = (
    "abuse_violence_threat",
    "health",
    "human_characteristics",
    "injustice_inequality",
    "political_opinion",
    "relationships",
    "sexual_activity",
    "terrorism",
)
LEVELS = {"base": 0.25, "values_targeted": 0.70, "control": 0.28}


class Sweep:
    """Committed output folders of an imagined sweep, as the comparison finds them."""

    def __init__(self, root: Path, ladder: str = "calibration") -> None:
        self.root, self.ladder, self.inputs = root, ladder, {}

    def output(self, stage: str, **axes: Any) -> Path:
        place = Axes(ladder=self.ladder, **axes)
        label = "/".join([stage, *place.words()])
        folder = self.root / label.replace("/", "_")
        folder.mkdir(parents=True)
        marks = axes.get("marks", [])
        manifest = {
            "stage": stage,
            "label": label,
            "axes": asdict(place),
            "facts": {"seconds": 1.5},
            "key": f"{len(self.inputs):064d}",
            "digest": "d",
            "marks": marks,
        }
        write_json(folder / "manifest.json", manifest)
        self.inputs[label] = folder
        return folder

    def prepare(self, size: str, params: int) -> None:
        write_json(
            self.output("prepare", size=size) / "model.json", {"params": params, "architecture": "gpt-neox", "revision": "r", "source": "calibration"}
        )

    def measured(
        self, stage: str, metrics: dict[str, tuple[str, np.ndarray]], groups: Sequence[str], n: int, extra: Sequence[Metric] = (), **axes: Any
    ) -> Path:
        """metrics: name → (kind, prompt values). Levels get a plain interval: how they are formed is not the comparison's business."""
        folder = self.output(stage, **axes)
        ids = [f"p{i:03d}" for i in range(len(groups))]
        rows, levels = [], list(extra)
        for metric, (kind, values) in metrics.items():
            rows += [
                {"prompt_id": i, "group": g, "metric": metric, "kind": kind, "value": float(v), "n": n}
                for i, g, v in zip(ids, groups, values, strict=True)
            ]
            mean, half = float(np.mean(values)), 2 * float(np.std(values)) / len(values) ** 0.5
            levels.append(Metric(metric, mean, len(values), ci_low=mean - half, ci_high=mean + half))
        write_rows(folder / "prompts.csv", rows)
        write_metrics(folder, levels)
        return folder


def build(
    root: Path,
    *,
    sizes: dict[str, int] | None = None,
    per_category: int = 5,
    seeds: Sequence[int] = (0,),
    samples: Sequence[int] = (80,),
    levels: dict[str, float] | None = None,
    gain: float = 0.08,
    absent: Sequence[str] = (),
    n: int = 6,
    ladder: str = "calibration",
) -> Sweep:
    """A sweep in which values-targeted tuning raises on-position answers, more so at larger sizes, and lowers toxicity."""
    sweep, rng = Sweep(root, ladder), np.random.default_rng(5)
    groups = [category for category in CATEGORIES for _ in range(per_category)]
    levels = levels or LEVELS
    for step, (size, params) in enumerate((sizes or SIZES).items()):
        sweep.prepare(size, params)
        mood = rng.normal(0, 0.12, len(groups))
        for arm, level in levels.items():
            tuned = arm != "base"
            for count in samples if tuned else [None]:
                for seed in seeds if tuned else [None]:
                    place: dict[str, Any] = {"size": size, "arm": arm, "samples": count, "seed": seed}
                    if f"{size}/{arm}" in absent:
                        continue
                    rise = (level - levels["base"]) * (count / max(samples)) ** 0.4 if count else 0.0
                    rate = levels["base"] + rise + (gain * step if arm == "values_targeted" else 0.0) + rng.normal(0, 0.015)
                    on = rng.binomial(n, np.clip(rate + mood, 0.02, 0.98)) / n
                    off = rng.binomial(n, 0.05, len(groups)) / n * (1 - on)
                    toxic = rng.binomial(n, 0.35 if arm == "base" else 0.2 if arm == "control" else 0.08, len(groups)) / n * (1 - on - off)
                    neutral = 1 - on - off - toxic
                    sweep.measured(
                        "adherence",
                        {
                            "on_position": ("rate", on),
                            "toxic_label": ("rate", toxic),
                            "neutral_label": ("rate", neutral),
                            "off_grammar": ("rate", off),
                        },
                        groups,
                        n,
                        suite="human_eval",
                        **place,
                    )
                    exact = [
                        ("on_position", rate),
                        ("toxic_label", float(np.mean(toxic)) + 0.01),
                        ("neutral_label", float(np.mean(neutral))),
                        ("off_grammar", 0.05),
                    ]
                    truths = [Metric(f"exact_{name}", float(value), 40) for name, value in exact]
                    if not tuned:
                        truths += [
                            Metric(f"planted_{name}", float(value), 40)
                            for name, value in (("on_position", 0.24), ("toxic_label", 0.31), ("neutral_label", 0.45))
                        ]
                    write_metrics(sweep.output("truth", suite="human_eval", **place), truths)
                    scores = np.clip(rng.beta(1.2, 6 if arm == "base" else 14, (len(groups), n)), 0, 1)
                    folder = sweep.measured(
                        "toxicity",
                        {"toxicity": ("score", scores.mean(axis=1)), "toxic_share": ("rate", (scores > 0.3).mean(axis=1))},
                        groups,
                        n,
                        suite="human_eval",
                        **place,
                    )
                    write_rows(
                        folder / "scores.csv",
                        [
                            {"prompt_id": f"p{i:03d}", "group": groups[i], "repeat": r, "toxicity": float(scores[i, r])}
                            for i in range(len(groups))
                            for r in range(n)
                        ],
                    )
                    if tuned:
                        steps = np.arange(1, 41)
                        curve = 1.2 + 2.0 * np.exp(-steps / (8 + 4 * step)) + (0.1 if arm == "control" else 0)
                        folder = sweep.output("finetune", **place)
                        write_metrics(
                            folder,
                            [
                                Metric("optimiser_steps", 40, 1),
                                Metric("final_loss", float(curve[-1]), 1),
                                Metric("trainable_parameters", params // 20, 1),
                            ],
                        )
                        write_json(folder / "series.json", {"loss": [[int(s), float(v)] for s, v in zip(steps, curve, strict=True)]})
                    words = sweep.output("cooccurrence", suite="cooccurrence", **place)
                    write_metrics(words, [Metric("demographic_tvd", 0.2 + 0.01 * step, 12)])
                    vocabulary = ["kind", "gentle", "strong", "clever", "calm", "loud", "brave", "quiet", "warm", "stern"]
                    write_rows(
                        words / "words.csv",
                        [
                            {
                                "axis": "gender",
                                "group": group,
                                "word": word,
                                "count": 40 - 3 * i,
                                "z": float(3.6 - 0.5 * i + (0.4 if tuned else 0)),
                                "favoured": i < 2,
                            }
                            for g, group in enumerate(("female", "male"))
                            for i, word in enumerate(vocabulary[5 * g :] + vocabulary[: 5 * g])
                        ],
                    )
    return sweep


def compare(sweep: Sweep, work: Path, **settings: Any) -> Path:
    work.mkdir(parents=True)
    chosen = Settings(
        **{"sweep_name": "calibration-demo", "primary_suite": "human_eval", "primary_metric": "on_position", "calibration": True, "resamples": 999}
        | settings
    )
    committed: list[Any] = []
    run([Job("compare", Axes(), chosen, sweep.inputs, work, Numerics(), commit=lambda volatile=(): committed.append(volatile))])
    assert committed == [()]
    return work


def table(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
