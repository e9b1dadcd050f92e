"""How long a DAG takes on so many devices: a simulation of the queue that stages wait in.

As in a run: what becomes ready in the same moment and is of one group (a stage's nodes of one size) shares a process, one after the other on the
devices of the one that needs most; processes are let in as they come, in the DAG's order; nodes that are made together wait for one another; a result
is there as soon as its node is done, and not with its process. What needs no device holds none. Threads and memory are taken to suffice.

More devices never make it longer: who has them may leave some idle (a queue alone may do worse with more: Graham 1969).
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict, deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count


@dataclass(frozen=True)
class Task:
    """after: names of what it reads. devices: that it needs at once. group: tasks with equal ones share a process. together: tasks with
    equal ones wait for one another, where it is not None."""

    name: str
    seconds: float
    after: frozenset[str] = frozenset()
    devices: int = 1
    group: Hashable = None
    together: Hashable = None


def makespans(tasks: Sequence[Task], devices: Iterable[int]) -> dict[int, float]:
    """By number of devices, the seconds until all are done; without those numbers on which a task has no room. Tasks come in topological order."""
    wanted = list(devices)
    least, found, best = max([1, *(task.devices for task in tasks)]), {}, math.inf
    for many in range(least, max(wanted, default=0) + 1):
        found[many] = best = min(best, _queued(tasks, many))
    return {many: found[many] for many in wanted if many in found}


def critical_path(tasks: Sequence[Task]) -> float:
    """Seconds of the longest chain: no number of devices does better."""
    ends: dict[str, float] = {}
    for task in tasks:
        ends[task.name] = task.seconds + max((ends[name] for name in task.after), default=0.0)
    return max(ends.values(), default=0.0)


def _queued(tasks: Sequence[Task], devices: int) -> float:
    unmet = {task.name: len(task.after) for task in tasks}
    readers: dict[str, list[Task]] = defaultdict(list)
    for task in tasks:
        for name in task.after:
            readers[name].append(task)
    company: dict[Hashable, list[Task]] = defaultdict(list)  # those that wait for one another
    for task in tasks:
        company[task.name if task.together is None else ("together", task.together)].append(task)
    late = Counter({key: len(those) for key, those in company.items()})  # how many of them are not ready
    place = {task.name: number for number, task in enumerate(tasks)}

    queue: deque[list[Task]] = deque()  # processes, in order of arrival
    ends: list[
        tuple[float, int, Task | None, int]
    ] = []  # when, a serial number, a task that is done, devices that are free again
    free, now, serial = devices, 0.0, count()
    ready = [task for task in tasks if not task.after]
    while True:
        arrived: list[Task] = []
        for task in ready:
            key = task.name if task.together is None else ("together", task.together)
            late[key] -= 1
            arrived += company[key] if not late[key] else []
        processes: dict[Hashable, list[Task]] = defaultdict(list)
        for task in sorted(arrived, key=lambda one: place[one.name]):
            processes[task.name if task.group is None else ("group", task.group)].append(task)
        queue.extend(processes.values())
        while queue and (need := max(task.devices for task in queue[0])) <= free:
            free, end = free - need, now
            for task in queue.popleft():
                end += task.seconds
                heapq.heappush(ends, (end, next(serial), task, 0))
            heapq.heappush(ends, (end, next(serial), None, need))
        if not ends:
            return now
        now, ready = ends[0][0], []
        while ends and ends[0][0] == now:
            _, _, done, back = heapq.heappop(ends)
            free += back
            for task in readers[done.name] if done else ():
                unmet[task.name] -= 1
                ready += [task] if not unmet[task.name] else []
