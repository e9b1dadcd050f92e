"""Notices of a sweep that failed or completed: a Prefect automation each, which calls a webhook.

Knows what Prefect must be told. That PREFECT_API_URL names a server is the caller's care. The server makes the calls, and makes them
once: while it is down nothing is sent, and an endpoint that refuses or does not answer within 5 s is not asked again.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.events.actions import CallWebhook
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound
from prefect.types import SecretDict
from pydantic import HttpUrl, SecretStr, TypeAdapter, ValidationError

from configs.problems import BadInput, nearest

Kind = Literal["failure", "completion"]
FLOW = "sweep"
PREFIX = "palms-notice-"  # of the automation's name and of the block's
EVENTS: dict[Kind, set[str]] = {
    "failure": {f"prefect.flow-run.{state}" for state in ("Failed", "Crashed", "TimedOut")},
    "completion": {"prefect.flow-run.Completed"},
}
# Jinja expressions. From the event where it can be: the flow run is read anew from the database, for its place in the dashboard alone.
STATE, MESSAGE = (f"(event.resource['prefect.state-{label}'] or '')" for label in ("name", "message"))
FIELDS = {
    "text": f"('{FLOW} ' ~ event.resource.name ~ ': ' ~ {STATE} ~ '. ' ~ {MESSAGE}.split() | join(' ') | truncate(300)) | trim",
    "sweep": "event.resource.name",
    "state": STATE,
    "message": MESSAGE,
    "flow_run_id": "event.resource.id.split('.')[-1]",
    "url": "flow_run | ui_url",
}
PAYLOAD = "{" + ", ".join(f'"{field}": {{{{ ({value}) | tojson }}}}' for field, value in FIELDS.items()) + "}"


@dataclass(frozen=True)
class Notice:
    name: str  # of its URL alone: the same one replaces
    url: str  # as much of it as may be shown: its path is often the secret
    on: tuple[Kind, ...]
    enabled: bool


def add(url: str, on: Sequence[Kind]) -> Notice:
    """Have this URL called, from now on, when a sweep ends in one of these ways, and no longer in others.

    Raises:
        BadInput: it is no http(s) URL, or `on` is empty, which Prefect would take for every event.
    """
    if not on:
        raise BadInput(f"notice on nothing: accepted are {', '.join(EVENTS)}")
    try:
        address = str(TypeAdapter(HttpUrl).validate_python(url))
    except ValidationError as error:  # without what was given, which may hold a secret
        raise BadInput(f"notice url: {error.errors()[0]['msg']}; accepted is http://HOST/PATH or https://HOST/PATH") from None
    name = PREFIX + hashlib.sha256(address.encode()).hexdigest()[:8]
    # Prefect sends the payload as text without saying what it is
    block = Webhook(url=SecretStr(address), headers=SecretDict({"Content-Type": "application/json"}))
    automation = AutomationCore(
        name=name,
        description=_shown(address),
        enabled=True,
        trigger=EventTrigger(
            expect=set().union(*(EVENTS[kind] for kind in on)),
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.role": "flow", "prefect.resource.name": FLOW},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[CallWebhook(block_document_id=block.save(name, overwrite=True), payload=PAYLOAD)],
    )
    with get_client(sync_client=True) as client:
        there = client.read_automations_by_name(name)
        if there:
            client.update_automation(there[0].id, automation)
        else:
            client.create_automation(automation)
    return _notice(automation)


def listed() -> list[Notice]:
    return [_notice(automation) for automation in _automations()]


def remove(name: str) -> Notice:
    """Raises BadInput for a name that no notice has."""
    there = {_notice(automation).name: automation for automation in _automations()}
    if name not in there:
        raise BadInput(f"no notice {name!r}; {nearest(name, there)}")
    automation = there[name]
    with get_client(sync_client=True) as client:
        client.delete_automation(automation.id)
        for action in automation.actions:
            if isinstance(action, CallWebhook):
                with contextlib.suppress(ObjectNotFound):  # removed by hand in the dashboard
                    client.delete_block_document(action.block_document_id)
    return _notice(automation)


def _automations() -> list[Automation]:
    with get_client(sync_client=True) as client:
        return [automation for automation in client.read_automations() if automation.name.startswith(PREFIX)]


def _notice(automation: AutomationCore) -> Notice:
    expected = automation.trigger.expect if isinstance(automation.trigger, EventTrigger) else set()
    on = tuple(kind for kind, events in EVENTS.items() if events <= expected)
    return Notice(automation.name.removeprefix(PREFIX), automation.description, on, automation.enabled)


def _shown(address: str) -> str:
    """Host and, of a long path, the last four characters: enough to tell two apart, too little to call either."""
    parts = urlsplit(address)
    host, path = parts.netloc.rpartition("@")[2], f"{parts.path}?{parts.query}".strip("/?")
    return f"{parts.scheme}://{host}/" + (f"…{path[-4:] if len(path) >= 24 else ''}" if path else "")
