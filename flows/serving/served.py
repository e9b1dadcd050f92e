"""What a server is, run by itself: `python -m flows.serving.served prefect|mlflow FD`, where FD is a socket that listens already.

Each is its own application behind `flows.serving.gate`, instead of `prefect server start` and `mlflow server`: those answer any host and
any origin (Prefect), or any user of the machine (both). Imports and settings follow the two commands of Prefect 3.8.8 and MLflow 3.17.2.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any, cast

from flows.engine.home import MLFLOW_DATABASE, PREFECT_DATABASE, Home
from flows.engine.moved import settle
from flows.engine.secret import credentials
from flows.serving.gate import App, Gate

# One transaction an event, as by default, locks SQLite against the flows' own requests: they were answered 503 and retried, and a
# sweep of 164 cached stages took 20 to 32 s. Batches keep the database free. Whole seconds: Prefect 3.8.8 cuts 0.5 to 0, and its idle
# server then took a whole core (1.00 against 0.02).
BATCHES = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "500",
}
# Its second interface asks amplitude.com whatever the analytics setting; both ask prefect.io for what is to be sold.
QUIET = {
    "PREFECT_SERVER_UI_V2_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
}
NO_FILES = (
    Path(os.devnull) / "ui"
)  # the second interface is served, and advertised by the first, wherever its files are found (3.8.8)


def prefect(home: Home, port: int) -> tuple[App, dict[str, Any]]:
    address = f"http://127.0.0.1:{port}"
    os.environ.update(
        **BATCHES,
        **QUIET,
        # from its own folder, where this process stands: a `?` in the home's name has no place in such an address
        PREFECT_API_DATABASE_CONNECTION_URL=os.environ.get(PREFECT_DATABASE) or "sqlite+aiosqlite:///prefect.db",
        # without it Prefect's dashboard asks port 4200, whichever it is served from, and notices name no page
        PREFECT_API_URL=f"{address}/api",
        PREFECT_SERVER_API_AUTH_STRING=credentials(home),
        PREFECT_SERVER_CORS_ALLOWED_ORIGINS=address,
        PREFECT_SERVER_EVENTS_CAUSAL_ORDERING="flows.serving.ordering",
        # a schedule that was changed in the dashboard: what has been dropped of the others is made again within this time
        PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS="5",
    )
    import prefect
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings

    prefect.__ui_v2_static_path__ = NO_FILES

    api = get_current_settings().server.api
    alive = {"timeout_keep_alive": api.keepalive_timeout, "ws_ping_interval": 20.0, "ws_ping_timeout": 20.0}
    return Gate(cast(App, create_app(final=True)), "prefect", port, credentials(home), shows=False), alive


def mlflow(home: Home, port: int) -> tuple[App, dict[str, Any]]:
    from mlflow.server import constants

    settle(home)
    # from its own folder, as Prefect's
    database, artifacts = os.environ.get(MLFLOW_DATABASE) or "sqlite:///mlflow.db", home.artifacts.as_uri()
    os.environ.update(
        {
            constants.BACKEND_STORE_URI_ENV_VAR: database,
            constants.REGISTRY_STORE_URI_ENV_VAR: database,
            constants.ARTIFACT_ROOT_ENV_VAR: artifacts,
            "_MLFLOW_SGI_NAME": "uvicorn",
        }
    )
    from mlflow.server.fastapi_app import app
    from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(database, database, artifacts)
    return Gate(app, "mlflow", port, credentials(home), shows=True), {}


SERVERS = {"prefect": prefect, "mlflow": mlflow}


def main(name: str, descriptor: int) -> None:
    import uvicorn

    listening = socket.socket(fileno=descriptor)
    app, more = SERVERS[name](Home.open(), listening.getsockname()[1])
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, **more)).run(sockets=[listening])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
