"""The links that people are given: they log a browser in, and MLflow's lead on to the newest comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.request import Request, urlopen

from rich.console import Console

from flows.engine import views
from flows.engine.home import Home
from flows.engine.secret import authorization, credentials
from flows.engine.servers import ANSWER_LIMIT_S, Server, link


def opened(home: Home, server: Server) -> str:
    """For a person to open; whoever has it may do what its user may. Empty for one that serves no pages."""
    return link(home, server, newest(home, server))


def shown(home: Home, server: Server, out: Console) -> str:
    """The link where a person reads it; the address alone, without the secret, where it would be kept."""
    if out.is_terminal or not server.port:
        return opened(home, server)
    return f"{server.url}/#{route}" if (route := newest(home, server)) else server.url


def newest(home: Home, server: Server) -> str:
    """The page of the comparison that was made last, of those that MLflow's server has; empty where it has none, or does not say."""
    if server.name != "mlflow":
        return ""
    try:
        asked = _experiments(home, server)
    except OSError:  # too busy for now: a link to its front page is better than none
        return ""
    found = [(when, name, tags) for name, tags in asked if (when := _compared(tags)) is not None]
    if not found:
        return ""
    _, experiment, tags = max(found, key=lambda one: one[:2])
    return views.route(experiment, views.ARMS if views.TAG + views.ARMS in tags else None)


def _compared(tags: Mapping[str, str]) -> float | None:
    """When the experiment's newest comparison was made; None for one that has none, or whose tag of our name is somebody else's."""
    try:
        when = json.loads(tags.get("palms", ""))["compared"]
    except (ValueError, TypeError, KeyError):
        return None
    return when if isinstance(when, int | float) else None


def _experiments(home: Home, server: Server) -> list[tuple[str, dict[str, str]]]:
    """Id and tags of each, asked as any of MLflow's clients asks. Raises OSError where the server does not answer."""
    asked = Request(
        f"{server.url}/api/2.0/mlflow/experiments/search",
        data=json.dumps({"max_results": 1000, "filter": "tags.palms LIKE '%'"}).encode(),
        headers={"Content-Type": "application/json", "Authorization": authorization(credentials(home))},
    )
    with urlopen(asked, timeout=ANSWER_LIMIT_S) as reply:
        given = json.load(reply).get("experiments", [])
    return [(one["experiment_id"], {tag["key"]: tag["value"] for tag in one.get("tags", [])}) for one in given]
