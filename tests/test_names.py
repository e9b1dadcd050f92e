"""Names given to other tools: taken by each, and never the same for two of ours."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_logged_model_name

from configs.problems import BadInput
from configs.suites import load_suite
from flows.engine import names

ANY = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
    st.text("ab/.: _-éE\u0301", min_size=1, max_size=8),
    st.text("x/", min_size=200, max_size=600),
    st.sampled_from(
        ["kind:a", "kind_a", "axis:a", "axis_a", "Rights // justice", "Rights / justice", "é", "e\u0301", "Con", "con", "..", "."]
    ),
)


@given(ANY, ANY)
def test_two_names_have_two_files_on_any_system(one: str, other: str) -> None:
    first, second = (unicodedata.normalize("NFD", names.file(name)).casefold() for name in (one, other))
    assert (first == second) is (one == other)
    for name in (names.file(one), names.file(other)):
        assert len(name.encode()) <= 200
        assert not re.search(r'[<>:"/\\\\|?*\x00-\x1f]|^[.\s-]|[.\s]$', name)


@given(ANY, ANY)
def test_two_experiments_have_two_artifacts(one: str, other: str) -> None:
    assert (names.artifact(one) == names.artifact(other)) is (one == other)
    assert re.fullmatch(r"[a-z0-9-]+", names.artifact(one))


@given(ANY)
def test_a_model_is_logged_under_any_name(name: str) -> None:
    logged = names.model(name)
    _validate_logged_model_name(logged)  # raises for one that MLflow does not take
    assert len(logged) == len(name)


@pytest.mark.parametrize("name", ["small", "gpt2.yaml", "a-b_c"])
def test_a_name_that_is_taken_stays_what_it_is(name: str) -> None:
    assert names.file(name) == name


def test_a_mapped_name_can_still_be_read() -> None:
    assert re.fullmatch(r"mine_and_yours-[0-9a-f]{10}", names.file("Mine and yours"))


def test_words_that_differ_in_marks_alone_have_prompts_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(
        "suite: s\nform: question\ntemplates:\n  tongue:\n    groups: {a: [C++, C], b: [हिन्दी, हिन्द]}\n    texts: ['Is {} hard?']\n"
    )
    ids = [prompt.id for prompt in load_suite(path).prompts]
    assert len(set(ids)) == 4
    assert "tongue-b-हिन्दी-1" in ids


@pytest.mark.parametrize("group", ["all", "kind:neutral", "axis:gender"])
def test_a_group_named_as_what_stands_for_several_is_refused(tmp_path: Path, group: str) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(f"suite: s\nform: question\nprompts:\n- {{id: a, group: '{group}', text: Why?}}\n")
    with pytest.raises(BadInput, match=f'suite.yaml:4: prompts.0.group: "{group}" stands for prompts of several groups'):
        load_suite(path)
