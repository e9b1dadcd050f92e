"""Schedules of sweeps: kept by the orchestrator with the deployment, fired while `palms up` is up.

That PREFECT_API_URL names a server is the caller's care. Times at which no runner was up are not caught up on. Whatever is changed of one
schedule makes Prefect drop the coming runs of all of them, and its scheduler would make them again only with its next round: `changing`
has them made at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterNextScheduledStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import DeploymentSchedule, StateType
from prefect.client.schemas.schedules import CronSchedule
from prefect.server.schemas.schedules import CronSchedule as Firing
from pydantic import ValidationError

from configs.problems import BadInput, nearest
from flows.request import Request
from flows.serving.runner import POLL_S, deployed, make_runs

SHOWN_TIMES = 3
DUE_S = 2.0  # a run that is to begin within this time may not be dropped: it might be made again too late
DUE_LIMIT_S = 5 * POLL_S  # longer than this a runner that lives leaves none waiting
ACCEPTED = 'five fields as cron has them, such as "0 2 * * 6" (Saturdays at two), or @hourly, @daily, @weekly, @monthly'


@dataclass(frozen=True)
class Scheduled:
    name: str
    cron: str
    timezone: str
    active: bool
    request: Request | None  # made without parameters, or by another version: its runs fail


def add(name: str, asked: Request, cron: str, timezone: str) -> Scheduled:
    """Schedule a request; the name is `name`, with a number behind it if there is one of that name.

    Raises:
        BadInput: the cron expression or the timezone is none, it never fires, or the same is scheduled already.
    """
    firing(cron, timezone, 1)
    with get_client(sync_client=True) as client:
        there = _all(client)
        for other in there:
            if (other.request, other.cron, other.timezone) == (asked, cron, timezone):
                raise BadInput(f'schedule "{other.name}" is this very one; `palms schedule rm {other.name}` removes it')
        taken = {other.name for other in there}
        free = next(word for number in count(1) if (word := name if number == 1 else f"{name}-{number}") not in taken)
        schedule = CronSchedule(cron=cron, timezone=timezone)
        made = DeploymentScheduleCreate(
            schedule=schedule, active=True, parameters={"request": asked.model_dump(mode="json")}, slug=free
        )
        with changing(client) as deployment:
            client.create_deployment_schedules(deployment, [made])
    return Scheduled(free, cron, timezone, True, asked)


def listed() -> list[Scheduled]:
    with get_client(sync_client=True) as client:
        return _all(client)


def set_active(name: str, active: bool) -> None:
    """Raises BadInput: no such schedule."""
    with get_client(sync_client=True) as client:
        one = _named(client, name)
        # what is not given is taken for empty: a schedule paused without its parameters lost them (Prefect 3.8.8)
        with changing(client) as deployment:
            client.update_deployment_schedule(deployment, one.id, active=active, parameters=one.parameters)


def remove(name: str) -> None:
    """Raises BadInput: no such schedule."""
    with get_client(sync_client=True) as client:
        one = _named(client, name)
        with changing(client) as deployment:
            client.delete_deployment_schedule(deployment, one.id)


@contextmanager
def changing(client: SyncPrefectClient) -> Iterator[UUID]:
    """A change to one schedule that costs the others no firing: what is due has begun before, what is to come is made again behind it."""
    deployment = deployed(client)
    if client.read_deployment(deployment).paused:  # no runner is up: nothing fires
        yield deployment
        return
    give_up = time.monotonic() + DUE_LIMIT_S
    while _due(client, deployment) and time.monotonic() < give_up:
        time.sleep(POLL_S / 10)
    yield deployment
    make_runs(client, deployment)


def _due(client: SyncPrefectClient, deployment: UUID) -> bool:
    """Whether a run that no runner has taken yet is to begin in this moment."""
    soon = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        next_scheduled_start_time=FlowRunFilterNextScheduledStartTime(before_=datetime.now(UTC) + timedelta(seconds=DUE_S)),
    )
    return bool(client.read_flow_runs(flow_run_filter=soon, limit=1))


def firing(cron: str, timezone: str, number: int) -> list[datetime]:
    """The next times, as the orchestrator's own scheduler finds them.

    Raises:
        BadInput: no such expression or timezone, or no such time.
    """
    if len(cron.split()) != 5 and not cron.startswith("@"):
        raise BadInput(f"--cron {cron!r}: accepted are {ACCEPTED}")
    try:
        times: Sequence[datetime] = asyncio.run(Firing(cron=cron, timezone=timezone).get_dates(n=number))
    except ValidationError as error:
        if "timezone" in str(error):
            raise BadInput(f"--timezone {timezone!r}: no such timezone; accepted are names such as Europe/Berlin") from None
        raise BadInput(f"--cron {cron!r}: accepted are {ACCEPTED}") from None
    except ValueError:  # croniter's, which Prefect has no name for
        times = []
    if not times:
        raise BadInput(f"--cron {cron!r}: never fires; there is no such day")
    return list(times)


def _schedules(client: SyncPrefectClient) -> Iterator[DeploymentSchedule]:
    yield from client.read_deployment_schedules(deployed(client))


def _all(client: SyncPrefectClient) -> list[Scheduled]:
    """Also those made in the dashboard, which have no name of ours, as far as they are of this kind."""
    found = []
    for one in _schedules(client):
        if isinstance(one.schedule, CronSchedule):
            try:
                asked = Request.model_validate(one.parameters.get("request"))
            except ValidationError:
                asked = None
            found.append(Scheduled(_name(one), one.schedule.cron, one.schedule.timezone or "UTC", one.active, asked))
    return sorted(found, key=lambda one: one.name)


def _name(one: DeploymentSchedule) -> str:
    return one.slug or str(one.id)[:8]


def _named(client: SyncPrefectClient, name: str) -> DeploymentSchedule:
    known = {_name(one): one for one in _schedules(client)}
    if name not in known:
        raise BadInput(f"no schedule {name!r}; {nearest(name, known)}")
    return known[name]
