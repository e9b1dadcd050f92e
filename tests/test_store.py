"""The store: only what is whole is a hit, and what is damaged runs again."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from configs.problems import BadInput
from flows.engine import code
from flows.engine.stores.folder import Store
from flows.engine.stores.manifest import Damaged, Manifest
from tasks import evaluations
from tests import toy


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path]:
    """A home with one output of a node, and that output's folder."""
    node = toy.node("a")
    session = toy.session(tmp_path, [node])
    toy.make(session, node)
    outcome = session.outcome(node)
    assert isinstance(outcome, Manifest)
    return tmp_path, outcome.folder


def again(home: Path, **options: bool) -> str:
    node = toy.node("a")
    return toy.make(toy.session(home, [node], **options), node)


def test_an_output_is_a_hit(made: tuple[Path, Path]) -> None:
    assert again(made[0]) == "hit"


def test_a_deleted_file_runs_again(made: tuple[Path, Path]) -> None:
    (made[1] / "value.txt").unlink()
    assert again(made[0]) == "its output was damaged: value.txt is missing"
    assert again(made[0]) == "hit"


def test_a_deleted_folder_runs_again(made: tuple[Path, Path]) -> None:
    shutil.rmtree(made[1])
    assert again(made[0]) == "not run before"


def test_a_changed_file_of_equal_size_runs_again(made: tuple[Path, Path]) -> None:
    (made[1] / "value.txt").write_text("9.0\n")
    assert again(made[0]) == "its output was damaged: value.txt has changed"


def test_a_broken_manifest_runs_again(made: tuple[Path, Path]) -> None:
    (made[1] / "manifest.json").write_text("{")
    assert again(made[0]).startswith("its output was damaged: manifest.json cannot be read")


def test_a_file_that_was_only_touched_is_still_a_hit(made: tuple[Path, Path]) -> None:
    os.utime(made[1] / "value.txt")
    assert again(made[0]) == "hit"


def test_a_change_that_hides_behind_size_and_time_is_found_by_verify(made: tuple[Path, Path]) -> None:
    file = made[1] / "value.txt"
    times = file.stat()
    file.write_text("9.0\n")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert again(made[0]) == "hit"
    assert again(made[0], verify=True) == "its output was damaged: value.txt has changed"
    assert file.read_text() == "1.0\n"


def test_volatile_files_do_not_change_the_digest(tmp_path: Path) -> None:
    digests = []
    for home in (tmp_path / "one", tmp_path / "two"):
        node = toy.node("a")
        session = toy.session(home, [node])
        toy.make(session, node)
        outcome = session.outcome(node)
        assert isinstance(outcome, Manifest)
        digests.append(outcome.digest)
    assert digests[0] == digests[1]


def test_an_unchanged_output_cuts_the_rerun_off(tmp_path: Path) -> None:
    """The second node hangs on the digest of the first one's content, not on its key."""
    for batch, expected in ((8, "not run before"), (4, "hit")):
        first = toy.node("a", batch=batch)  # batch is keyed, and changes no byte of the output
        second = toy.node("b", first)
        session = toy.session(tmp_path, [first, second])
        assert toy.make(session, first) != "hit"
        assert toy.make(session, second) == expected


def test_why_a_stage_runs_names_what_changed(tmp_path: Path) -> None:
    for value, expected in ((1.0, "not run before"), (2.0, "value 1.0 → 2.0")):
        node = toy.node("a", value=value)
        assert toy.make(toy.session(tmp_path, [node]), node) == expected
    first = toy.node("up", value=5.0)
    second = toy.node("a", first, value=2.0)
    session = toy.session(tmp_path, [first, second])
    toy.make(session, first)
    assert toy.make(session, second) == "input up0 is new"


def test_changed_stage_code_is_marked_and_keyed_only_on_request(made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    before = code.code_digest(toy.STAGE)
    monkeypatch.setattr("flows.engine.session.code_digest", lambda stage: before[::-1])
    node = toy.node("a")
    session = toy.session(made[0], [node])
    assert toy.make(session, node) == "hit"
    assert session.caveats == {"toy/a": "toy: its code changed since these results, under the same STAGE_VERSION 1"}
    assert again(made[0], strict_code=True) != "hit"


def test_a_stage_s_code_is_all_it_imports_from_this_project() -> None:
    names = {path.name for path in code.module_files("tasks.evaluations.toxicity.body")}
    assert {"body.py", "stage.py", "measures.py", "levels.py", "contract.py"} <= names
    assert "cli.py" not in names
    assert "log_odds.py" not in names
    assert "suites.py" in {path.name for path in code.module_files("tasks.sampling.body")}


def test_a_store_of_another_version_is_refused(tmp_path: Path) -> None:
    Store(tmp_path).found()
    (tmp_path / "format.json").write_text('{"format": 99}')
    with pytest.raises(BadInput, match="store format 99, this version reads 1"):
        Store(tmp_path)


def test_a_half_written_folder_is_never_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (store.partial("toy", "k")).mkdir(parents=True)
    assert store.find("toy", "k") is None
    (store.folder("toy", "k")).mkdir()
    assert isinstance(store.find("toy", "k"), Damaged)


def test_finding_a_stage_s_code_imports_none_of_it() -> None:
    script = "import sys; from flows.engine import code; code.module_files('tasks.finetune.body'); print('torch' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": "."}
    )
    assert run.stdout == "False\n"


def parsed_imports(source: Path) -> set[str]:
    """This project's modules and packages that a module imports, as Python's own parser finds them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in code.OURS and code.module_file(name)}


def test_the_code_of_a_stage_holds_every_module_that_it_imports() -> None:
    bodies = [evaluation.stage.body for evaluation in evaluations.found()] + ["tasks.finetune.body:run", "tasks.compare.body:run"]
    for body in bodies:
        files = code.module_files(body.split(":")[0])
        for source in files:
            if source.suffix == ".py":
                wanted = {
                    path for name in parsed_imports(source) if (path := code.module_file(name)) and path.name != "__init__.py"
                }
                assert wanted <= files, source


def test_imports_are_found_however_they_are_written(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text(
        "import os, tasks.contract as c  # import tasks.prose\n"
        "from tasks import levels as l, scoring\n"
        "def later():\n    from configs.read import (  # (as here\n        read_yaml,\n        override as o,  # from tasks.trial\n    )\n"
    )
    assert code.imports(source) == ["tasks.contract", "tasks.levels", "tasks.scoring", "configs.read"]


@pytest.mark.parametrize("left", ["{}", "[]", "null", "1", '"text"', '{"files": {}}', "NaN", "[" * 50_000])
def test_json_that_is_no_manifest_is_damage(made: tuple[Path, Path], left: str) -> None:
    (made[1] / "manifest.json").write_text(left)
    assert again(made[0]).startswith("its output was damaged: manifest.json ")
    assert again(made[0]) == "hit"


def test_whatever_word_or_digit_of_a_manifest_is_changed_is_damage(made: tuple[Path, Path]) -> None:
    text = (made[1] / "manifest.json").read_text()
    store = Store(made[0] / "store")
    for place, letter in enumerate(text):
        if letter.isalnum():
            (made[1] / "manifest.json").write_text(text[:place] + ("8" if letter != "8" else "9") + text[place + 1 :])
            assert isinstance(store.find("toy", made[1].name), Damaged), text[place - 20 : place + 20]
    (made[1] / "manifest.json").write_text(text)
    assert isinstance(store.find("toy", made[1].name), Manifest)


def test_an_output_of_another_key_in_its_place_is_damage(made: tuple[Path, Path]) -> None:
    other = toy.node("a", value=2.0)
    session = toy.session(made[0], [other])
    toy.make(session, other)
    theirs = session.outcome(other)
    assert isinstance(theirs, Manifest)
    shutil.rmtree(made[1])
    shutil.copytree(theirs.folder, made[1])
    assert again(made[0]).startswith("its output was damaged: manifest.json is that of another output, toy/a (toy/")
    assert again(made[0], verify=True) == "hit"


def test_strict_code_makes_what_other_code_made_and_nothing_else(
    made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert again(made[0], strict_code=True) == "hit"
    before = code.code_digest(toy.STAGE)
    monkeypatch.setattr("flows.engine.session.code_digest", lambda stage: before[::-1])
    assert again(made[0], strict_code=True) == "the stage's code changed"
    assert again(made[0], strict_code=True) == "hit"
    assert again(made[0]) == "hit"  # the one of before is kept


def test_looking_at_a_store_makes_nothing(tmp_path: Path) -> None:
    assert Store(tmp_path / "store").find("toy", "k") is None
    assert list(tmp_path.iterdir()) == []
