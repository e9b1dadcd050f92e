"""Seconds of commands that have nothing to make: `--help`, `plan`, `status`, and a run of which everything is there.

    python -m benchmarks.startup HOME [repetitions] [CHECKOUT]

HOME is a folder of sweeps in which `palms run calibration` has been run; where it is empty, that is done first, which takes minutes. CHECKOUT
is another working tree with its `.venv`, such as the previous commit's: it gets a copy of the home, since other code compares anew once, and
its commands are interleaved with this one's. A fresh interpreter each time, by the clock and in seconds of a core of its own process. Runs
are timed without servers (the command starts and stops its own) and, of this tree, with those that `palms up --detach` starts. Last, what a
stage takes beyond a plain call of its body: toy stages one after another through store, admission and a process of their own.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path

from flows.engine.processes import warm_up
from tests import toy

HERE = Path(__file__).parents[1]
WORDS = (("--help",), ("plan", "calibration"), ("status",), ("run", "calibration"))
STAGES = 20


def palms(tree: Path, home: Path, *words: str) -> tuple[float, float]:
    """Seconds that a command takes, and seconds of a core that its own process uses. Raises CalledProcessError where it fails."""
    environment = {**os.environ, "PALMS_HOME": str(home)}
    began, before = time.perf_counter(), os.times()
    subprocess.run([tree / ".venv" / "bin" / "palms", *words], env=environment, cwd=tree, check=True, capture_output=True)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, used


def told(taken: list[tuple[float, float]]) -> str:
    seconds, used = zip(*taken, strict=True)
    return (
        f"{statistics.median(seconds):6.2f} s ({min(seconds):.2f} to {max(seconds):.2f}), of a core {statistics.median(used):.2f}"
    )


def beyond_the_plain_call(folder: Path) -> float:
    """Seconds of one toy stage after another, a stage, less those of its body's plain call."""
    nodes = [toy.node(f"n{number}", value=float(number)) for number in range(STAGES + 1)]
    session = toy.session(folder, nodes)
    warm_up()
    toy.make(session, nodes[0])  # which waits for the fork server
    began = time.perf_counter()
    for node in nodes[1:]:
        toy.make(session, node)
    return (time.perf_counter() - began) / STAGES


def main(home: Path, repetitions: int, other: Path | None) -> None:
    homes = {HERE: home} | ({other: home.with_name(f"{home.name}-other")} if other else {})
    palms(HERE, home, "run", "calibration")
    for tree, of_tree in homes.items():
        if not of_tree.exists():
            shutil.copytree(home, of_tree, symlinks=True)
        palms(tree, of_tree, "run", "calibration")
    for words in WORDS:
        taken: dict[Path, list[tuple[float, float]]] = {tree: [] for tree in homes}
        for _ in range(repetitions):
            for tree, of_tree in homes.items():
                taken[tree].append(palms(tree, of_tree, *words))
        beside = f"; {other}: {told(taken[other])}" if other else ""
        print(f"palms {' '.join(words):18} {told(taken[HERE])}{beside}", flush=True)
    palms(HERE, home, "up", "--detach")
    try:
        print(f"palms {'run, servers up':18} {told([palms(HERE, home, *WORDS[-1]) for _ in range(repetitions)])}", flush=True)
    finally:
        palms(HERE, home, "down")
    print(f"a stage beyond the plain call of its body: {beyond_the_plain_call(home / 'toy'):.2f} s (mean of {STAGES})")
    shutil.rmtree(home / "toy")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("home", type=Path)
    parser.add_argument("repetitions", type=int, nargs="?", default=5)
    parser.add_argument("checkout", type=Path, nargs="?")
    given = parser.parse_args()
    main(given.home.absolute(), given.repetitions, given.checkout and given.checkout.absolute())
