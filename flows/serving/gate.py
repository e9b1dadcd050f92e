"""What stands before the pages and the API of a server on loopback, as ASGI: who may ask it, and whom its pages may ask.

Loopback keeps other machines out. It keeps out neither the pages of other sites in a browser on this machine, nor its other users. So a
request must name this host and this port (a name that was rebound to loopback names another), may not come from a page of another
origin, and shows the home's secret. Knows nothing of what is served.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from flows.engine.secret import USER, authorization

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Answer = tuple[int, str, list[tuple[bytes, bytes]]]  # status, text, headers

PLAIN = (b"content-type", b"text/plain; charset=utf-8")

# The page that logs a browser in. What stands behind # in its address reaches no server, log or other page: the secret and, from its first
# slash on, which of the server's own pages is opened then.
OPEN = "/open"
HEALTH = "/health"
# Where a page keeps it. Not in a cookie: those go to every port of a host, also to one that another user listens on.
KEPT = {
    # as Prefect's own log-in does: storage of this origin alone, sent by its scripts
    "prefect": "localStorage.setItem('prefect-password', btoa(secret)); enter();",
    # in the browser's store of passwords for this origin; and its pages are those of trained models, without an assistant in front
    "mlflow": """
        localStorage.setItem('mlflow.workflowType_v1', '"machine_learning"');
        localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');
        const [user, password] = secret.split(':'), asked = new XMLHttpRequest();
        asked.open('GET', '/version', true, user, password);
        asked.onload = () => asked.status == 200 ? enter() : document.body.textContent = 'This link is of another start.';
        asked.send();
    """,
}
PAGE = """<!doctype html><meta charset="utf-8"><title>palms</title><body><script>
const [, secret, route] = /^([^/]*)(.*)$/.exec(location.hash.slice(1));
function enter() {{ location.replace(route ? '/#' + route : '/'); }}
if (!secret) document.body.textContent = 'The link that `palms up --detach` prints logs in.';
else {{ {kept} }}
</script>"""


class Gate:
    """`shows`: whether the gate asks for the secret; not where the application does it itself."""

    def __init__(self, app: App, name: str, port: int, secret: str, *, shows: bool) -> None:
        self._app, self._name, self._port = app, name, port
        self._expected = authorization(secret).encode() if shows else None
        rules = (
            "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:",
            f"connect-src 'self' data: blob: ws://127.0.0.1:{port}",
            "frame-ancestors 'self'; form-action 'self'; base-uri 'self'",
        )
        self._policy = (b"content-security-policy", "; ".join(rules).encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = list(scope["headers"])
        refused = self._refused(scope, headers)
        if refused is None and scope["type"] == "http" and (scope["method"], scope["path"]) == ("GET", OPEN):
            refused = 200, PAGE.format(kept=KEPT[self._name]), [(b"content-type", b"text/html; charset=utf-8")]
        if refused is None:
            await self._app(scope, receive, self._guarded(send) if scope["type"] == "http" else send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            status, text, more = refused
            fixed = [(b"cache-control", b"no-store"), (b"content-length", str(len(text.encode())).encode())]
            start = {"type": "http.response.start", "status": status, "headers": [*fixed, *more]}
            await self._guarded(send)(start)
            await send({"type": "http.response.body", "body": text.encode()})

    def _refused(self, scope: Scope, headers: list[tuple[bytes, bytes]]) -> Answer | None:
        """What is answered instead; None where the request may pass."""
        if (elsewhere := from_elsewhere(scope, self._port)) is not None:
            return elsewhere
        if self._expected is None or (_reading(scope) and scope["path"] in {HEALTH, OPEN}):
            return None
        shown = _all(headers, b"authorization")
        if len(shown) == 1 and hmac.compare_digest(shown[0], self._expected):
            return None
        asks = json.dumps(f"palms {self._name}, user {USER}")
        told = "The link that `palms up --detach` prints logs in; the password is the file `secret` of PALMS_HOME."
        return 401, told, [PLAIN, (b"www-authenticate", f"Basic realm={asks}".encode())]

    def _guarded(self, send: Send) -> Send:
        """Pages may ask this server and no other, and stand in no other's frame."""

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), self._policy]
            await send(message)

        return sent


def from_elsewhere(scope: Scope, port: int) -> Answer | None:
    """What is answered to a request that names another host, or comes from a page of another origin; None to any other."""
    headers, reading = list(scope["headers"]), _reading(scope)
    host, nearly = f"127.0.0.1:{port}".encode(), f"localhost:{port}".encode()
    own = b"http://" + host
    hosts, origins = _all(headers, b"host"), _all(headers, b"origin")
    if hosts == [nearly] and not origins and reading:
        place = own + scope["path"].encode("ascii", "ignore")
        return 307, "", [(b"location", place + (b"?" + query if (query := scope.get("query_string")) else b""))]
    if hosts != [host]:
        return 403, f"This server answers at {own.decode()} alone.", [PLAIN]
    followed = reading and [
        *_all(headers, b"sec-fetch-mode"),
        *_all(headers, b"sec-fetch-dest"),
    ] == [b"navigate", b"document"]
    foreign = _all(headers, b"sec-fetch-site") not in ([], [b"same-origin"], [b"none"])
    if any(origin != own for origin in origins) or (foreign and not followed):
        return 403, "Pages of other origins are not answered.", [PLAIN]
    return None


def _reading(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["method"] in {"GET", "HEAD"}


def _all(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for key, value in headers if key.lower() == name]
