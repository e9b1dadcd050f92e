"""The dashboards' servers, started and stopped by hand; in between, sweeps find them by the note that is left here."""

from __future__ import annotations

from collections.abc import Iterator

from flows.home import Home
from flows.servers import await_health, keep, running, start

PORTS = {"mlflow": 5000, "prefect": 4200}


def start_servers(home: Home) -> Iterator[str]:
    up = {name: running(home, name) for name in PORTS}
    started = {name: start(home, name, port) for name, port in PORTS.items() if up[name] is None}
    for name in PORTS:
        server = up[name] or started[name]
        if name in started:
            await_health(home, server)
            keep(home, server)
        yield f"{name:8} {server.url}   (pid {server.pid}{', was up already' if up[name] else ''})"
    yield "stop them with: palms ui --stop"


def stop_servers(home: Home) -> Iterator[str]:
    for name in PORTS:
        server = running(home, name)
        if server is not None:
            server.stop()
        (home.root / f"{name}.server.json").unlink(missing_ok=True)
        yield f"{name:8} " + ("stopped" if server else "was not up")
