"""A local server that speaks as much of OpenAI's interface as judging needs, and notes what was asked of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def says(text: str | None) -> Reply:
    """A chat completion, as OpenAI's reference has it."""
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    document = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "stand-in", "choices": [choice]}
    return Reply(200, json.dumps(document).encode())


def refuses(status: int, text: str, **headers: str) -> Reply:
    error = {"error": {"message": text, "type": "invalid_request_error", "param": None, "code": None}}
    return Reply(status, json.dumps(error).encode(), {name.replace("_", "-"): value for name, value in headers.items()})


@dataclass
class Asked:
    path: str
    authorization: str | None
    body: dict[str, Any]

    @property
    def message(self) -> str:
        return str(self.body["messages"][-1]["content"])


@dataclass
class StandIn:
    """`answer` makes the reply to each request; it is called in the server's threads, several at once."""

    answer: Callable[[Asked], Reply]
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    at_once: int = 0  # the most requests that were in work together


@contextmanager
def serve(answer: Callable[[Asked], Reply]) -> Iterator[StandIn]:
    judge, lock, now = StandIn(answer), threading.Lock(), [0]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            asked = Asked(self.path, self.headers["Authorization"], json.loads(self.rfile.read(length)))
            with lock:
                judge.asked.append(asked)
                now[0] += 1
                judge.at_once = max(judge.at_once, now[0])
            reply = judge.answer(asked)
            with lock:
                now[0] -= 1
            self.send_response(reply.status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(reply.body)),
                **reply.headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # a client that hung up

    server = Server(("127.0.0.1", 0), Handler)
    judge.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield judge
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
