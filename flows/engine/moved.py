"""A home that was moved: MLflow keeps the places of its artifacts absolute, and finds them again by what is written here.

Knows MLflow's tables, not its client, so that it costs no import of it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing

from flows.engine.home import Home

INSIDE = "/mlflow/artifacts/"
PLACES = (
    *(("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location")),
    *(("model_versions", "source"), ("model_versions", "storage_location")),
)


def settle(home: Home) -> None:
    """Let the home's own database find its artifacts where they are now.

    For whoever opens the database. Whatever lies in the `mlflow/artifacts/` of some home lies in this one's.
    """
    database = home.database
    if not database.is_file():
        return
    now = home.artifacts.as_uri() + "/"
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        for table, column in PLACES:
            if not connection.execute("select 1 from pragma_table_info(?) where name = ?", (table, column)).fetchone():
                continue
            moved = f"instr({column}, '{INSIDE}') > 0 and substr({column}, 1, length(:now)) <> :now"
            rest = f"substr({column}, instr({column}, '{INSIDE}') + length('{INSIDE}'))"
            connection.execute(f"update {table} set {column} = :now || {rest} where {moved}", {"now": now})
