"""Small stages that do what a test needs: succeed, fail, die, run out of memory, wait. No science."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.engine import explain
from flows.engine.board import Board
from flows.engine.runners.local import Local
from flows.engine.session import Options, Session, StageFailed
from flows.engine.stores.folder import Store
from tasks.contract import Axes, Job, Metric, Node, Resources, Stage, write_json, write_metrics

__all__ = ["LIGHT", "STAGE", "Resources", "Session", "Settings", "StageFailed", "make", "node", "run", "session"]


@dataclass(frozen=True)
class Settings:
    value: float = 1.0
    do: str = ""  # fail | die | collect | memory | wait | transient
    batch: int = 8
    seconds: float = 0.0
    note: str = ""  # a folder in which runs are counted


STAGE = Stage(name="toy", version="1", body="tests.toy:run", shrink="batch")
LIGHT = Stage(name="light", version="1", body="tests.toy:run")


def run(jobs: Sequence[Job]) -> None:
    from huggingface_hub.constants import HF_HUB_CACHE  # here: this module is imported before a process has its environment

    for job in jobs:
        settings: Settings = job.settings
        if settings.note:
            (Path(settings.note) / f"{os.getpid()}-{time.monotonic_ns()}-{job.label.replace('/', '_')}").touch()
        if settings.do == "fail":
            raise ValueError("this one always fails\nand says so in two lines")
        if settings.do == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if settings.do == "collect" and not (gc.isenabled() and gc.get_freeze_count()):
            raise ValueError("garbage is not collected, or what was imported with it")
        if settings.do == "memory" and settings.batch > 2:
            raise MemoryError("too large")
        if settings.do == "transient" and not (job.scratch / "seen").exists():
            (job.scratch / "seen").touch()
            raise ConnectionError("the hub went away")
        for step in range(int(settings.seconds * 20)):
            (job.scratch / "beat").write_text(str(time.time()))
            job.progress(step, int(settings.seconds * 20), "beats")
            time.sleep(0.05)
        total = settings.value + sum(
            float((path / "value.txt").read_text()) for role, path in job.inputs.items() if role.startswith("up")
        )
        (job.work / "value.txt").write_text(f"{total}\n")
        write_json(
            job.work / "when.json", {"time": time.time(), "hub": HF_HUB_CACHE, "gpus": os.environ.get("CUDA_VISIBLE_DEVICES")}
        )
        write_metrics(job.work, [Metric("total", total, n=1)])
        job.commit(volatile=("when.json",))


def node(name: str, *up: Node, stage: Stage = STAGE, resources: Resources | None = None, **settings: Any) -> Node:
    inputs = {f"up{i}": parent for i, parent in enumerate(up)}
    return Node(stage, Axes(name=name), Settings(**settings), inputs, resources=resources or Resources(memory_gib=0.1))


def session(home: Path, nodes: list[Node], **options: bool) -> Session:
    home.mkdir(parents=True, exist_ok=True)
    board = Board(home / "state.json", [node.label for node in nodes])
    return Session(nodes, Store(home / "store"), Local(Resources(4, 8.0)), board, Options(log=home / "log.txt", **options))


def make(session: Session, node: Node) -> str:
    """Settle one node whose upstream is settled; returns `hit` or why it was made. Raises StageFailed."""
    inputs = session.inputs(node)
    assert isinstance(inputs, dict)
    order = session.order(node, inputs)
    found, reasons = session.look_up(order)
    session.settle(node, found or session.group(node).attend(node, order))
    return "hit" if found else explain.line(reasons)
