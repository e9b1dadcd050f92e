"""What the report tells of a fairness term over its weight."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from configs.contrasts import Arms, Contrast
from tasks.compare.comparison import Comparison
from tasks.compare.report import frontier, sections
from tasks.compare.stage import Settings
from tasks.compare.upstream import Output, Sources
from tasks.contract import Axes, Metric

FULL = {"method": "full", "dataset": "v", "texts": "digest"}


def regularised(kind: str, weight: float, **more: Any) -> dict[str, Any]:
    return {**FULL, "fairness": {"regulariser": kind, "weight": weight, "attributes": ["country"], "lists": "digest"}, **more}


ARMS = {
    "base": {"method": "none", "draw": 0},
    "values_targeted": FULL,
    "control": {**FULL, "dataset": "c"},
    "embedding_100": regularised("embedding", 100),
    "embedding_1": regularised("embedding", 1),
    "sentiment_10": regularised("sentiment", 10),
    "other": regularised("embedding", 5, epochs=3),
}


def output(arm: str, fairness: float, perplexity: float, size: str = "1m", seed: int = 0) -> Output:
    rows = [Metric("perplexity", perplexity, 12, ci_low=perplexity - 0.1, ci_high=perplexity + 0.1), Metric("relevance", 0.1, 12)]
    for name, value in (("individual_fairness", fairness), ("group_fairness", fairness / 2)):
        for axis, shift in (("country", 0.01), ("name", -0.01)):
            rows += [Metric(name, value + shift, 20, f"axis:{axis}"), Metric(f"{name}_null", 0.02, 20, f"axis:{axis}")]
    axes = Axes("toy", size, arm, None if arm == "base" else 8, seed, "counterfactual")
    return Output(Path(), f"{arm}{size}{seed}", "counterfactual", axes, "k", tuple(rows))


def comparison(*nodes: Output, arms: dict[str, Any] = ARMS) -> Comparison:
    held = Arms(tuple(arms), "base", (Contrast("embedding_1", "base"), Contrast("embedding_1", "control")), ())
    settings = Settings("toy", "counterfactual", "sentiment_disparity", held, experiment={"arms": arms})
    return Comparison(Sources(nodes, held, {}), [], [], [], settings)


LEVELS = {
    "base": (0.12, 2.9),
    "values_targeted": (0.11, 2.95),
    "control": (0.115, 2.94),
    "embedding_1": (0.08, 3.0),
    "embedding_100": (0.05, 3.3),
    "sentiment_10": (0.07, 3.1),
}


def test_arms_of_one_way_differ_in_the_weight_alone_and_the_one_without_a_term_stands_at_0() -> None:
    embedding, sentiment, other = frontier.ways({**ARMS, "plain": {**FULL, "epochs": 3}})
    assert embedding == frontier.Way(
        "embedding (embedding-100)", ((0.0, "values_targeted"), (1.0, "embedding_1"), (100.0, "embedding_100"))
    )
    assert sentiment == frontier.Way("sentiment", ((0.0, "values_targeted"), (10.0, "sentiment_10")))
    assert other.arms == ((0.0, "plain"), (5.0, "other"))
    assert [way.name for way in frontier.ways(ARMS)] == ["embedding", "sentiment"]  # one weight alone is no way
    assert frontier.ways({name: ARMS[name] for name in ("base", "values_targeted", "control")}) == []


def test_the_frontier_and_each_measure_over_the_weights_are_drawn_with_base_and_control_beside() -> None:
    found = comparison(*(output(arm, *levels) for arm, levels in LEVELS.items()))
    first, *over = frontier.panels(found)
    assert first.name == "frontier-toy-1m-counterfactual"
    assert "embedding 0 (2.95, 0.11), 1 (3, 0.08), 100 (3.3, 0.05)" in first.svg
    assert "control at (2.94, 0.115)" in first.svg
    assert [panel.name.split("-")[1] for panel in over] == ["individual_fairness", "group_fairness", "relevance", "perplexity"]
    assert "sentiment from 0.11 to 0.07" in over[0].svg
    assert "base from 0.12 to 0.12; control from 0.115 to 0.115" in over[0].svg
    assert "permuted" in over[0].note
    assert not over[3].note
    rows = {row[1].arm: row for row in frontier.table(found).rows}
    assert list(rows) == ["base", "control", "values_targeted", "embedding_1", "embedding_100", "sentiment_10"]
    assert [cell.text for cell in rows["embedding_100"][2:]] == [
        "embedding",
        "100",
        "0.050",
        "0.025",
        "0.100",
        "3.30",
    ]
    assert rows["embedding_100"][4].note == "0.020 under permuted words"
    assert [cell.text for cell in rows["base"][2:4]] == ["–", "–"]
    section = sections.fairness(found)
    assert not section.empty
    assert "base and control stand beside" in section.lead


def test_seeds_are_averaged_and_sizes_apart() -> None:
    nodes = [output("embedding_1", level, 3.0, seed=seed) for seed, level in enumerate((0.08, 0.1))]
    nodes += [output(arm, *LEVELS[arm]) for arm in ("base", "values_targeted")]
    nodes += [output(arm, *LEVELS[arm], size="2m") for arm in ("base", "embedding_1")]
    drawn = list(frontier.panels(comparison(*nodes)))
    assert {panel.name.split("-")[3] for panel in drawn if panel.name.startswith("lambda")} == {
        "1m"
    }  # of the other one weight alone is there
    assert "from 0.11 to 0.09" in drawn[1].svg


@pytest.mark.parametrize("without", ["fairness", "nodes"])
def test_nothing_is_told_where_there_is_nothing_over_a_weight(without: str) -> None:
    nodes = () if without == "nodes" else tuple(output(arm, *levels) for arm, levels in LEVELS.items())
    arms = {name: {key: value for key, value in section.items() if key != without} for name, section in ARMS.items()}
    assert sections.fairness(replace(comparison(*nodes, arms=arms))).empty
