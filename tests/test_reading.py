"""What a model was found able to read is looked at once, and again as soon as anything that it hangs on is another."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.problems import BadInput
from flows.engine.home import Home
from flows.prepared import prepare_run
from flows.request import request
from model_registry import tokenization
from tests import sweeps, tiny


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The models whose tokenizer was loaded."""
    seen: list[Path] = []
    load = tokenization.load_tokenization

    def watched(place: Path, taken: int = 0) -> tokenization.Tokenization:
        seen.append(place)
        return load(place, taken)

    monkeypatch.setattr(tokenization, "load_tokenization", watched)
    return seen


def test_a_model_that_could_read_everything_is_not_looked_at_again(tmp_path: Path, looks: list[Path]) -> None:
    model, home = sweeps.tiny_model(tmp_path / "model"), Home(tmp_path / "home")
    config = str(sweeps.experiment(tmp_path, {"tiny": model}))
    prepare_run(home, request(config))
    assert not home.root.exists()  # looking begins no home
    home.root.mkdir()
    first, second = (prepare_run(home, request(config)).reads for _ in range(2))
    assert len(looks) == 2
    assert first == second
    assert "{prompt}" in first["local-tiny"]
    prepare_run(home, request(config, ["suites.human_eval.max_new_tokens=9"]))
    assert len(looks) == 3
    tiny.model(model, "llama", context=1024)  # another one, in the same place
    prepare_run(home, request(config))
    assert len(looks) == 4


def test_what_could_not_be_read_is_said_each_time(tmp_path: Path, looks: list[Path]) -> None:
    home = Home(tmp_path / "home")
    home.root.mkdir()
    config = str(sweeps.experiment(tmp_path, {"tiny": tiny.model(tmp_path / "model", context=128)}))
    for _ in range(2):
        with pytest.raises(BadInput, match="at most the model's context of 128"):
            prepare_run(home, request(config))
    assert len(looks) == 2


def test_a_note_that_cannot_be_read_is_named_with_its_remedy(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.root.mkdir()
    config = str(sweeps.experiment(tmp_path, {"tiny": sweeps.tiny_model(tmp_path / "model")}))
    prepare_run(home, request(config))
    (note,) = home.readings.iterdir()
    note.write_text("{}")
    with pytest.raises(BadInput, match=f"`rm {note}`"):
        prepare_run(home, request(config))
