"""No command ends in a traceback, whatever it is given, wherever its output goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from configs.shipped import CONFIGS
from tests import sweeps

WORDS = [
    *("run", "rerun", "plan", "status", "report", "metrics", "init", "doctor", "schema", "models", "models list", "models show"),
    *("dataset validate", "dataset compare DATASET", "dataset compare", "dataset nearest", "dataset nearest DATASET --suite"),
    *("dataset validate DATASET --positions", "dataset validate DATASET --suite", "init x --in", "plan calibration --set"),
    *("plan calibration --power --difference", "metrics --format", "rerun --from", "rerun --size"),
    *("models promote", "models export", "models export x --to", "chat", "chat --arm"),
]
NAMES = [
    "",
    " ",
    ".",
    "..",
    "/",
    "/nonexist/x.yaml",
    "/dev/null",
    "/dev/zero",
    "-1",
    "nan",
    "1e999",
    "--",
    "=1",
    "a=b",
    "%s",
    "[bold]",
    "a\nb",
    "\u202e",
    "x" * 5000,
    "é\ud800",
]
FILES = [
    "pipe",
    "pipe.yaml",
    "pipe.jsonl",
    "empty.yaml",
    "empty.jsonl",
    "binary",
    "binary.yaml",
    "binary.jsonl",
    "zero.yaml",
    "zero.jsonl",
    "folder",
    "folder.yaml",
    "folder.jsonl",
    "broken.yaml",
    "broken.jsonl",
    "loop.yaml",
    "big.yaml",
    "secret.yaml",
]

# every case in a fork of a process that has imported the command: 0.03 s each instead of one
DRIVER = """
import json, os, signal, sys
from flows import cli
import flows.commands.run, flows.commands.dataset, flows.commands.doctor
for arguments in json.load(open("cases.json")):
    child = os.fork()
    if not child:
        signal.alarm(20)
        sys.argv = ["palms", *(os.fsdecode(one.encode("utf-8", "surrogatepass")) for one in arguments)]
        told = os.open("told", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(told, 1), os.dup2(told, 2), os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        status = 99
        try:
            cli.main()
            status = 0
        except SystemExit as end:
            status = end.code or 0
        except BaseException:
            import traceback
            traceback.print_exc()
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 98)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    text = open("told", errors="replace").read()
    if ended not in (0, 1, 2) or "Traceback" in text:
        print(json.dumps([[one[:60] for one in arguments], ended, text[-400:]]))
"""


@pytest.mark.slow
def test_no_command_ends_in_a_traceback(tmp_path: Path) -> None:
    for name in ("pipe", "pipe.yaml", "pipe.jsonl"):
        os.mkfifo(tmp_path / name)
    for name in ("folder", "folder.yaml", "folder.jsonl"):
        (tmp_path / name).mkdir()
    for name in ("zero.yaml", "zero.jsonl"):
        (tmp_path / name).symlink_to("/dev/zero")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    for name in ("binary", "binary.yaml", "binary.jsonl"):
        (tmp_path / name).write_bytes(bytes(range(256)) * 9)
    for name, text in (
        ("empty.yaml", ""),
        ("empty.jsonl", ""),
        ("broken.yaml", "a: ["),
        ("broken.jsonl", '{"id": 1}\n'),
        ("big.yaml", "a" * 3_000_000),
        ("secret.yaml", "root:*:1\n"),
    ):
        (tmp_path / name).write_text(text)
    dataset = str(CONFIGS / "datasets" / "control.jsonl")
    cases = [[*word.replace("DATASET", dataset).split(), odd] for word in WORDS for odd in [*NAMES, *FILES]][
        ::7
    ]  # all 1,140 take minutes, and every word and every argument is among these
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        cwd=tmp_path,
        env=sweeps.environment(tmp_path / "home"),
        capture_output=True,
        text=True,
        timeout=500,
        check=True,
    )
    assert done.stdout == ""


OUTPUTS = [
    ["models", "list"],
    ["plan", "calibration"],
    ["dataset", "validate", "calibration"],
    ["schema"],
    ["--help"],
    ["plan", "none"],
]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", OUTPUTS)
def test_output_that_cannot_be_written_or_shown_is_no_traceback(tmp_path: Path, arguments: list[str]) -> None:
    home = sweeps.environment(tmp_path / "home")
    for more, stdout in (
        ({}, "/dev/full"),
        ({"PYTHONIOENCODING": "ascii"}, "told"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "told"),
    ):
        with (tmp_path / stdout).open("wb") as out:
            done = subprocess.run([*sweeps.COMMAND, *arguments], env=home | more, stdout=out, stderr=subprocess.PIPE, check=False)
        told = done.stderr.decode()
        assert "Traceback" not in told
        assert "Exception ignored" not in told
        assert len(told.splitlines()) <= (1 if stdout == "/dev/full" or arguments[-1] == "none" else 0)
        if stdout == "/dev/full" and arguments[-1] != "none":
            assert (done.returncode, "No space left on device" in told) == (1, True)


def test_a_pipe_that_is_closed_ends_the_command_quietly(tmp_path: Path) -> None:
    for close in ("| head -c 1", "| true", ">&-"):
        script = f"{sys.executable} -c 'from flows.cli import main; main()' schema {close}"
        done = subprocess.run(
            ["bash", "-c", script], env=sweeps.environment(tmp_path), capture_output=True, text=True, check=False
        )
        assert done.stderr == ""


def test_a_set_is_started_in_a_folder_that_is_there_alone(tmp_path: Path) -> None:
    done = sweeps.palms(tmp_path / "home", "init", "x", "--in", str(tmp_path / "none"), status=2)
    assert done.stderr == f"error: {tmp_path}/none: no such folder; --in names one that exists\n"
    assert not (tmp_path / "none").exists()
