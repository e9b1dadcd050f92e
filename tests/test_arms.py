"""Arms are data: what a sweep says hangs on the part that an arm plays, never on what it is called."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.contrasts import Arms, Contrast
from configs.shipped import EXPERIMENTS
from tasks.compare import upstream
from tasks.compare.report import figures as panels
from tasks.compare.summary import LEGEND
from tests import sweeps
from tests.arms import ARMS, TO_BASE, TO_CONTROL, primary_rows
from tests.begun import Begin
from tests.test_compare import SIZES, Sweep, build, compare, contrasts

# in another order by name than the arms of the method: nothing may hang on that either
NAMES = {"base": "zero", "values_targeted": "dpo", "control": "placebo", "second": "advice"}
DRAWING = re.compile(r"<svg.*?</svg>", re.DOTALL)  # how wide a name is drawn is the name's own


def renamed_arms(arms: Arms) -> Arms:
    def of(held: tuple[Contrast, ...]) -> tuple[Contrast, ...]:
        return tuple(Contrast(*(NAMES[name] for name in one.arms)) for one in held)

    return Arms(tuple(NAMES[name] for name in arms.names), NAMES[arms.reference], of(arms.confirmatory), of(arms.exploratory))


def renamed(sweep: Sweep, root: Path) -> Sweep:
    """The same outputs in a sweep whose arms have other names."""
    other = Sweep(root, sweep.ladder)
    for label, place in sweep.places.items():
        moved = replace(place, arm=NAMES[place.arm] if place.arm else None)
        role = "/".join([label.split("/")[0], *moved.words()])
        other.inputs[role], other.places[role] = sweep.inputs[label], moved
    return other


def called_back(text: str) -> str:
    for old, new in NAMES.items():
        for was, now in ((new, old), (new.capitalize(), old.capitalize())):
            text = re.sub(rf"\b{was}\b", now.replace("_", "-"), text)
    return text.replace("values_targeted", "values-targeted").replace("Values-Targeted", "Values-targeted")


def lines(text: str) -> list[str]:
    """What a page says, without its drawings; where a line is sorted by its label, its place is the label's own."""
    return sorted(called_back(DRAWING.sub("", text)).splitlines())


def with_second(sweep: Sweep) -> Sweep:
    """A fourth arm: the control's outputs under another name."""
    for label, place in list(sweep.places.items()):
        if place.arm == "control":
            moved = replace(place, arm="second")
            role = "/".join([label.split("/")[0], *moved.words()])
            sweep.inputs[role], sweep.places[role] = sweep.inputs[label], moved
    return sweep


FOUR = Arms((*ARMS.names, "second"), "base", (TO_BASE, TO_CONTROL, Contrast("second", "base")), (Contrast("control", "base"),))


@pytest.mark.slow
@pytest.mark.parametrize("arms", [ARMS, FOUR], ids=["three", "four"])
def test_other_names_give_the_same_numbers_families_tests_colours_and_sentences(tmp_path: Path, arms: Arms) -> None:
    sweep = with_second(build(tmp_path / "in")) if arms is FOUR else build(tmp_path / "in")
    other, others = renamed(sweep, tmp_path / "other"), renamed_arms(arms)
    first, second = compare(sweep, tmp_path / "first", arms=arms), compare(other, tmp_path / "second", arms=others)
    for table in ("metrics.csv", "contrasts.csv", "trend.csv", "capability.csv"):
        assert called_back((first / table).read_text()) == called_back((second / table).read_text())
    assert [called_back(str(row)) for row in primary_rows(first)] == [called_back(str(row)) for row in primary_rows(second)]
    page, same = ((folder / "report.html").read_text(encoding="utf-8") for folder in (first, second))
    assert lines(page) == lines(same)
    painted = panels.colours(upstream.read(sweep.inputs, sweep.places, arms))
    repainted = panels.colours(upstream.read(other.inputs, other.places, others))
    assert {NAMES[name]: colour for name, colour in painted.items()} == repainted


def test_every_treated_arm_has_its_sentence_and_its_tests(tmp_path: Path) -> None:
    out = compare(with_second(build(tmp_path / "in")), tmp_path / "out", arms=FOUR)
    page = (out / "report.html").read_text(encoding="utf-8")
    heading = re.search(r"<h1>(.*?)</h1>", page, re.DOTALL)
    assert heading is not None
    assert heading[1].startswith(
        "Values-targeted raised on-position answers above base and control at every size; second was not shown"
    )
    assert "No difference in on-position answers from base was shown with 80 second samples at any size" in page
    families = {(row["contrast"], row["family"].split()[0]) for row in contrasts(out)}
    assert families == {
        *((str(one), "confirmatory") for one in FOUR.confirmatory),
        ("control-base", "exploratory"),
    }
    assert len([row for row in contrasts(out) if row["p_adjusted"]]) == 3 * len(SIZES)


def test_an_arm_of_any_name_gets_a_sentence_and_a_test(tmp_path: Path) -> None:
    sweep = renamed(build(tmp_path / "in", sizes={"30k": 31_000}), tmp_path / "other")
    arms = Arms(("zero", "dpo", "placebo"), "zero", (Contrast("dpo", "zero"),))
    out = compare(sweep, tmp_path / "out", arms=arms)
    (row,) = contrasts(out)
    assert (row["contrast"], row["family"].split()[0], row["adjustment"]) == ("dpo-zero", "confirmatory", "Holm")
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "80 dpo samples raised on-position answers above zero at 30k; no control was tested." in page


def test_a_sweep_without_a_contrast_says_that_nothing_is_compared(tmp_path: Path) -> None:
    out = compare(build(tmp_path / "in", sizes={"30k": 31_000}), tmp_path / "out", arms=replace(ARMS, confirmatory=()))
    assert "Nothing is compared: the experiment names no contrast." in (out / "report.html").read_text(encoding="utf-8")


def test_parts_that_arms_play() -> None:
    assert (ARMS.treated, ARMS.controls, ARMS.leading) == (("values_targeted",), ("control",), (TO_BASE,))
    assert (FOUR.treated, FOUR.leading) == (("values_targeted", "second"), (TO_BASE, Contrast("second", "base")))
    described = Arms(("a", "b", "c"), "a", (), (Contrast("c", "b"), Contrast("c", "a")))
    assert (described.treated, described.controls, described.leading) == (("c",), (), (Contrast("c", "a"),))
    aside = Arms(("a", "b", "c"), "a", (Contrast("c", "b"),))
    assert (aside.controls, aside.leading) == (("b",), (Contrast("c", "b"),))
    assert sorted(ARMS.names, key=ARMS.place) == ["base", "values_targeted", "control"]


@pytest.mark.parametrize("text", ["", "a", "a-b-c", "-b", "a-", "A-b", "a b", "a−b"])
def test_what_is_no_contrast_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match='"treated-reference", two arms joined by one hyphen, is accepted'):
        Contrast.parse(text)


# ---- a whole sweep: terminal, dashboard, tracker -------------------------------------------------------------------------


def experiment(path: Path, names: Mapping[str, str]) -> Path:
    """The shipped calibration experiment at its smallest size, without what is asked of social groups, with a second treated arm, its arms
    called by other names."""
    document: dict[str, Any] = yaml.safe_load((EXPERIMENTS / "calibration.yaml").read_text(encoding="utf-8"))
    tuned = document["arms"]["values_targeted"]
    arms = {**document["arms"], "second": {**tuned, "epochs": 2}}
    held = {name: str((EXPERIMENTS / file).resolve()) for name, file in document["datasets"].items()}
    for name in ("cooccurrence", "counterfactual"):
        del document["suites"][name], document["evaluations"][name]
    document["evaluations"]["adherence"]["suites"] = ["human_eval"]
    for suite in document["suites"].values():
        suite["prompts"] = str((EXPERIMENTS / suite["prompts"]).resolve())
        suite["completions"] = 4
    document |= {
        "ladders": [{"ladder": "calibration", "sizes": ["30k"]}],
        "arms": {names[name]: arm for name, arm in arms.items()},
        "datasets": held,
        "positions": str((EXPERIMENTS / document["positions"]).resolve()),
        "reference": names["base"],
        "contrasts": [f"{names[one.treated]}-{names[one.reference]}" for one in FOUR.confirmatory],
        "exploratory": [f"{names[one.treated]}-{names[one.reference]}" for one in FOUR.exploratory],
    }
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


@pytest.mark.slow
def test_a_sweep_tells_the_same_under_other_names(tmp_path: Path, begin: Begin) -> None:
    """Terminal, every metric, Prefect's artifact and MLflow's points; nothing but what names the arms is made again."""
    home, same = begin(tmp_path / "home"), {name: name for name in NAMES}
    told = sweeps.palms(home, "run", str(experiment(tmp_path / "a.yaml", same)))
    metrics = sweeps.palms(home, "metrics", "--format", "csv").stdout
    again = sweeps.palms(home, "run", str(experiment(tmp_path / "b.yaml", NAMES)))
    others = sweeps.palms(home, "metrics", "--format", "csv").stdout
    made = sweeps.palms(home, "status").stdout
    assert {line.split()[1].split("/")[0] for line in made.splitlines() if line.startswith("done")} == {"compare", "human_eval"}

    def rows(text: str) -> list[dict[str, str]]:
        return [row | {"sweep": ""} for row in csv.DictReader(called_back(text).splitlines())]

    assert rows(metrics) == rows(others)

    def table(text: str) -> list[list[str]]:
        lines = text.splitlines()
        first = next(place for place, line in enumerate(lines) if line.startswith("calibration: "))
        # other arms were not named before sampling, so nothing of theirs is shown by a test: without the stars
        said = [called_back(line).replace("*", "").split() for line in lines[first : lines.index(LEGEND)]]
        return [words for words in said if words]

    assert table(told.stdout) == table(again.stdout)
    assert len(table(told.stdout)) == 2 * (2 + len(NAMES))  # of both outcomes: title, headings, a row an arm
    (first, second) = [sorted(called_back(text).splitlines()) for text in sweeps.artifacts(home)]
    # without addresses, and without stars and finding, which hang on tests
    addresses = re.compile(r"\(http[^)]*\)|calibration-[0-9a-f]{10}|`[^`]*`|\\\*|^\*\*.*")
    assert [addresses.sub("", line).split() for line in first] == [addresses.sub("", line).split() for line in second]
    points: dict[str, dict[tuple[str, str], float]] = {}
    for (sweep, place, metric), value in sweeps.current_points(home).items():
        words = re.sub(r"(vs)_|_(low|high)\b", r"\1 \2", metric)  # an arm's name apart from what stands around it
        points.setdefault(sweep, {})[called_back(place), called_back(words)] = value
    assert len(points) == 2
    assert len({tuple(sorted(held.items())) for held in points.values()}) == 1
