"""Kills at random moments over calibration sweeps: `python -m benchmarks.faults [KILLS] [SEED]`, 100 kills by default.

A sweep is started again and again, and each time something of it is killed: the command, a stage's process, the fork server, the
Prefect server, everything at once, the tracker's viewer of `palms up`, or it is asked to end (SIGTERM, Ctrl-C), or its disk is filled,
where a small one can be mounted; now and then its home is moved before the next run. When it comes to its end all the same, its metrics
are held against those of a run that nobody disturbed, the databases are counted, and the next sweep begins in an empty home.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tasks.contract import read_json
from tests import sweeps

ARGUMENTS = ("run", "calibration", "--set", "ladders=[{ladder: calibration, sizes: [30k]}]")
TARGETS = ("command", "stage", "forkserver", "server", "everything", "terminate", "interrupt", "viewer", "disk")
# Of the time that a sweep takes which nobody disturbs, 40 s on two cores: most are hit several times before they come through. Half of it
# is start: of 100 kills within 20 s none met a stage, so one that is to be killed is waited for.
WITHIN = 0.75
OF_A_STAGE_S = 3.0
MOVED = 0.2  # of the times that something was killed, the home is renamed before the next run
LIMIT_S = 240.0  # longer than this no command may take to end, whatever was killed under it
GRACE_S = 5.0  # after which no stage's process may be alive without its parent
# after which nothing at all may be: a fork server sees that its parent is gone once its imports are done, 5 to 15 s
FORKSERVER_GRACE_S = 25.0
VIEWER_BACK_S = 30.0
DISK_MIB = 1024


@dataclass
class Count:
    """What must be zero at the end, and what happened."""

    metrics_differ: int = 0
    stages_run_twice: int = 0
    tracked_runs_doubled: int = 0
    points_doubled: int = 0
    tracked_runs_left_running: int = 0
    flow_or_task_runs_left: int = 0
    processes_left: int = 0
    viewers_not_back: int = 0
    sweeps_ended_by_viewer: int = 0
    full_disks_not_told: int = 0
    tracebacks_of_full_disks: int = 0
    hung: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    sweeps: int = 0
    moves: int = 0

    @property
    def faults(self) -> dict[str, int]:
        return {name: value for name, value in vars(self).items() if isinstance(value, int) and name not in {"sweeps", "moves"}}


def fault_run(
    kills: int, seed: int, folder: Path, asked: Sequence[str] = ARGUMENTS, begin: Callable[[Path], object] = lambda home: None
) -> Count:
    """Disturb sweeps until there have been that many kills, and the one that was going on has come to its end.

    `asked`: the words of the command that runs one. `begin` is called with every home before its first run.
    """
    begin(folder / "undisturbed")
    began = time.monotonic()
    expected = finish(folder / "undisturbed", asked)
    longest = WITHIN * (time.monotonic() - began)
    with small_disk(folder / "disk") as kinds:
        return _disturbed(kills, random.Random(seed), folder / "disk", kinds, expected, longest, asked, begin)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Sequence[str]]:
    """A folder on a disk that can be filled, and the kinds of fault that can be made there: all but that one, where none is mounted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        yield [target for target in TARGETS if target != "disk"]
        return
    try:
        yield TARGETS
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _disturbed(
    kills: int,
    rng: random.Random,
    folder: Path,
    kinds: Sequence[str],
    expected: list[dict[str, str]],
    longest: float,
    asked: Sequence[str],
    begin: Callable[[Path], object],
) -> Count:
    count = Count()
    while count.kills.total() < kills:
        home = folder / f"home{count.sweeps}"
        begin(home)
        made: dict[str, str] = {}
        remade(home, made)
        while count.kills.total() < kills:
            ended = disturb(home, rng, count, kinds, longest, asked)
            count.stages_run_twice += remade(home, made)
            if ended:
                break
            if rng.random() < MOVED:
                home = home.rename(home.with_name(f"{home.name}-moved"))
                count.moves += 1
        count.metrics_differ += finish(home, asked) != expected
        count.stages_run_twice += remade(home, made)
        count.sweeps += 1
        look(home, count)
        shutil.rmtree(home)
        print(f"{count.kills.total():4} kills over {count.sweeps} sweeps: {count.faults}", flush=True)
    return count


def disturb(home: Path, rng: random.Random, count: Count, kinds: Sequence[str], longest: float, asked: Sequence[str]) -> bool:
    """Start the sweep and kill something of it at a random moment, of `longest` seconds at most; whether it came to its end before that."""
    moment, target = rng.uniform(0.0, longest), rng.choice(kinds)
    if target == "viewer":
        return disturb_viewer(home, moment, count, asked)
    if target == "disk":
        return disturb_disk(home, moment, count, asked)
    command = [*sweeps.COMMAND, *asked]
    with home.parent.with_suffix(".log").open("ab") as log:
        run = subprocess.Popen(command, env=sweeps.environment(home), stdout=log, stderr=log, start_new_session=True)
    if target == "stage":
        while run.poll() is None and not sweeps.stage_processes(run.pid):
            time.sleep(0.1)
        moment = rng.uniform(0.0, OF_A_STAGE_S)
    with contextlib.suppress(subprocess.TimeoutExpired):  # as a rule it goes on, to be killed
        run.wait(moment)
        return True
    family, stages = sweeps.living(run.pid), sweeps.stage_processes(run.pid)
    victims = _victims(run.pid, family, target)
    if not victims:
        target, victims = "command", [run.pid]
    number = {"terminate": signal.SIGTERM, "interrupt": signal.SIGINT}.get(target, signal.SIGKILL)
    for pid in victims:
        with contextlib.suppress(ProcessLookupError):  # it ended by itself in this moment
            os.kill(pid, number)
    count.kills[target] += 1
    try:
        run.wait(LIMIT_S)
    except subprocess.TimeoutExpired:
        count.hung += 1
        run.kill()
        run.wait()
    time.sleep(GRACE_S)
    left = [pid for pid in stages if _same(pid, family)]
    patience = time.monotonic() + FORKSERVER_GRACE_S - GRACE_S
    while not left and any(_same(pid, family) for pid in family) and time.monotonic() < patience:
        time.sleep(0.2)
    left = left or [pid for pid in family if _same(pid, family)]
    count.processes_left += len(left)
    for pid in left:
        print(f"     {target}: left {pid}, child of {family[pid][0]}: {family[pid][1][:100]!r}", flush=True)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return False


def disturb_viewer(home: Path, moment: float, count: Count, asked: Sequence[str]) -> bool:
    """Kill the viewer under a sweep that the runner has: it goes on to its end, and the viewer is back."""
    sweeps.palms(home, "up", "--detach")
    run = subprocess.Popen(
        [*sweeps.COMMAND, *asked], env=sweeps.environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.wait(moment)
    note = home / "mlflow.server.json"
    killed = read_json(note)["pid"]
    os.kill(killed, signal.SIGKILL)
    count.kills["viewer"] += 1
    try:
        count.sweeps_ended_by_viewer += run.wait(LIMIT_S) != 0
    except subprocess.TimeoutExpired:
        count.hung += 1
        run.kill()
        run.wait()
    patience = time.monotonic() + VIEWER_BACK_S
    while not (back := note.exists() and read_json(note)["pid"] != killed) and time.monotonic() < patience:
        time.sleep(0.2)
    count.viewers_not_back += not back
    sweeps.palms(home, "down")
    return True


def disturb_disk(home: Path, moment: float, count: Count, asked: Sequence[str]) -> bool:
    """Fill the disk under a sweep, and give the room back once it has ended; whether it came to its end all the same."""
    command = [*sweeps.COMMAND, *asked]
    run = subprocess.Popen(command, env=sweeps.environment(home), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.communicate(timeout=moment)
        return True
    filler = home.parent / "filler"
    with filler.open("wb") as file:
        while free := shutil.disk_usage(home.parent).free:
            with contextlib.suppress(OSError):  # the sweep took some of it in between
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), free)
    count.kills["disk"] += 1
    try:
        _, told = run.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        count.hung += 1
        run.kill()
        _, told = run.communicate()
    filler.unlink()
    if run.returncode == 0:
        return True
    untold, traceback = "the disk is full (" not in told, "Traceback" in told
    count.full_disks_not_told += untold
    count.tracebacks_of_full_disks += traceback
    if untold or traceback:
        print(f"     after {moment:.1f} s: {told}", flush=True)
    return False


def _victims(leader: int, family: Mapping[int, tuple[int, str]], target: str) -> list[int]:
    stages = sweeps.stage_processes(leader)
    if target == "stage":
        return stages[:1]
    if target == "forkserver":
        return [pid for pid, (parent, line) in family.items() if "forkserver" in line and parent == leader]
    if target == "server":
        return _servers(leader)
    if target == "everything":
        return [*family, *_servers(leader)]
    return [leader]


def _servers(parent: int) -> list[int]:
    """The Prefect server, which is a session of its own."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            above = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if above == parent and "prefect" in (folder / "cmdline").read_text():
                found.append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _same(pid: int, family: Mapping[int, tuple[int, str]]) -> bool:
    """Whether a process of the family is still there, and no other has its number."""
    try:
        alive = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
        return alive and (Path("/proc") / str(pid) / "cmdline").read_text() == family[pid][1]
    except (FileNotFoundError, ProcessLookupError):
        return False


def finish(home: Path, asked: Sequence[str]) -> list[dict[str, str]]:
    """Run to the end, undisturbed, and return every metric."""
    sweeps.palms(home, *asked)
    return list(csv.DictReader(io.StringIO(sweeps.palms(home, "metrics", "--format", "csv").stdout)))


def remade(home: Path, made: dict[str, str]) -> int:
    """How many outputs have been made again since the last look; `made` keeps when each was."""
    again = 0
    for path in home.glob("store/*/*/manifest.json"):
        if path.parent.name.endswith(".partial"):
            continue
        document = read_json(path)
        finished = f"{document['facts']['finished']} {document['facts']['seconds']}"
        again += made.setdefault(document["key"], finished) != finished
        made[document["key"]] = finished
    return again


def look(home: Path, count: Count) -> None:
    """Count what a finished sweep may not have left in the databases."""
    with sqlite3.connect(home / "mlflow" / "mlflow.db") as database:
        ask = database.execute
        count.tracked_runs_left_running += ask("select count(*) from runs where status = 'RUNNING'").fetchone()[0]
        doubled = """
            select count(*) from (
                select json_extract(value, '$.sweep') s, json_extract(value, '$.place') p, json_extract(value, '$.digest') d
                from tags where key = 'palms' group by s, p, d having count(*) > 1
            )
        """
        count.tracked_runs_doubled += ask(doubled).fetchone()[0]
        points = "select count(*) from (select 1 from metrics group by run_uuid, key, step having count(*) > 1)"
        count.points_doubled += ask(points).fetchone()[0]
    final = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
    with sqlite3.connect(home / "prefect" / "prefect.db") as database:
        for table in ("flow_run", "task_run"):
            left = f"select count(*) from {table} where state_type is null or state_type not in {final}"
            count.flow_or_task_runs_left += database.execute(left).fetchone()[0]


def main() -> None:
    given = [int(word) for word in sys.argv[1:]]
    kills, seed = (*given, *(100, 0)[len(given) :])
    with tempfile.TemporaryDirectory() as folder:
        count = fault_run(kills, seed, Path(folder))
    print(f"{count.kills.total()} kills ({dict(count.kills)}) over {count.sweeps} sweeps; home moved {count.moves} times")
    for name, value in count.faults.items():
        print(f"{name.replace('_', ' '):28} {value}")
    sys.exit(1 if any(count.faults.values()) else 0)


if __name__ == "__main__":
    main()
