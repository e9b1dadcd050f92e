"""Real architectures of ten million parameters through the whole DAG; of everything that a size does not show, as little as there can be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import sweeps, tiny
from tests.begun import Begin

pytestmark = pytest.mark.slow


def test_architectures_of_ten_million_parameters_go_through_the_whole_dag(tmp_path: Path, begin: Begin) -> None:
    wide = {"num_hidden_layers": 6, "hidden_size": 384, "intermediate_size": 1536}
    models = {
        "neox": tiny.model(tmp_path / "neox", "gpt_neox", context=1024, **wide),
        "gpt2": tiny.model(tmp_path / "gpt2", "gpt2", context=1024, n_layer=6, n_embd=384),
    }
    config = sweeps.experiment(
        tmp_path,
        models,
        **sweeps.TOXICITY,
    )
    home = begin(tmp_path / "home")
    sweeps.palms(home, "run", str(config))
    rows = json.loads(sweeps.palms(home, "metrics", "--format", "json").stdout)
    params = {row["size"]: row["params"] for row in rows if row["size"]}
    assert all(count > 10_000_000 for count in params.values())
    assert params.keys() == {"neox", "gpt2"}
