"""Prefect's and MLflow's records in a real Postgres, from the system's packages."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import sweeps

PROGRAMS = (shutil.which("initdb"), *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))))
pytestmark = [
    pytest.mark.external,
    pytest.mark.slow,
    pytest.mark.skipif(not any(PROGRAMS), reason="Postgres is not installed (Debian: apt-get install postgresql)"),
]
PREFECT, MLFLOW = "PALMS_PREFECT_DATABASE", "PALMS_MLFLOW_DATABASE"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a server with the databases `prefect` and `mlflow`, whose user is `palms`."""
    pytest.importorskip("psycopg")
    folder = Path(tempfile.mkdtemp(prefix="palms", dir="/tmp"))
    programs = Path(next(filter(None, PROGRAMS)))
    other = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []  # Postgres runs as anybody but root
    if other:
        shutil.chown(folder, "postgres")
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = int(free.getsockname()[1])

    def do(program: str, *arguments: str) -> None:
        subprocess.run([*other, programs.with_name(program), *arguments], check=True, stdout=subprocess.DEVNULL, cwd=folder)

    do("initdb", "-D", str(folder / "data"), "-A", "trust", "-U", "palms")
    do(
        "pg_ctl",
        "-D",
        str(folder / "data"),
        "-w",
        "-l",
        str(folder / "log"),
        "-o",
        f"-p {number} -h 127.0.0.1 -k {folder}",
        "start",
    )
    try:
        import psycopg

        with psycopg.connect(host="127.0.0.1", port=number, user="palms", dbname="postgres", autocommit=True) as connection:
            for name in ("prefect", "mlflow"):
                connection.execute(f"create database {name}")
        yield number
    finally:
        do("pg_ctl", "-D", str(folder / "data"), "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def counted(port: int, database: str, query: str) -> dict[str, int]:
    import psycopg

    with psycopg.connect(host="127.0.0.1", port=port, user="palms", dbname=database) as connection:
        return dict(connection.execute(query).fetchall())


def test_a_sweep_is_recorded_in_postgres_and_nowhere_else(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = sweeps.experiment(tmp_path, {"tiny": sweeps.tiny_model(tmp_path / "model")}, **sweeps.TOXICITY)
    monkeypatch.setenv(PREFECT, f"postgresql+asyncpg://palms:geheim@127.0.0.1:{port}/prefect")
    monkeypatch.setenv(MLFLOW, f"postgresql+psycopg://palms:geheim@127.0.0.1:{port}/mlflow")
    home = tmp_path / "home"
    first = sweeps.palms(home, "run", str(config)).stdout
    assert "cached" in sweeps.palms(home, "run", str(config)).stdout
    stages = int(first.rpartition(" stages:")[0].split()[-1])
    states = counted(port, "prefect", "select state_name, count(*) from task_run group by 1")
    assert states == {"Completed": stages + 2 * 3, "Cached": stages}  # each run has its size and two trackings
    assert counted(port, "mlflow", "select status, count(*) from runs group by 1") == {"FINISHED": 4}
    registered = "select name, 1 from registered_models"
    assert counted(port, "mlflow", registered).keys() == {"local-tiny-values_targeted", "local-tiny-control"}
    assert not [*home.rglob("prefect.db"), *home.rglob("mlflow.db")]
    import psycopg

    with psycopg.connect(host="127.0.0.1", port=port, user="palms", dbname="postgres", autocommit=True) as connection:
        connection.execute("drop database mlflow with (force)")
        connection.execute("create database mlflow")
    sweeps.palms(home, "mlflow", "rebuild")
    assert counted(port, "mlflow", "select status, count(*) from runs group by 1") == {"FINISHED": 4}
    assert len(counted(port, "mlflow", registered)) == 2
    assert not [path for path in home.rglob("*") if path.is_file() and b"geheim" in path.read_bytes()]


@pytest.mark.parametrize(
    ("variable", "address", "told"),
    [
        (PREFECT, "nonsense", "is no address; postgresql+asyncpg://USER@HOST:PORT/DATABASE is accepted"),
        (MLFLOW, "sqlite:////tmp/a.db", "is of sqlite; postgresql+psycopg://USER@HOST:PORT/DATABASE is accepted"),
        (PREFECT, "postgresql+asyncpg://palms:geheim@127.0.0.1:1/a", "palms:***@127.0.0.1:1/a does not answer"),
        (MLFLOW, "postgresql+psycopg://palms:geheim@127.0.0.1:1/a", "palms:***@127.0.0.1:1/a does not answer"),
        (MLFLOW, "postgresql+psycopg://palms@127.0.0.1:1/a?password=geheim", "palms@127.0.0.1:1/a does not answer"),
        (PREFECT, "postgresql+asyncpg://palms:geheim@127.0.0.1:{port}/other", 'database "other" does not exist'),
        (MLFLOW, "postgresql+psycopg://palms:geheim@127.0.0.1:{port}/other", 'database "other" does not exist'),
    ],
)
def test_a_database_that_cannot_be_asked_is_one_line_without_its_password(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, address: str, told: str
) -> None:
    monkeypatch.setenv(variable, address.format(port=port))
    config = sweeps.experiment(tmp_path, {"tiny": sweeps.tiny_model(tmp_path / "model")})
    done = sweeps.palms(tmp_path / "home", "run", str(config), status=2)
    assert done.stderr.startswith(f"error: {variable}: ")
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "geheim" not in done.stderr
