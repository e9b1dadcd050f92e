"""`palms ratings serve`: the rating pages of one project on loopback, each for its own rater, and what they say saved at once.

    <home>/ratings/<sweep>/served-<project>.codes    rater → code, which their link holds; read by nobody but their owner
    <home>/ratings/<sweep>/served-<project>.sqlite   what they said; `tasks.ratings.formats.served` knows it

Knows who may see and say what. A link's code logs a browser in and leaves its address at once. From then on two things are needed that no other
rater has: a cookie, and the address that it is sent to, which cannot be guessed. Cookies go to every port of a host: with such a path, this one
goes to no server of another user, and the pages of several raters stand side by side in one browser. Nothing that is answered names another rater.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import shlex
import socket
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from configs.problems import BadInput
from flows.engine.home import Home
from flows.engine.lock import locked
from flows.engine.secret import OTHERS
from flows.serving.gate import App, Receive, Scope, Send, from_elsewhere
from flows.serving.interruption import told_to_end
from tasks.ratings.collected import Given
from tasks.ratings.formats import page
from tasks.ratings.formats.served import SUFFIX, NotTheirs, Served, read
from tasks.ratings.project import Project

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

PORT = 4700  # the same at every start, so that links stay what they are
LIMIT = 4 * 2**20  # bytes of a post: all that a rater said of some thousand texts
END_S = 5  # for what is being posted when the server is told to end

FIXED = {
    "cache-control": "no-store",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "frame-ancestors 'none'",  # which a page cannot say itself
}
# By a page of its own, and not as an answer that leads on: to one that was followed from another site, the browser would send no strict cookie.
ENTERED = """<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={to}"><title>Rating</title>
<p><a href="{to}">To the texts</a>"""
NO_LINK = "Please open the link that you were given: it logs you in."

log = logging.getLogger("uvicorn.error")


# ---- what is kept --------------------------------------------------------------------------------------------------------------


def database(home: Home, sweep: str, project: str) -> Path:
    return home.ratings(sweep) / f"served-{project}{SUFFIX}"


def collected(home: Home, sweep: str, project: str) -> list[Given]:
    """What was said last of each item of a project, by rater; nothing where it was never served. Raises BadInput: its database is damaged."""
    path = database(home, sweep, project)
    return read(path) if path.exists() else []


def progress(home: Home, sweep: str, project: str) -> Counter[str]:
    """Rater → of how many items something is said. Raises BadInput: the database is damaged."""
    return Counter(one.rater for one in collected(home, sweep, project) if not one.says_nothing)


def codes(home: Home, sweep: str, project: Project) -> dict[str, str]:
    """Rater → code, in the project's order; made at the first call, and the same from then on.

    Raises:
        BadInput: others could read them, or their file is damaged.
    """
    folder, raters = home.ratings(sweep), [packet.rater for packet in project.packets]
    path = folder / f"served-{project.id}.codes"
    with locked(folder / "lock"):
        if not os.path.lexists(path):
            part = path.with_name(f".{path.name}.part")
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as stream:
                json.dump({rater: secrets.token_urlsafe(32) for rater in raters}, stream)
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(path)
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), encoding="ascii") as stream:  # noqa: PTH123
            status, held = os.fstat(stream.fileno()), json.load(stream)
        made = {rater: str(held[rater]) for rater in raters}
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInput(f"{path}: damaged; `rm {shlex.quote(str(path))}`, and the next start makes new links") from None
    if status.st_uid != os.geteuid() or status.st_mode & OTHERS:
        raise BadInput(
            f"{path}: others could read or change it; `rm {shlex.quote(str(path))}`, and the next start makes new links, "
            "where the file system keeps permissions"
        )
    return made


# ---- the server ----------------------------------------------------------------------------------------------------------------


def serve(home: Home, sweep: str, project: Project, port: int, out: Console) -> None:
    """Print a link for each rater and serve their pages until told to end. `port` 0: any that is free.

    Raises:
        BadInput: the port is in use, or what is kept cannot be read or written to.
    """
    import uvicorn

    path, made = database(home, sweep, project.id), codes(home, sweep, project)
    try:
        listening = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise BadInput(f"--port: {port}: {os.strerror(error.errno or 0)}; a port of 127.0.0.1 that is free is required") from None
    with listening, closing(Served(path, project)) as served:
        port = listening.getsockname()[1]
        app = guarded(application(project, made, served), port)
        quiet: dict[str, Any] = {"log_level": "warning", "access_log": False, "server_header": False}
        server = uvicorn.Server(uvicorn.Config(app, ws="none", lifespan="off", timeout_graceful_shutdown=END_S, **quiet))
        for rater, code in made.items():
            out.print(f"{rater}  http://127.0.0.1:{port}/r/{code}", highlight=False, markup=False)
        out.print("whoever has a link rates as its rater; Ctrl-C ends it, and the next start goes on", highlight=False)
        with told_to_end(lambda: setattr(server, "should_exit", True)):
            server.run(sockets=[listening])
    there = sum(progress(home, sweep, project.id).values())
    out.print(f"{there} rating{'s' * (there != 1)} of project {project.id}; to take them in:", highlight=False, markup=False)
    out.print(f"palms ratings import {shlex.quote(str(path))} --sweep {sweep}", highlight=False, markup=False)


def guarded(app: App, port: int) -> App:
    """Behind what keeps pages of other origins, and names that were rebound to this host, out."""
    from starlette.responses import Response

    async def passed(scope: Scope, receive: Receive, send: Send) -> None:
        if (refused := from_elsewhere(scope, port)) is None:
            await app(scope, receive, send)
        else:
            status, text, headers = refused
            await Response(text, status, FIXED | {name.decode(): value.decode() for name, value in headers})(scope, receive, send)

    return passed


def application(project: Project, codes: dict[str, str], served: Served) -> App:
    """`/r/<code>` logs a rater in; `/rate/<place>` shows their page and takes what they say, with the cookie of that log-in."""
    from starlette.applications import Starlette
    from starlette.responses import HTMLResponse, PlainTextResponse
    from starlette.routing import Route

    packets = {_place(codes[packet.rater]): packet for packet in project.packets}

    def told(status: int, text: str) -> Response:
        return PlainTextResponse(text, status, FIXED)

    def refused(place: str, request: Request) -> Response | None:
        """What is answered to somebody who is not the rater of this place."""
        shown = [value for name, value in request.cookies.items() if name == _cookie(place)]
        if place not in packets:
            return told(404, f"There is nothing here. {NO_LINK}")
        if not shown:
            return told(401, NO_LINK)
        return None if _place(shown[0]) == place else told(403, NO_LINK)

    async def enter(request: Request) -> Response:
        code = request.path_params["code"]
        if (place := _place(code)) not in packets:
            return told(404, "This link is of no rater of this project. Please ask for yours.")
        policy = {"content-security-policy": "default-src 'none'; frame-ancestors 'none'"}
        answer = HTMLResponse(ENTERED.format(to=f"/rate/{place}"), headers=FIXED | policy)
        answer.set_cookie(_cookie(place), code, path=f"/rate/{place}", httponly=True, samesite="strict")
        return answer

    async def show(request: Request) -> Response:
        place = request.path_params["place"]
        if (refusal := refused(place, request)) is not None:
            return refusal
        packet = packets[place]
        text = page.render(project, packet, save_to=f"/rate/{place}", saved=served.said(packet.rater))
        return HTMLResponse(text, headers=FIXED)

    async def take(request: Request) -> Response:
        place = request.path_params["place"]
        if (refusal := refused(place, request)) is not None:
            return refusal
        if request.headers.get("content-type", "").partition(";")[0].strip().casefold() != "application/json":
            return told(415, "application/json is required")
        if (body := await _body(request)) is None:
            return told(413, f"more than {LIMIT} bytes; fewer are required")
        try:
            served.save(packets[place].rater, json.loads(body.decode()))
        except NotTheirs as wrong:
            return told(403, str(wrong))
        except (ValueError, RecursionError) as wrong:  # of the body or, as BadInput, of what it says
            return told(400, str(wrong))
        except sqlite3.Error as failed:
            log.error("a rating could not be saved (%s); its page keeps it, and tries again", failed)
            return told(503, "not saved")
        return told(200, "saved")

    routes = [
        Route("/r/{code}", enter, methods=["GET"]),
        Route("/rate/{place}", show, methods=["GET"]),
        Route("/rate/{place}", take, methods=["POST"]),
    ]
    return Starlette(routes=routes)


async def _body(request: Request) -> bytes | None:
    """None of one that is too large, of which no more is read than is accepted."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LIMIT:
            return None
    return body


def _place(code: str) -> str:
    """The address of a rater's page: as secret as the code, and no way back to it."""
    return hashlib.sha256(f"page {code}".encode()).hexdigest()[:32]


def _cookie(place: str) -> str:
    """By which no server on another port can put another in front of it, since it does not know the name."""
    return f"palms-{place}"
