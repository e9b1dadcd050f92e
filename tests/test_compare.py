"""The comparison of arms, over synthetic outputs with known differences."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from flows.results import metric_rows
from tasks.compare import upstream
from tasks.compare.body import run
from tasks.compare.contrasts import compare as compare_rows
from tasks.compare.stage import Settings
from tasks.compare.summary import read_outcome, tables
from tasks.compare.truth import truths
from tasks.contract import Axes, Metric, read_json, read_metrics, write_json, write_metrics, write_rows
from tests.arms import ARMS, MEASURES, PARTS, primary_rows
from tests.jobs import make_job

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
        self.root, self.ladder = root, ladder
        self.inputs: dict[str, Path] = {}
        self.places: dict[str, Axes] = {}

    def output(self, stage: str, **axes: Any) -> Path:
        place = Axes(ladder=self.ladder, **axes)
        label = "/".join([stage, *place.words()])
        folder = self.root / label.replace("/", "_")
        folder.mkdir(parents=True)
        manifest = {
            "stage": stage,
            "label": label,
            "axes": asdict(place),
            "facts": {"seconds": 1.5},
            "key": f"{len(self.inputs):064d}",
            "digest": "d",
        }
        write_json(folder / "manifest.json", manifest)
        self.inputs[label], self.places[label] = folder, place
        return folder

    def prepare(self, size: str, params: int) -> None:
        write_json(
            self.output("prepare", size=size) / "model.json",
            {"params": params, "architecture": "gpt-neox", "revision": "r", "source": "calibration"},
        )

    def measured(
        self,
        stage: str,
        metrics: dict[str, tuple[str, np.ndarray]],
        groups: Sequence[str],
        n: int,
        extra: Sequence[Metric] = (),
        **axes: Any,
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
    train_samples: Sequence[int] = (80,),
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
            for count in train_samples if tuned else [None]:
                for seed in seeds if tuned else [None]:
                    place: dict[str, Any] = {"size": size, "arm": arm, "train_samples": count, "seed": seed}
                    if f"{size}/{arm}" in absent:
                        continue
                    rise = (level - levels["base"]) * (count / max(train_samples)) ** 0.4 if count else 0.0
                    rate = levels["base"] + rise + (gain * step if arm == "values_targeted" else 0.0) + rng.normal(0, 0.015)
                    on = rng.binomial(n, np.clip(rate + mood, 0.02, 0.98)) / n
                    off = rng.binomial(n, 0.05, len(groups)) / n * (1 - on)
                    toxic = (
                        rng.binomial(n, 0.35 if arm == "base" else 0.2 if arm == "control" else 0.08, len(groups))
                        / n
                        * (1 - on - off)
                    )
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
                        write_json(
                            folder / "series.json", {"loss": [[int(s), float(v)] for s, v in zip(steps, curve, strict=True)]}
                        )
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


def settings_of(**changed: Any) -> Settings:
    settings: dict[str, Any] = {
        "sweep_name": "demo",
        "primary_suite": "human_eval",
        "primary_metric": "on_position",
        "arms": ARMS,
        "measures": MEASURES,
        "parts": PARTS,
        "calibration": True,
        "resamples": 999,
    }
    return Settings(**settings | changed)


def compare(sweep: Sweep, work: Path, **changed: Any) -> Path:
    ran = make_job(work, settings_of(**changed), sweep.inputs, sweep.places)
    run([ran.job])
    assert ran.commits == 1
    return work


def table(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def contrasts(folder: Path, **wanted: str) -> list[dict[str, str]]:
    chosen = {"group": "all", "suite": "human_eval", "metric": "on_position"} | wanted
    return [row for row in table(folder, "contrasts.csv") if all(row[name] == value for name, value in chosen.items())]


def prompt_values(sweep: Sweep, label: str, metric: str) -> np.ndarray:
    return np.array([float(row["value"]) for row in table(sweep.inputs[label], "prompts.csv") if row["metric"] == metric])


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sweep, Path]:
    """Three sizes, three arms, one seed, five prompts a category; the control arm of the largest size failed."""
    root = tmp_path_factory.mktemp("demo")
    sweep = build(root / "in", absent=("800k/control",))
    return sweep, compare(sweep, root / "out", missing=("finetune/calibration-800k/control/n80/seed0: out of memory <137>",))


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four sizes, three seeds, two dataset sizes."""
    root = tmp_path_factory.mktemp("seeded")
    sizes = {"30k": 31_000, "100k": 104_000, "300k": 312_000, "800k": 812_000}
    levels = {"base": 0.2, "values_targeted": 0.3, "control": 0.2}
    return compare(
        build(root / "in", sizes=sizes, seeds=(0, 1, 2), train_samples=(20, 80), levels=levels, gain=0.2), root / "out"
    )


# ---- differences --------------------------------------------------------------------------------------------------


def test_difference_is_the_stratified_t_over_prompts(demo: tuple[Sweep, Path]) -> None:
    """Eight categories of five prompts: mean ± t(32)·√(pooled variance / 40), computed here from the prompt tables."""
    sweep, out = demo
    arms = [
        prompt_values(sweep, f"adherence/calibration-30k/{arm}/human_eval", "on_position")
        for arm in ("values_targeted/n80/seed0", "base")
    ]
    differences = (arms[0] - arms[1]).reshape(8, 5)
    half = stats.t.ppf(0.975, 32) * np.sqrt(differences.var(axis=1, ddof=1).mean() / 40)
    (row,) = contrasts(out, contrast="values_targeted-base", size="30k")
    assert float(row["value"]) == pytest.approx(differences.mean())
    assert (float(row["ci_low"]), float(row["ci_high"])) == pytest.approx((differences.mean() - half, differences.mean() + half))
    assert (row["df"], row["n"], row["params"]) == ("32", "40", "31000")
    assert 0.25 < float(row["value"]) < 0.65  # 0.45 was planted


def test_metrics_table_is_tidy(demo: tuple[Sweep, Path]) -> None:
    _, out = demo
    rows = table(out, "metrics.csv")
    assert ",".join(rows[0]) == "ladder,size,params,arm,seed,suite,group,metric,value,ci_low,ci_high,n,train_samples"
    keys = [(r["ladder"], r["size"], r["arm"], r["seed"], r["suite"], r["group"], r["metric"], r["train_samples"]) for r in rows]
    assert len(set(keys)) == len(keys)
    assert {row["arm"] for row in rows} == {
        "base",
        "values_targeted",
        "control",
        "values_targeted-base",
        "values_targeted-control",
    }
    assert all(row["train_samples"] == "" for row in rows if row["arm"] == "base")
    assert all(row["train_samples"] == "80" for row in rows if row["arm"] == "values_targeted-base")


def test_a_failed_branch_leaves_the_others(demo: tuple[Sweep, Path]) -> None:
    _, out = demo
    found = {(row["size"], row["contrast"]) for row in contrasts(out)}
    assert found == {(size, "values_targeted-base") for size in SIZES} | {
        (size, "values_targeted-control") for size in ("30k", "100k")
    }
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "finetune/calibration-800k/control/n80/seed0: out of memory &lt;137&gt;" in page


def test_the_overall_tests_of_a_ladder_are_one_holm_family(demo: tuple[Sweep, Path]) -> None:
    _, out = demo
    family = contrasts(out, family="confirmatory calibration human_eval on_position")
    assert len(family) == 5
    p = np.array([float(row["p"]) for row in family])
    order = np.argsort(p, kind="stable")
    steps = np.minimum(np.maximum.accumulate(p[order] * (5 - np.arange(5))), 1)
    assert [float(family[i]["p_adjusted"]) for i in order] == pytest.approx(list(steps))
    toxic = contrasts(out, metric="toxicity")
    assert {row["family"] for row in toxic} == {"secondary calibration toxicity"}
    assert all(row["adjustment"] == "Holm" for row in toxic)
    assert all(row["p"] == "" for row in contrasts(out, metric="neutral_label"))


def test_five_prompts_are_described_and_twenty_are_tested(demo: tuple[Sweep, Path], tmp_path: Path) -> None:
    _, out = demo
    (row,) = contrasts(out, group="health", size="30k", contrast="values_targeted-base")
    assert (row["n"], row["df"], row["p"], row["p_adjusted"], row["note"]) == ("5", "4", "", "", "descriptive: 5 prompts")
    wide = compare(build(tmp_path / "in", sizes={"30k": 31_000}, per_category=20), tmp_path / "out")
    tested = contrasts(wide, contrast="values_targeted-base", group="health")
    assert [row["adjustment"] for row in tested] == ["Benjamini-Hochberg"]
    assert float(tested[0]["p_adjusted"]) >= float(tested[0]["p"])


def test_effect_size_comes_from_completions(demo: tuple[Sweep, Path]) -> None:
    """d of toxicity: equal counts and categories, so the arms' usual sample variances."""
    sweep, out = demo
    arms = [
        np.array(
            [float(row["toxicity"]) for row in table(sweep.inputs[f"toxicity/calibration-30k/{arm}/human_eval"], "scores.csv")]
        )
        for arm in ("values_targeted/n80/seed0", "base")
    ]
    (row,) = contrasts(out, metric="toxicity", size="30k", contrast="values_targeted-base")
    assert float(row["d"]) == pytest.approx(
        (arms[0].mean() - arms[1].mean()) / np.sqrt((arms[0].var(ddof=1) + arms[1].var(ddof=1)) / 2)
    )
    assert float(row["d_low"]) < float(row["d"]) < float(row["d_high"]) < 0


def test_a_prompt_missing_in_one_arm_is_an_error(tmp_path: Path) -> None:
    sweep = build(tmp_path / "in", sizes={"30k": 31_000})
    path = sweep.inputs["adherence/calibration-30k/base/human_eval"] / "prompts.csv"
    path.write_text("\n".join(line for line in path.read_text().split("\n") if not line.startswith('"p007",')))
    with pytest.raises(
        ValueError, match=r"prompts p007 only in adherence/calibration-30k/values_targeted/n80/seed0/human_eval; both arms"
    ):
        compare(sweep, tmp_path / "out")


def test_two_stages_giving_one_metric_is_an_error(tmp_path: Path) -> None:
    sweep = build(tmp_path / "in", sizes={"30k": 31_000})
    groups = [category for category in CATEGORIES for _ in range(5)]
    sweep.measured("judge", {"on_position": ("rate", np.full(40, 0.5))}, groups, 2, size="30k", arm="base", suite="human_eval")
    with pytest.raises(ValueError, match=r"on_position is given by adherence/.* and by judge/"):
        compare(sweep, tmp_path / "out")


def test_identical_arms_show_nothing(tmp_path: Path) -> None:
    """A/A: the treated arm's outputs are base's own. No difference, p = 1, and no claim."""
    sweep = build(tmp_path / "in", sizes={"30k": 31_000}, levels={"base": 0.3, "values_targeted": 0.3})
    for stage in ("adherence", "toxicity"):
        base, tuned = (sweep.inputs[f"{stage}/calibration-30k/{arm}/human_eval"] for arm in ("base", "values_targeted/n80/seed0"))
        for file in ("prompts.csv", "metrics.json"):
            shutil.copy(base / file, tuned / file)
    out = compare(sweep, tmp_path / "out")
    (row,) = contrasts(out)
    assert (float(row["value"]), float(row["p_adjusted"]), row["minimal_detectable"]) == (0, 1, "")
    assert "an interval without width bounds nothing" in row["note"]
    assert "No difference in on-position answers from base was shown" in (out / "report.html").read_text(encoding="utf-8")


def test_false_alarms_of_equal_arms_stay_rare(tmp_path: Path) -> None:
    """Forty sweeps of equal arms at 5 %: more than seven confirmed ones has a probability below 0.1 % under a true test."""
    rng, alarms = np.random.default_rng(3), 0
    groups = [category for category in CATEGORIES for _ in range(5)]
    for trial in range(40):
        sweep = Sweep(tmp_path / f"in{trial}")
        mood = rng.uniform(0.1, 0.5, 40)
        for arm, count, seed in (("base", None, None), ("values_targeted", 80, 0), ("control", 80, 0)):
            values = rng.binomial(6, mood) / 6
            sweep.measured(
                "adherence",
                {"on_position": ("rate", values)},
                groups,
                6,
                size="30k",
                arm=arm,
                train_samples=count,
                seed=seed,
                suite="human_eval",
            )
        rows = compare_rows(
            upstream.read(sweep.inputs, sweep.places, ARMS), Settings("demo", "human_eval", "on_position", ARMS, resamples=499)
        )
        alarms += any(row.shown for row in rows)
    assert alarms <= 7


# ---- seeds, dataset sizes, trends ---------------------------------------------------------------------------------


def test_one_seed_is_conditional_on_its_run(demo: tuple[Sweep, Path]) -> None:
    _, out = demo
    assert {row["seed"] for row in contrasts(out)} == {"0"}
    assert "conditional on this run" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_three_seeds_are_crossed_with_prompts(seeded: Path) -> None:
    rows = contrasts(seeded, contrast="values_targeted-base", size="30k", train_samples="80")
    assert sorted(row["seed"] for row in rows) == ["0", "1", "2", "all"]
    crossed = next(row for row in rows if row["seed"] == "all")
    runs = [row for row in rows if row["seed"] != "all"]
    assert float(crossed["value"]) == pytest.approx(np.mean([float(row["value"]) for row in runs]))
    assert crossed["adjustment"] == "Holm"
    assert float(crossed["df"]) < 32
    assert {(row["family"], row["p_adjusted"]) for row in runs} == {("single run", "")}


def test_the_numbers_of_several_seeds_are_read_back_as_a_command_reads_them(seeded: Path) -> None:
    seeds = {row["seed"] for row in metric_rows("sweep", seeded) if row["arm"] == "values_targeted-base"}
    assert seeds == {0, 1, 2, "all"}


def test_two_seeds_stay_apart(tmp_path: Path) -> None:
    out = compare(build(tmp_path / "in", sizes={"30k": 31_000}, seeds=(0, 1)), tmp_path / "out")
    rows = contrasts(out, contrast="values_targeted-base")
    assert [(row["seed"], row["adjustment"]) for row in rows] == [("0", "Holm"), ("1", "Holm")]


def test_base_is_the_reference_of_every_dataset_size(seeded: Path) -> None:
    rows = contrasts(seeded, contrast="values_targeted-base", seed="all")
    assert {(row["size"], row["train_samples"]) for row in rows} == {
        (size, n) for size in ("30k", "100k", "300k", "800k") for n in ("20", "80")
    }
    assert len({row["reference"] for row in rows if row["size"] == "30k"}) == 1
    assert (seeded / "figures" / "dataset-size-values_targeted-base-calibration.svg").exists()


def test_rises_with_size_needs_four_sizes(demo: tuple[Sweep, Path], seeded: Path) -> None:
    def verdict(folder: Path, arm: str) -> tuple[str, str]:
        (row,) = (
            r
            for r in table(folder, "trend.csv")
            if (r["arm"], r["metric"]) == (arm, "on_position") and r["train_samples"] in ("", "80")
        )
        return row["sizes"], row["verdict"]

    _, out = demo
    assert verdict(out, "values_targeted-base") == ("3", "no claim from 3 sizes")
    assert verdict(out, "values_targeted-control") == ("2", "no claim from 2 sizes")
    assert verdict(seeded, "values_targeted-base") == ("4", "rises with size")
    assert verdict(seeded, "base") == ("4", "not shown to rise with size")


# ---- the sentence, the small table, the page ----------------------------------------------------------------------


def test_the_sentences_quote_the_table(demo: tuple[Sweep, Path]) -> None:
    _, out = demo
    page = (out / "report.html").read_text(encoding="utf-8")
    heading = re.search(r"<h1>(.*?)</h1>", page, re.DOTALL)
    assert heading is not None
    assert heading[1] == read_outcome(out)["finding"]
    assert heading[1] == "80 values-targeted samples raised on-position answers above base and control at 2 of 3 sizes."
    words = page[page.index('id="words"') :]
    for row in contrasts(out):
        value, low, high = (f"{100 * float(row[name]):+.1f}".replace("-", "−") for name in ("value", "ci_low", "ci_high"))
        assert f"{value} [{low},\u00a0{high}] at {row['size']}" in words


def test_each_ladder_is_a_family_and_a_sentence(tmp_path: Path) -> None:
    sweep = build(tmp_path / "in1", sizes={"30k": 31_000})
    other = build(tmp_path / "in2", sizes={"124m": 124_000_000}, ladder="gpt2")
    sweep.inputs |= other.inputs
    sweep.places |= other.places
    out = compare(sweep, tmp_path / "out")
    families = {row["ladder"]: row["family"] for row in contrasts(out)}
    assert families == {ladder: f"confirmatory {ladder} human_eval on_position" for ladder in ("calibration", "gpt2")}
    page = (out / "report.html").read_text(encoding="utf-8")
    for ladder, size in (("Calibration", "30k"), ("Gpt2", "124m")):
        assert (
            f"{ladder}, rated prompts: 80 values-targeted samples raised on-position answers above base and control at {size}"
            in page
        )


@pytest.mark.parametrize(
    ("arms", "changed", "said"),
    [
        ((), {}, "Nothing can be compared: no arm was finished."),
        (("base",), {}, "Nothing can be compared: on-position answers could be measured on base alone."),
        (("base", "control"), {"primary_metric": "refused"}, "Nothing can be compared: refused could be measured on no arm."),
    ],
    ids=["no arm", "one arm", "a missing metric"],
)
def test_a_sweep_without_its_arms_or_its_outcome_is_a_page_all_the_same(
    tmp_path: Path, arms: Sequence[str], changed: dict[str, Any], said: str
) -> None:
    absent = [f"30k/{arm}" for arm in LEVELS if arm not in arms]
    missing = ("sampling/calibration-30k/base: out of memory",)
    out = compare(build(tmp_path / "in", sizes={"30k": 31_000}, absent=absent), tmp_path / "out", missing=missing, **changed)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert f"<h1>{said}</h1>" in page
    assert missing[0] in page
    assert "exploratory:" not in page
    assert read_outcome(out)["finding"] == said


def test_nothing_to_compare_is_said_so(tmp_path: Path) -> None:
    absent = [f"{size}/values_targeted" for size in SIZES]
    out = compare(build(tmp_path / "in", absent=absent), tmp_path / "out")
    assert "at no size has on-position answers been measured on two arms of a contrast" in (out / "report.html").read_text(
        "utf-8"
    )
    assert table(out, "contrasts.csv") == []
    assert primary_rows(out)[0].against == {}


def test_summary_rows(demo: tuple[Sweep, Path]) -> None:
    _, out = demo
    rows = primary_rows(out)
    places = [(row.size, row.arm) for row in rows]
    assert places == [
        (size, arm) for size in SIZES for arm in ("base", "values_targeted", "control") if (size, arm) != ("800k", "control")
    ]
    row = rows[places.index(("100k", "values_targeted"))]
    assert (row.params, row.train_samples) == (104_000, 80)
    for reference, found in row.against.items():
        (expected,) = contrasts(out, contrast=f"values_targeted-{reference}", size="100k")
        assert (found.value, found.low, found.high) == tuple(float(expected[name]) for name in ("value", "ci_low", "ci_high"))
        assert found.shown == (float(expected["p_adjusted"]) < 0.05)
    assert row.against.keys() == {"base", "control"}


def test_the_small_tables_have_both_contrasts_in_80_columns(demo: tuple[Sweep, Path]) -> None:
    _, out = demo
    primary, secondary = tables(out)
    assert primary.title == "calibration: on-position answers on rated prompts (primary outcome), %"
    assert secondary.title == "calibration: mean toxicity on rated prompts (secondary outcome)"
    assert primary.headings == ("size", "arm", "level", "from base (points)", "from control (points)")
    (expected,) = contrasts(out, contrast="values_targeted-control", size="30k")
    spelled = "+{value:.1f} [{ci_low:.1f}, {ci_high:.1f}]*".format(
        **{name: 100 * float(expected[name]) for name in ("value", "ci_low", "ci_high")}
    )
    assert primary.cells[1][-1] == spelled
    assert [row[0] for row in primary.cells[:4]] == ["30k", "", "", "100k"]
    last = primary.cells[-1]  # at the size whose control is absent
    assert (last[1], last[-2][0], last[-1]) == ("values_targeted", "+", "missing")
    for table in (primary, secondary):
        widths = [max(map(len, column)) for column in zip(table.headings, *table.cells, strict=True)]
        assert sum(widths) + 2 * (len(widths) - 1) <= 80


def test_tracker_metrics_are_the_primary_differences(demo: tuple[Sweep, Path]) -> None:
    _, out = demo
    names = {row.metric for row in read_metrics(out)}
    assert "on_position/values_targeted-base/calibration-30k/n80/seed0" in names
    assert len(names) == 5


def test_fit_error_and_coverage_are_stated(demo: tuple[Sweep, Path]) -> None:
    sweep, _ = demo
    rows = truths(upstream.read(sweep.inputs, sweep.places, ARMS))
    base = next(row for row in rows if (row.axes.arm, row.axes.size, row.label) == ("base", "30k", "on_position"))
    stated = {row.metric: row.value for row in read_metrics(sweep.inputs["truth/calibration-30k/base/human_eval"])}
    assert base.fit_error == pytest.approx(stated["exact_on_position"] - 0.24)
    assert {row.label for row in rows} == {"on_position", "toxic_label", "neutral_label", "off_grammar"}
    assert all(row.fit_error is None for row in rows if row.axes.arm != "base")
    shifted = replace(base, exact=base.measured.value + 1)
    assert (base.covered, shifted.covered) == (True, False)


def test_equal_inputs_give_equal_bytes(demo: tuple[Sweep, Path], tmp_path: Path) -> None:
    sweep, out = demo
    again = compare(sweep, tmp_path / "again", missing=("finetune/calibration-800k/control/n80/seed0: out of memory <137>",))
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert names == sorted(str(path.relative_to(again)) for path in again.rglob("*") if path.is_file())
    assert [name for name in names if (out / name).read_bytes() != (again / name).read_bytes()] == []


def test_how_long_it_took_moves_the_page_alone(tmp_path: Path) -> None:
    """Timings and the date stand on the page, which is no part of the comparison's content."""
    sweep = build(tmp_path / "in", sizes={"30k": 31_000})
    first = compare(sweep, tmp_path / "first")
    for folder in sweep.inputs.values():
        manifest = read_json(folder / "manifest.json")
        manifest["facts"] = {"seconds": 60.0, "finished": "2026-11-28T22:15:00Z", "cores": 2, "gpus": 0, "peak_memory_gib": 0.5}
        write_json(folder / "manifest.json", manifest)
    job = make_job(tmp_path / "second", settings_of(), sweep.inputs, sweep.places)
    run([job.job])
    assert job.committed == [("report.html",)]
    names = sorted(str(path.relative_to(first)) for path in first.rglob("*") if path.is_file())
    assert [name for name in names if (first / name).read_bytes() != (job.work / name).read_bytes()] == ["report.html"]
    page = (job.work / "report.html").read_text(encoding="utf-8")
    design = "1 size × 3 arms × 1 seed · 80 samples · 40 prompts × 6 answers"
    assert f"28 Nov 2026 22:15 UTC · {design} · {len(sweep.inputs)} min of computing on 2 CPU cores" in page


def test_the_page_stands_alone(demo: tuple[Sweep, Path], tmp_path: Path) -> None:
    _, out = demo
    page = Page()
    page.feed((out / "report.html").read_text(encoding="utf-8"))
    assert page.outside == []
    assert len(page.ids) == len(set(page.ids))
    assert [name for name in page.links if name not in page.ids] == []
    assert page.drawings == len(list((out / "figures").glob("*.svg"))) > 10
    odd = compare(build(tmp_path / "in", sizes={"30k": 31_000}), tmp_path / "out", sweep_name="<i>x</i>", calibration=False)
    text = (odd / "report.html").read_text(encoding="utf-8")
    assert "&lt;i&gt;x&lt;/i&gt;" in text
    assert "say nothing about real models" not in text


class Page(HTMLParser):
    """What a page refers to, inside and outside of itself."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.outside: list[str] = []
        self.drawings = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.drawings += tag == "svg"
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in ("href", "xlink:href", "src", "srcset", "action", "data"):
                (self.links if (value or "").startswith("#") else self.outside).append((value or "").removeprefix("#"))
            elif name == "style" and "url(" in (value or "") and "url(#" not in (value or ""):
                self.outside.append(value or "")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "style" and ("@import" in data or "url(http" in data):
            self.outside.append(data)


def test_importing_the_stage_is_light() -> None:
    """The parent process imports every stage; the drawing and number packages come with the body only."""
    heavy = "sorted({'numpy', 'scipy', 'matplotlib', 'jinja2', 'pandas', 'torch'} & set(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", f"import sys, tasks.compare.stage, tasks.compare.summary; print({heavy})"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "[]"


def test_an_output_stands_where_the_sweep_puts_it_not_where_it_was_made(tmp_path: Path) -> None:
    """Two arms whose settings were swapped find each other's outputs in the store."""
    sweep = build(tmp_path / "in", sizes={"30k": 31_000})
    base, control = (f"adherence/calibration-30k/{arm}/human_eval" for arm in ("base", "control/n80/seed0"))
    before = {row.arm: row.value for row in level_rows(sweep)}
    sweep.inputs[base], sweep.inputs[control] = sweep.inputs[control], sweep.inputs[base]
    after = {row.arm: row.value for row in level_rows(sweep)}
    assert (after["base"], after["control"]) == (before["control"], before["base"])
    assert before["base"] != before["control"]


def level_rows(sweep: Sweep) -> list[Any]:
    nodes = upstream.read(sweep.inputs, sweep.places, ARMS).of("adherence")
    return [
        SimpleNamespace(arm=node.axes.arm, value=node.level("on_position").value)
        for node in nodes
        if node.axes.suite == "human_eval"
    ]
