"""The database that `palms ratings serve` saves in: what each rater said last of each item, and all that they said before.

Knows its tables, and what of a page's post is accepted. Leaves who may post to `flows.serving.rating_server`. What was said last is told by
the page's own clock: a browser that comes back with what it kept for long takes nothing back.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from configs.problems import BadInput
from tasks.ratings.collected import Given, accept
from tasks.ratings.formats import page
from tasks.ratings.project import Project

SUFFIX = ".sqlite"
WRITTEN = "a database that `palms ratings serve` saved in is required"
BUSY_S = 5.0
TABLES = """
create table if not exists project (id text primary key, mode text not null);
create table if not exists raters (rater text primary key, own_group text not null, signed_off text);
create table if not exists said (item text, rater text, moment real not null, said text not null, primary key (item, rater));
create table if not exists history (item text, rater text, said text, received text, unique (item, rater, said));
"""


class NotTheirs(BadInput):
    """Of another rater, or of an item that this one was not given; what is said of it tells nothing about others."""


class Served:
    """One project's database, open to be saved in; it is made where it is not there, for its owner alone."""

    def __init__(self, path: Path, project: Project) -> None:
        """Raises BadInput: it cannot be made or written to, or is no such database."""
        self._path, self._project = path, project
        self._items = {packet.rater: {item.id for item in packet.items} for packet in project.packets}
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite gives its other files the same permissions
            self._base = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
            self._base.executescript(f"pragma journal_mode=wal; pragma synchronous=full; {TABLES}")
            self._base.execute("insert or ignore into project values (?, ?)", (project.id, project.mode))
        except (OSError, sqlite3.Error) as error:
            raise BadInput(f"{path}: {error}; {WRITTEN}, or none there") from None

    def close(self) -> None:
        """Leaves one file that holds all, unless another server saves in it too; one that was killed leaves its log beside it."""
        with closing(self._base), suppress(sqlite3.Error):
            self._base.execute("pragma journal_mode=delete")

    def said(self, rater: str) -> dict[str, Any]:
        """As a file that their page saved."""
        found = next((one for one in _documents(self._base) if one["rater"] == rater), None)
        return found or _document(self._project.id, self._project.mode, rater, "", None, [])

    def save(self, rater: str, posted: Any) -> None:
        """Save what a rater's page posted, all or nothing; it is on the disk when this returns.

        Raises:
            NotTheirs: it is of another rater, or of an item that this one was not given.
            BadInput: a line for everything else that is wrong.
            sqlite3.Error: it could not be saved.
        """
        if problems := list(page.problems_of(posted)):
            raise BadInput(*problems)
        if posted["rater"] != rater or not {one["item"] for one in posted["ratings"]} <= self._items[rater]:
            raise NotTheirs("another rater's; your own page saves what you say of your own texts")
        accept(_given(posted), self._project, {})
        now = datetime.now(UTC).isoformat()
        with self._base:
            self._base.execute("begin immediate")
            self._base.execute(
                "insert into raters values (?, ?, ?) on conflict (rater) do update set own_group = excluded.own_group,"
                " signed_off = coalesce(excluded.signed_off, signed_off)",
                (rater, _whole(posted["group"]), posted["signed_off"]),
            )
            for one in posted["ratings"]:
                kept = {name: one[name] for name in page.FIELDS} | {"comment": _whole(one["comment"])}
                place, said = (one["item"], rater), json.dumps(kept)
                self._base.execute("insert or ignore into history values (?, ?, ?, ?)", (*place, said, now))
                self._base.execute(
                    "insert into said values (?, ?, ?, ?) on conflict (item, rater) do update set moment = excluded.moment, said = excluded.said"
                    " where excluded.moment >= moment",
                    (*place, datetime.fromisoformat(one["at"]).timestamp(), said),
                )


def read(path: Path) -> list[Given]:
    """What was said last of each item, by rater; also while a server saves in it.

    Raises:
        BadInput: it is no such database, or what it holds is damaged.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", timeout=BUSY_S, uri=True)) as base:
            documents = list(_documents(base))
    except (sqlite3.Error, ValueError, TypeError, RecursionError) as error:
        raise BadInput(f"{path}: {error}; {WRITTEN}") from None
    if problems := [f"{path}: {problem}" for document in documents for problem in page.problems_of(document)]:
        raise BadInput(*problems)
    return [one for document in documents for one in _given(document)]


def _documents(base: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    """One for each rater who said anything, as a file that their page saved."""
    for project, mode, rater, group, signed_off in base.execute("select * from project, raters order by rater").fetchall():
        rows = base.execute("select said from said where rater = ? order by item", (rater,))
        yield _document(project, mode, rater, group, signed_off, [json.loads(said) for (said,) in rows])


def _document(project: str, mode: str, rater: str, group: str, signed_off: str | None, ratings: list[Any]) -> dict[str, Any]:
    return {"project": project, "rater": rater, "mode": mode, "group": group, "signed_off": signed_off, "ratings": ratings}


def _given(document: dict[str, Any]) -> list[Given]:
    whose = {"rater": document["rater"], "group": document["group"], "project": document["project"]}
    return [
        Given(place=f"served: {document['rater']}, item {one['item']}", **whose, **{name: one[name] for name in page.FIELDS})
        for one in document["ratings"]
    ]


def _whole(text: str) -> str:
    """Without the half characters that a browser may send and no file can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
