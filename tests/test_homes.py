"""A home that was moved, copied, named oddly, damaged, filled up or deleted: every command works there, or says in one line why not."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import termios
import time
from pathlib import Path

import pytest

from tests import sweeps
from tests.begun import STORE, Begin

NOTES = ("sweep.json", "state.json")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiment")
    alone = {"arms": {"base": {"method": "none"}}, "contrasts": []}
    return sweeps.experiment(folder, {"gpt2": sweeps.tiny_model(folder / "gpt2")}, **alone, **sweeps.TOXICITY)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, config: Path, begin: Begin) -> Path:
    """A home whose name says everything that an address would take for something else, to those who make the databases too."""
    home = begin(tmp_path_factory.mktemp("homes") / "q?x=1 per%20cent #hash a&b 'ü'", STORE)
    sweeps.palms(home, "run", str(config))
    return home


@pytest.fixture
def home(odd: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(odd, tmp_path / "home", symlinks=True))


def metrics(home: Path) -> str:
    return sweeps.palms(home, "metrics", "--format", "csv").stdout


def everything(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def test_a_copy_works_by_itself(odd: Path, home: Path, config: Path) -> None:
    before, expected = everything(odd), metrics(odd)
    assert metrics(home) == expected
    assert sweeps.palms(home, "report").stdout.startswith(f"{home}/store/compare/")
    assert "stages are there" in sweeps.palms(home, "rerun").stdout
    assert "0 to run" in sweeps.palms(home, "plan", str(config), "--strict-code").stdout
    sweeps.palms(home, "rerun", "--from", "compare")
    assert "tracked elsewhere" not in sweeps.palms(home, "mlflow", "rebuild").stdout
    assert sweeps.current_points(home)
    assert metrics(home) == expected
    assert everything(odd) == before


@pytest.mark.parametrize("name", NOTES)
@pytest.mark.parametrize("left", ["", "{", "[]", "null", '[{"a": 1}]', "a folder", "nothing"])
def test_a_damaged_note_is_one_line(home: Path, name: str, left: str) -> None:
    note = next(home.glob(f"sweeps/*/{name}"))
    note.unlink()
    if left == "a folder":
        note.mkdir()
    elif left != "nothing":
        note.write_text(left)
    for words in (("status",), ("metrics",), ("mlflow", "rebuild"))[: 3 if left == "{" else 1]:  # one reader reads for all
        told = sweeps.palms(home, *words, status=2).stderr.splitlines()
        assert len(told) == 1
        assert f"{note}: cannot be read (" in told[0]
        assert "anew" in told[0]


def test_a_home_that_is_mounted_read_only_is_read(home: Path, config: Path) -> None:
    expected = metrics(home)
    if subprocess.run(["mount", "--bind", str(home), str(home)], check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(home)], check=True)
        assert metrics(home) == expected
        for words in (("status",), ("report",), ("plan", str(config))):
            assert sweeps.palms(home, *words).stderr == ""
        for words in (("run", str(config)), ("rerun",)):
            told = sweeps.palms(home, *words, status=2).stderr.splitlines()
            assert len(told) == 1
            assert "Read-only file system" in told[0]
    finally:
        subprocess.run(["umount", str(home)], check=True)


def test_a_folder_that_is_deleted_under_a_sweep_ends_it_within_seconds(home: Path, config: Path) -> None:
    expected = metrics(home)
    shutil.rmtree(home / "store" / "sampling")
    running = subprocess.Popen(
        [*sweeps.COMMAND, "run", str(config)],
        env=sweeps.environment(home),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    sweeps.wait_for(lambda: list(home.glob("store/sampling/*.partial")))
    home.rename(home.parent / "away")
    began = time.monotonic()
    _, told = running.communicate(timeout=sweeps.ENDED_S)
    assert time.monotonic() - began < sweeps.SOON_S
    assert running.returncode == 1
    # in its place a library may have made its own folder in the meantime (seen once, under load)
    assert f"{home} is not there any more" in told or f"{home} was replaced by another folder" in told
    assert len(told.splitlines()) == 2
    assert not list(home.glob("store/*"))
    shutil.rmtree(home, ignore_errors=True)
    (home.parent / "away").rename(home)
    sweeps.palms(home, "rerun")
    assert metrics(home) == expected


def test_a_full_disk_is_one_line_and_loses_nothing(odd: Path, config: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(disk)], check=False, capture_output=True
    ).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        home = Path(shutil.copytree(odd, disk / "home", symlinks=True))
        shutil.rmtree(home / "store" / "sampling")
        told = sweeps.palms(home, "run", str(config), status=2).stderr.splitlines()
        assert len(told) == 1
        assert "the disk is full (" in told[0]
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        running = subprocess.Popen(
            [*sweeps.COMMAND, "rerun"], env=sweeps.environment(home), stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        sweeps.wait_for(lambda: list(home.glob("store/sampling/*.partial")))
        with (disk / "filler").open("wb") as filler:
            filler.write(b"0" * (shutil.disk_usage(disk).free - 2**20))
        began = time.monotonic()
        _, error = running.communicate(timeout=sweeps.ENDED_S)
        assert time.monotonic() - began < sweeps.SOON_S
        assert running.returncode == 1
        assert "the disk is full (" in error
        assert len(error.splitlines()) == 2
        (disk / "filler").unlink()
        sweeps.palms(home, "rerun")
        assert metrics(home) == metrics(odd)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("wait_for", ["fork server", "stage"])
def test_two_interrupts_leave_the_terminal_as_it_was(home: Path, config: Path, wait_for: str) -> None:
    shutil.rmtree(home / "store" / "sampling")
    controller, terminal = os.openpty()
    running = subprocess.Popen(
        [*sweeps.COMMAND, "run", str(config)],
        env={**sweeps.environment(home), "TERM": "xterm"},
        **dict.fromkeys(("stdin", "stdout", "stderr"), terminal),
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(terminal)
    if wait_for == "stage":
        sweeps.wait_for(lambda: list(home.glob("store/sampling/*.partial")))
    else:
        sweeps.wait_for(lambda: any("forkserver" in line for _, line in sweeps.living(running.pid).values()))
    for _ in range(2):
        os.write(controller, b"\x03")
        time.sleep(0.3)
    shown = b""
    with contextlib.suppress(OSError):  # the terminal's other end is closed once all have ended
        while some := os.read(controller, 4096):
            shown += some
    running.wait(sweeps.SOON_S)
    os.close(controller)
    assert running.returncode in (-signal.SIGINT, 130)  # at once, or after the first one's end in order
    assert wait_for == "fork server" or b"\x1b[?25l" in shown
    assert b"Traceback" not in shown
    assert shown.rfind(b"\x1b[?25h") >= shown.rfind(b"\x1b[?25l")


def test_a_setting_that_was_the_cause_is_changed_by_the_rerun(home: Path, config: Path) -> None:
    expected = metrics(home)
    shutil.rmtree(home / "store" / "sampling")
    failed = sweeps.palms(home, "run", str(config), "--set", "limits.stage_timeout_s=0.05", status=1)
    words = next(line for line in failed.stderr.splitlines() if line.startswith("run again what is missing: palms "))[33:].split()
    assert words[0] == "rerun"
    assert words[2:] == ["--set", "limits.stage_timeout_s=null"]
    sweeps.palms(home, *words)
    assert metrics(home) == expected
    refused = sweeps.palms(home, "rerun", "--set", "seeds=[1]", status=2).stderr
    assert "--set seeds=[1]: makes sweep" in refused
    assert "seeds=[1]'` starts that one" in refused
