"""`palms doctor`: what is wrong is found and named with what to do about it, and nothing is changed by asking."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import namedtuple
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from flows.commands import doctor
from flows.commands.doctor import Finding
from flows.engine import machine
from flows.engine.board import Board
from flows.engine.home import Home
from flows.engine.notes import SweepNote, write_sweep_note
from flows.engine.ownership import Owner, process_start
from flows.engine.servers import unanswered
from flows.engine.stores.folder import Store
from flows.engine.stores.manifest import Manifest
from tasks.contract import canonical
from tests import hub_stand_in, sweeps, toy

Usage = namedtuple("Usage", "total used free")
GONE = 2**22 + 1  # above the kernel's largest pid


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """The folder of the one output of a home."""
    node = toy.node("a")
    session = toy.session(tmp_path, [node])
    toy.make(session, node)
    outcome = session.outcome(node)
    assert isinstance(outcome, Manifest)
    return outcome.folder


def damage_unseen(file: Path) -> None:
    """Change a file's content, and neither its size nor its time."""
    before = file.stat()
    file.write_text("9" * before.st_size)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def leave_sweep(home: Path, name: str, owner: Owner, **states: str) -> None:
    """What a sweep notes of itself, with a state for each of its stages."""
    folder = home / "sweeps" / name
    folder.mkdir(parents=True)
    (home / "store").mkdir(exist_ok=True)
    board = Board(folder / "state.json", states)
    for label, state in states.items():
        board.update(label, state=state)
    board.write()
    write_sweep_note(folder, note_of_sweep(owner))


def note_of_sweep(owner: Owner, store: str = "store") -> SweepNote:
    return SweepNote("/my.yaml", (), store, None, "s", False, {}, {}, {}, owner, noted=1.0)


def of_store(home: Path, *, verify: bool = False) -> list[Finding]:
    return list(doctor.store(home / "store", Home(home), verify=verify))


def lines(home: Path, *arguments: str, status: int = 0) -> list[str]:
    return sweeps.palms(home, "doctor", *arguments, status=status).stdout.splitlines()


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in [folder, *folder.rglob("*")]}


def test_a_home_that_is_not_made_yet_is_said_to_be_so_and_is_not_made(tmp_path: Path) -> None:
    found = lines(tmp_path / "home")
    assert any(f"{tmp_path}/home: not made yet" in line for line in found)
    assert not any(line.startswith("error") for line in found)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_healthy_home_is_left_as_it_is(tmp_path: Path, output: Path) -> None:
    leave_sweep(tmp_path, "s-1", Owner.me(), a="done")
    before = everything(tmp_path)
    found = lines(tmp_path, "--verify")
    assert {line.split()[0] for line in found[:-1]} == {"ok"}
    assert any("store: 1 stored" in line for line in found)
    assert found[-1] == "20 checks; errors: 0, warnings: 0"
    assert everything(tmp_path) == before


def test_it_answers_at_once() -> None:
    heavy = ("torch", "transformers", "peft", "prefect", "fastapi", "mlflow", "pandas", "detoxify", "scipy", "matplotlib")
    script = f"import sys; from flows.commands import doctor; doctor.versions(); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_change_that_hides_behind_size_and_time_is_an_error_that_only_verify_finds(tmp_path: Path, output: Path) -> None:
    damage_unseen(output / "value.txt")
    assert not any("value.txt" in line for line in lines(tmp_path))
    found = [line for line in lines(tmp_path, "--verify", status=1) if "value.txt" in line]
    assert len(found) == 1
    assert found[0].startswith("error")
    assert f"{output}: value.txt has changed; only --verify sees it" in found[0]


def test_damage_that_a_run_sees_is_found_without_verify_and_is_no_error(tmp_path: Path, output: Path) -> None:
    (output / "value.txt").unlink()
    found = [one for one in of_store(tmp_path) if one.ok != "ok"]
    assert found == [Finding("store", "warning", f"{output}: value.txt is missing", "it runs again by itself where it is needed")]


def test_damage_names_the_sweep_that_makes_it_anew(tmp_path: Path, output: Path) -> None:
    leave_sweep(tmp_path, "s-1", Owner.me())
    board = Board(tmp_path / "sweeps" / "s-1" / "state.json", ["a"])
    board.update("a", state="done", key=output.name)
    damage_unseen(output / "value.txt")
    assert [one.remedy for one in of_store(tmp_path, verify=True) if one.ok == "error"] == ["palms rerun s-1 --verify"]
    (output / "manifest.json").write_text("{")
    assert [one.remedy for one in of_store(tmp_path) if one.ok == "warning"] == ["it runs again by itself: palms rerun s-1"]


@pytest.mark.parametrize("left", ["{}", "[]", '{"files": {"value.txt": {}}}'])
def test_a_manifest_that_is_none_is_damage(tmp_path: Path, output: Path, left: str) -> None:
    (output / "manifest.json").write_text(left)
    assert [one.ok for one in of_store(tmp_path)] == ["ok", "warning"]


def test_a_file_that_the_disk_no_longer_gives_back_is_damage(
    tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("flows.engine.stores.folder.sha256_file", fails)
    found = [one for one in of_store(tmp_path, verify=True) if one.ok == "error"]
    assert len(found) == 1
    assert "Input/output error" in found[0].what


def test_a_store_of_another_version_is_an_error(tmp_path: Path, output: Path) -> None:
    (tmp_path / "store" / "format.json").write_text('{"format": 99}')
    found = [line for line in lines(tmp_path, status=1) if line.startswith("error")]
    assert len(found) == 1
    assert "store format 99, this version reads 1  → use another PALMS_HOME, or the version that wrote it" in found[0]


@pytest.mark.parametrize("left", ["", "[]"])
def test_a_broken_stamp_is_an_error(tmp_path: Path, output: Path, left: str) -> None:
    (tmp_path / "store" / "format.json").write_text(left)
    assert [(one.ok, "format.json: cannot be read" in one.what) for one in of_store(tmp_path)] == [("error", True)]


def test_outputs_without_a_stamp_are_not_taken_for_none(tmp_path: Path, output: Path) -> None:
    (tmp_path / "store" / "format.json").unlink()
    assert [(one.ok, "no format.json" in one.what) for one in of_store(tmp_path)] == [("warning", True)]
    assert not (tmp_path / "store" / "format.json").exists()


def test_unfinished_outputs_are_counted_unless_a_process_works_on_them(tmp_path: Path) -> None:
    store, unfinished = Store(tmp_path / "store"), "unfinished, kept for a run to go on from:"
    for key in ("left", "held", "unlocked"):
        store.partial("toy", key).mkdir(parents=True)
    with store.lock("toy", "left"):
        pass
    with store.lock("toy", "held"):
        assert of_store(tmp_path)[1:] == [Finding("store", "ok", f"{unfinished} 2")]
    assert of_store(tmp_path)[1:] == [Finding("store", "ok", f"{unfinished} 3")]
    assert not (store.root / "toy" / ".locks" / "unlocked").exists()
    with store.lock("toy", "left", wait=False) as had:  # and none was kept
        assert had


def test_a_store_that_a_sweep_was_told_to_use_is_looked_at_too(tmp_path: Path) -> None:
    leave_sweep(tmp_path, "s-1", Owner.me(), a="done")
    elsewhere = tmp_path / "elsewhere"
    write_sweep_note(tmp_path / "sweeps" / "s-1", note_of_sweep(Owner.me(), str(elsewhere)))
    assert doctor.store_roots(Home(tmp_path)) == [tmp_path / "store", elsewhere]


def test_a_stale_address_of_prefect_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        stale = f"http://127.0.0.1:{probe.getsockname()[1]}/api"
    monkeypatch.setenv("PREFECT_API_URL", stale)
    found = [line for line in lines(tmp_path) if line.startswith("warning")]
    assert len(found) == 1
    assert found[0].endswith(f"PREFECT_API_URL={stale} does not answer (Connection refused)  → unset PREFECT_API_URL")


def test_an_address_of_prefect_that_answers_is_in_order() -> None:
    with hub_stand_in.serve({}) as server:
        assert [one.ok for one in doctor.prefect_url(f"{server.url}/api")] == ["ok"]
        server.failing = True
        assert [one.ok for one in doctor.prefect_url(f"{server.url}/api")] == ["warning"]


def test_a_sweep_whose_process_died_is_named_with_the_command_that_goes_on(tmp_path: Path) -> None:
    me = Owner.me()
    dead = Owner(me.host, GONE, 1.0)
    leave_sweep(tmp_path, "died-1", dead, a="done", b="running", c="waiting")
    leave_sweep(tmp_path, "ended-1", dead, a="done", b="failed", c="blocked")
    leave_sweep(tmp_path, "runs-1", me, a="running")
    leave_sweep(tmp_path, "elsewhere-1", Owner("another-host", GONE, 1.0), a="running")
    assert doctor.sweeps(Home(tmp_path)) == [
        Finding("sweeps", "ok", "4, running: 2"),
        Finding(
            "sweeps",
            "warning",
            f"died-1: its process (pid {GONE}) is gone, stages left: 2",
            "palms rerun died-1",
        ),
    ]
    assert any("→ palms rerun died-1" in line for line in lines(tmp_path))


@pytest.mark.parametrize("file", ["sweep.json", "state.json"])
@pytest.mark.parametrize("left", ["{", "[]", '{"a": 1}', '[{"a": 1}]'])
def test_a_sweep_s_broken_notes_stop_no_other_check(tmp_path: Path, file: str, left: str) -> None:
    leave_sweep(tmp_path, "s-1", Owner.me(), a="running")
    (tmp_path / "sweeps" / "s-1" / file).write_text(left)
    assert lines(tmp_path)[-1].split("; ")[1].startswith("errors: 0")


def test_the_note_of_a_server_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "prefect.server.json").write_text(canonical({"name": "prefect", "pid": GONE, "port": 4200, "started": 1.0}))
    (tmp_path / "mlflow.server.json").write_text("{")
    found = {one.name: one for one in doctor.servers(Home(tmp_path))}
    assert found["prefect"].remedy == "palms down cleans it"
    assert found["mlflow"].remedy == f"rm {tmp_path}/mlflow.server.json"
    assert {name: one.ok for name, one in found.items()} == {"prefect": "warning", "mlflow": "warning", "runner": "ok"}


def test_a_server_that_lives(tmp_path: Path) -> None:
    """The stand-in answers 404 to a question after its health: up, and not well."""
    with hub_stand_in.serve({}) as server:
        note: dict[str, Any] = {"name": "mlflow", "pid": os.getpid(), "started": process_start(os.getpid())}
        (tmp_path / "mlflow.server.json").write_text(json.dumps({**note, "port": int(server.url.rpartition(":")[2])}))
        found = doctor.servers(Home(tmp_path))[1]
        assert (found.ok, found.remedy) == ("warning", f"kill {os.getpid()} && palms down")
        server.answer = lambda path: (200, {}, b"OK")  # type: ignore[method-assign]
        assert doctor.servers(Home(tmp_path))[1] == Finding("mlflow", "ok", f"up at {server.url} (pid {os.getpid()})")


@pytest.mark.parametrize(("free", "expected"), [(50, "ok"), (9.9, "warning"), (0.9, "error")])
def test_a_nearly_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, expected: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(100 * 2**30, 0, free * 2**30))
    (found,) = doctor.disk(tmp_path / "not" / "made")
    assert found.ok == expected
    assert f"{free:.1f} GiB free of 100.0 GiB" in found.what or free < 1
    assert bool(found.remedy) == (expected != "ok")


def test_a_file_where_the_home_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", tmp_path / "file" / "below"):
        found = [line for line in lines(home, status=1) if line.startswith("error")]
        assert len(found) == 1
        assert f"{tmp_path}/file is not a folder  → set PALMS_HOME" in found[0]


def test_a_home_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    (found,) = doctor.place(tmp_path / "home")
    assert (found.ok, f"{tmp_path} cannot be written to" in found.what) == ("error", True)


def test_a_version_outside_its_pin_is_an_error_that_names_the_pin(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = metadata.version

    def version(name: str) -> str:
        if name == "peft":
            raise metadata.PackageNotFoundError(name)
        return "0.151.0" if name == "fastapi" else installed(name)

    monkeypatch.setattr(metadata, "version", version)
    wrong = {one.name: one for one in doctor.versions() if one.ok != "ok"}
    assert set(wrong) == {"fastapi", "peft"}
    assert wrong["fastapi"].ok == "error"
    assert wrong["fastapi"].what == "0.151.0; <0.151,>=0.139 is required"
    assert wrong["fastapi"].remedy == "make -B .venv/.ready, or pip install 'fastapi<0.151,>=0.139'"
    assert wrong["peft"].what.startswith("not installed")


def test_another_python_than_the_distribution_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [one.ok for one in doctor.python()] == ["ok"]
    monkeypatch.setattr(doctor.platform, "python_version", lambda: "3.10.1")
    (found,) = doctor.python()
    assert (found.ok, ">=3.11 is required" in found.what) == ("error", True)


def test_a_source_tree_that_was_never_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DISTRIBUTION", "palms-sweep-that-is-not-there")
    assert [one.ok for one in doctor.python()] == ["warning"]
    assert {one.ok for one in doctor.versions()} == {"ok"}


@pytest.mark.parametrize(("count", "says"), [(0, "none"), (2, "2, as the NVIDIA driver lists them")])
def test_gpus(monkeypatch: pytest.MonkeyPatch, count: int, says: str) -> None:
    monkeypatch.setattr(machine, "gpus", lambda: count)
    assert [(one.ok, one.what.startswith(says)) for one in doctor.gpu()] == [("ok", True)]


def test_a_hub_out_of_reach_is_never_an_error(tmp_path: Path) -> None:
    (tmp_path / "models--gpt2").mkdir()
    with hub_stand_in.serve({}) as server:
        (up,) = doctor.hub(server.url, tmp_path, offline=False)
        server.failing = True
        (failing,) = doctor.hub(server.url, tmp_path, offline=False)
    (gone,) = doctor.hub(server.url, tmp_path, offline=False)
    (unwanted,) = doctor.hub(server.url, tmp_path, offline=True)
    assert [one.ok for one in (up, failing, gone, unwanted)] == ["ok", "warning", "warning", "ok"]
    assert gone.remedy == "models must be in the cache or local folders"
    assert all(f"cache {tmp_path}, models in it: 1" in one.what for one in (up, failing, gone, unwanted))


def test_something_that_never_answers_is_not_waited_for() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        assert unanswered(f"http://127.0.0.1:{silent.getsockname()[1]}", 0.3) != ""
        assert time.monotonic() - began < sweeps.SOON_S


def test_what_is_no_address_is_said_to_be_none() -> None:
    assert "unknown url type" in unanswered("localhost/api")
