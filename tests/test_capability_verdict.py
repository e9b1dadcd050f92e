"""The verdict on capability: limits against margins, tasks that base cannot do, what is missing, and how it is said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from configs.contrasts import Arms, Contrast
from tasks.compare import capability, upstream
from tasks.compare.capability import INCONCLUSIVE, KEPT, LOST, NOT_ASSESSABLE
from tasks.compare.report import capability_tables as tables
from tasks.contract import Axes, Metric, write_json, write_metrics, write_rows
from tests.capabilities import MARGINS, with_manifest

pytestmark = pytest.mark.usefixtures("one_thread")


ARMS = Arms(("base", "arm", "control", "values_targeted"), "base", (Contrast("values_targeted", "base"), Contrast("arm", "base")))


@dataclass
class Measured:
    """A committed capability output: nats by paragraph, right and wrong by task, and each task's chance."""

    nats: Sequence[float] = ()
    tasks: dict[str, Sequence[int]] | None = None
    chance: dict[str, float] | None = None
    digest: str = "d"
    plain: Sequence[float] = ()

    def write(self, folder: Path) -> Path:
        folder.mkdir()
        tasks = self.tasks or {}
        rows = [("prose", f"p{n}", "nats_per_token", "score", value) for n, value in enumerate(self.nats)]
        rows += [("plain", f"q{n}", "nats_per_token_plain", "score", value) for n, value in enumerate(self.plain)]
        rows += [
            (task, f"{task}/{n}", "accuracy", "rate", float(value))
            for task, held in tasks.items()
            for n, value in enumerate(held)
        ]
        columns = ("group", "prompt_id", "metric", "kind", "value", "n")
        write_rows(folder / "prompts.csv", [dict(zip(columns, (*row, 1), strict=True)) for row in rows], columns)
        chance = self.chance if self.chance is not None else dict.fromkeys(tasks, 0.25)
        write_metrics(folder, [Metric("chance", value, 1, task) for task, value in chance.items()])
        write_json(folder / "harness.json", {task: {"items": len(held), "digest": self.digest} for task, held in tasks.items()})
        return with_manifest(folder)


def sources(folder: Path, **outputs: Measured) -> upstream.Sources:
    """Outputs of one size, by arm."""
    inputs = {f"capability/{arm}": output.write(folder / arm) for arm, output in outputs.items()}
    places = {
        f"capability/{arm}": Axes("l", "s", arm, None if arm == "base" else 80, None if arm == "base" else 0, "capability")
        for arm in outputs
    }
    return upstream.read(inputs, places, ARMS)


def judged(folder: Path, base: Measured, arm: Measured, **changed: float) -> dict[str, capability.Verdict]:
    found = capability.verdicts(sources(folder, base=base, arm=arm), SimpleNamespace(**{**vars(MARGINS), **changed}))
    return {verdict.measure: verdict for verdict in found}


def around(mean: float, n: int = 20, spread: float = 0.02) -> list[float]:
    """n numbers with this mean and this standard deviation."""
    values = np.linspace(-1, 1, n)
    return list(mean + spread * values / values.std(ddof=1))


@pytest.mark.parametrize(("mean", "verdict"), [(-0.4, KEPT), (0.04, KEPT), (0.05, INCONCLUSIVE), (0.06, LOST)])
def test_prose_is_judged_by_the_one_sided_limits(tmp_path: Path, mean: float, verdict: str) -> None:
    found = judged(tmp_path, Measured([2.0] * 20), Measured([2.0 + x for x in around(mean)]))["prose"]
    reach = stats.t.ppf(0.95, 19) * 0.02 / math.sqrt(20)  # 0.0077
    assert (found.value, found.low, found.high) == pytest.approx((mean, mean - reach, mean + reach))
    assert (found.verdict, found.margin, found.n, found.train_samples, found.seed) == (verdict, 0.05, 20, 80, 0)


def test_a_limit_on_the_margin_decides_nothing(tmp_path: Path) -> None:
    differences = around(0.04)
    found = judged(tmp_path, Measured([0.0] * 20), Measured(differences))["prose"]
    for side, nats in (("high", found.high), ("low", found.low)):
        (tmp_path / side).mkdir()
        same = judged(tmp_path / side, Measured([0.0] * 20), Measured(differences), margin_nats=nats)["prose"]
        assert same.verdict == INCONCLUSIVE
        wider = judged_again(tmp_path / side, margin_nats=np.nextafter(nats, 1 if side == "high" else 0))
        assert wider["prose"].verdict == (KEPT if side == "high" else LOST)


def judged_again(folder: Path, **changed: float) -> dict[str, capability.Verdict]:
    """The outputs that `judged` wrote there, by other margins."""
    inputs = {f"capability/{arm}": folder / arm for arm in ("base", "arm")}
    places = {f"capability/{arm}": Axes("l", "s", arm) for arm in ("base", "arm")}
    found = capability.verdicts(upstream.read(inputs, places, ARMS), SimpleNamespace(**{**vars(MARGINS), **changed}))
    return {verdict.measure: verdict for verdict in found}


def test_tasks_weigh_equally_however_many_items_they_have(tmp_path: Path) -> None:
    base = Measured(tasks={"big": [1] * 90 + [0] * 10, "little": [1] * 8 + [0] * 2})
    arm = Measured(tasks={"big": [1] * 90 + [0] * 10, "little": [0] * 2 + [1] * 6 + [0] * 2})
    found = judged(tmp_path, base, arm)["tasks"]
    assert found.value == pytest.approx(-0.1)  # (0 − 0.2)/2; over all items it would be −2/110
    big, little = [1, -1] + [0] * 100, [1, -1] + [-1] * 2 + [0] * 8  # with one gained and one lost item more
    centre = np.mean(little) / 2
    reach = stats.t.ppf(0.95, 112) * math.sqrt((np.var(big, ddof=1) / 102 + np.var(little, ddof=1) / 12) / 4)
    assert (found.low, found.high) == pytest.approx((centre - reach, centre + reach))
    assert (found.verdict, found.margin, found.n) == (INCONCLUSIVE, -0.02, 110)


def test_accuracy_is_lost_below_the_margin_and_kept_above_it(tmp_path: Path) -> None:
    base = [1] * 900 + [0] * 100
    for name, wrong, verdict in (("lost", 60, LOST), ("kept", 5, KEPT), ("between", 20, INCONCLUSIVE)):
        (tmp_path / name).mkdir()
        arm = [0] * wrong + [1] * (900 - wrong) + [0] * 100
        assert judged(tmp_path / name, Measured(tasks={"t": base}), Measured(tasks={"t": arm}))["tasks"].verdict == verdict
    (tmp_path / "better").mkdir()
    assert judged(tmp_path / "better", Measured(tasks={"t": base}), Measured(tasks={"t": [1] * 1000}))["tasks"].verdict == KEPT


def test_what_base_cannot_do_is_not_assessable(tmp_path: Path) -> None:
    able, unable, edge = [1] * 60 + [0] * 40, [1] * 29 + [0] * 71, [1] * 30 + [0] * 70  # 5 points above 25 % is enough
    base = Measured(tasks={"able": able, "edge": edge, "unable": unable})
    found = judged(tmp_path, base, Measured(tasks={"able": able, "edge": edge, "unable": [0] * 100}))["tasks"]
    assert (found.value, found.n) == (0.0, 200)
    assert found.note.startswith("left out, base near chance: unable (base 29.0%, chance 25.0%)")
    (tmp_path / "none").mkdir()
    none = judged(tmp_path / "none", Measured(tasks={"unable": unable}), Measured(tasks={"unable": [0] * 100}))["tasks"]
    assert (none.verdict, none.value, none.low, none.n) == (NOT_ASSESSABLE, None, None, 0)
    assert none.note.endswith("no task is left")


def test_differences_without_spread_say_what_they_can(tmp_path: Path) -> None:
    right = [1] * 200
    reach = stats.t.ppf(0.95, 201) * math.sqrt(2 / 201 / 202)  # of 200 zeros, a 1 and a −1
    for name, answers, verdict in (("same", right, KEPT), ("all wrong", [0] * 200, LOST)):
        (tmp_path / name).mkdir()
        found = judged(tmp_path / name, Measured([1.0] * 9, {"t": right}), Measured([1.0] * 9, {"t": answers}))
        assert found["tasks"].verdict == verdict
        if name == "same":
            assert (found["tasks"].low, found["tasks"].high) == pytest.approx((-reach, reach))
        else:
            assert found["tasks"].low == found["tasks"].value == -1.0 < found["tasks"].high < -0.95
        assert (found["prose"].verdict, found["prose"].note) == (KEPT, "the same on every paragraph")
        assert found["tasks"].note == "base is at its ceiling: 200 of 200 right"
    (tmp_path / "shifted").mkdir()
    shifted = judged(tmp_path / "shifted", Measured([1.0] * 9), Measured([1.5] * 9))["prose"]
    assert (shifted.verdict, shifted.value) == (INCONCLUSIVE, pytest.approx(0.5))
    assert "bounds nothing" in shifted.note


def test_a_margin_that_is_a_large_part_of_the_loss_is_told(tmp_path: Path) -> None:
    for level, note in ((0.172, "the margin is 29% of the loss of base"), (2.0, "")):
        folder = tmp_path / str(level)
        folder.mkdir()
        found = judged(folder, Measured([level] * 20), Measured([level + x for x in around(0.001)]))["prose"]
        assert (found.verdict, found.note) == (KEPT, note)


@pytest.mark.parametrize(("items", "gained"), [(150, 0.0), (504, 0.0), (504, 0.005)])
def test_a_loss_as_large_as_the_margin_is_seldom_called_kept(items: int, gained: float) -> None:
    """Where few items change, plain t limits call it so two to four times as often as the 5 % that they promise."""
    rng, trials = np.random.default_rng(0), 1500
    kept = {"plain": 0, "adjusted": 0}
    for _ in range(trials):
        differences = rng.choice([-1.0, 0.0, 1.0], size=items, p=[0.02 + gained, 0.98 - 2 * gained, gained])
        kept["plain"] += capability.paired_difference(differences, ["t"] * items, level=0.9).low > -0.02
        kept["adjusted"] += capability.accuracy_difference(differences, ["t"] * items).low > -0.02
    assert kept["adjusted"] / trials < 0.075
    assert kept["plain"] > kept["adjusted"]
    assert gained > 0 or kept["plain"] / trials > 0.1


def test_what_is_missing_is_said_or_refused(tmp_path: Path) -> None:
    alone = capability.verdicts(sources(tmp_path, arm=Measured([1.0, 2.0], {"t": [1, 0]})), MARGINS)
    assert [(v.verdict, v.note, v.value) for v in alone] == [(NOT_ASSESSABLE, "base was not measured", None)] * 2
    whole = Measured([1.0, 2.0, 4.0], {"t": [1] * 9, "u": [1] * 9})
    refused = {
        r"nats_per_token: p2 in capability/base and not in capability/arm": replace(whole, nats=[1.0, 2.0]),
        r"nats_per_token: p3 in capability/arm and not in capability/base": replace(whole, nats=[1.0, 2.0, 4.0, 5.0]),
        r"accuracy: u/0, u/1, u/2 and 6 more in capability/base and not": replace(whole, tasks={"t": [1] * 9}),
        r"task t: capability/arm and capability/base were not asked the same items": replace(whole, digest="other"),
    }
    for n, (message, arm) in enumerate(refused.items()):
        (tmp_path / str(n)).mkdir()
        with pytest.raises(ValueError, match=message):
            judged(tmp_path / str(n), whole, arm)
    (tmp_path / "chance").mkdir()
    with pytest.raises(ValueError, match="no chance of task t"):
        judged(tmp_path / "chance", replace(whole, chance={}), whole)
    (tmp_path / "single").mkdir()
    assert judged(tmp_path / "single", Measured([1.0]), Measured([1.0]))["prose"].verdict == NOT_ASSESSABLE


def test_table_and_sentence_say_the_verdicts(tmp_path: Path) -> None:
    tasks = {"t": [1] * 300}
    measured = sources(
        tmp_path,
        base=Measured([2.0] * 20, tasks),
        control=Measured([2.0 + x for x in around(0.01)], tasks),
        values_targeted=Measured([2.0 + x for x in around(0.3)], {"t": [0] * 6 + [1] * 294}),
    )
    rows = capability.verdicts(measured, MARGINS)
    assert tables.verdict_sentences(rows, measured) == [  # of `arm`, which was not measured, nothing is said
        "Against base, values-targeted tuning: prediction of neutral prose was lost at s; accuracy on tasks was inconclusive at s."
    ]
    table = tables.verdicts(rows, measured)
    lines = [dict(zip(table.head, (cell.text for cell in row), strict=True)) for row in table.rows]
    assert [(line["arm"], line["verdict"]) for line in lines] == [
        ("control", KEPT),
        ("control", KEPT),
        ("values-targeted", LOST),
        ("values-targeted", INCONCLUSIVE),
    ]
    assert (lines[2]["arm − base"], lines[2]["margin"], lines[2]["paragraphs or items"]) == ("+0.300", "+0.050", "20")
    assert (lines[3]["arm − base"], lines[3]["margin"], lines[3]["paragraphs or items"]) == ("−2.0", "−2.0", "300")


def test_prose_may_be_kept_where_plain_prose_is_lost(tmp_path: Path) -> None:
    level = [2.0, 2.4, 2.2, 2.6, 2.3, 2.5]
    better, worse = ([value + moved + 0.001 * n for n, value in enumerate(level)] for moved in (-0.2, 0.2))
    given = sources(tmp_path, base=Measured(nats=level, plain=level), values_targeted=Measured(nats=better, plain=worse))
    found = capability.verdicts(given, MARGINS)
    assert [(row.measure, row.verdict) for row in found] == [("prose", KEPT), ("plain", LOST)]
    (said,) = tables.verdict_sentences(found, given)
    assert "prediction of neutral prose was kept at s; prediction of plain prose was lost at s" in said
