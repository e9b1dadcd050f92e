"""Whether a database that is named in the environment, in the place of one under the home, can be asked.

Without a look Prefect's server ends with forty lines of its log, and MLflow fails after the first size has been made.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from configs.problems import BadInput
from flows.engine.home import MLFLOW_DATABASE, PREFECT_DATABASE
from model_registry.scoring.folder import one_line

LIMIT_S = 5
DRIVERS = {PREFECT_DATABASE: "postgresql+asyncpg", MLFLOW_DATABASE: "postgresql+psycopg"}


def require_databases() -> None:
    """Raises BadInput for one that is no address of Postgres, has no driver here, or does not answer; without its password."""
    for variable, driver in DRIVERS.items():
        if address := os.environ.get(variable):
            _require(variable, driver, address)


def _require(variable: str, driver: str, address: str) -> None:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        raise BadInput(f"{variable}: is no address; {driver}://USER@HOST:PORT/DATABASE is accepted") from None
    if url.drivername != driver:
        raise BadInput(f"{variable}: is of {url.drivername}; {driver}://USER@HOST:PORT/DATABASE is accepted")
    shown = url.set(query={}).render_as_string(hide_password=True)  # a password may stand in the query too
    try:
        if driver.endswith("asyncpg"):
            asyncio.run(_asked(url))
        else:
            _ask(url)
    except ModuleNotFoundError as error:
        raise BadInput(f"{variable}: {error.name} is not installed; `pip install 'palms-sweep[postgres]'` installs it") from None
    except (SQLAlchemyError, OSError, ValueError) as error:
        raise BadInput(f"{variable}: {shown} does not answer ({one_line(getattr(error, 'orig', None) or error)})") from None
    except Exception as error:  # asyncpg's own, of which SQLAlchemy hands some through
        raise BadInput(f"{variable}: {shown} refuses ({one_line(error)})") from None


def _ask(url: Any) -> None:
    from sqlalchemy import create_engine

    with create_engine(url, connect_args={"connect_timeout": LIMIT_S}).connect():
        pass


async def _asked(url: Any) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(url, connect_args={"timeout": LIMIT_S})
    async with engine.connect():
        pass
    await engine.dispose()
