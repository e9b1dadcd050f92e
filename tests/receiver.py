"""A receiver of webhooks on loopback, which keeps what is posted to it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

DELIVERED_S = 90.0  # 0.2 to 0.6 s were seen; beside other work once more than 10


@dataclass
class Receiver:
    """Keeps what is posted to it."""

    url: str
    posts: list[tuple[str, str, Any]] = field(default_factory=list)  # path, content type, body

    def at(self, path: str) -> list[Any]:
        return [body for where, _, body in self.posts if where == path]

    def await_for(self, path: str, wanted: Callable[[Any], bool]) -> None:
        deadline = time.monotonic() + DELIVERED_S
        while not any(map(wanted, self.at(path))):
            assert time.monotonic() < deadline, self.at(path)
            time.sleep(0.02)

    def await_at(self, path: str, count: int) -> list[Any]:
        deadline = time.monotonic() + DELIVERED_S
        while len(self.at(path)) < count and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.at(path)


@contextmanager
def listening() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            receiver.posts.append((self.path, self.headers["Content-Type"], body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield receiver
    server.shutdown()
    server.server_close()
    thread.join()
