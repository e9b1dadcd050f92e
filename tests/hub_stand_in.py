"""A local server that speaks as much of the hub's API as fetching a model needs, and notes what was asked of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread


@dataclass
class StandIn:
    """`repositories` maps `owner/name` to a folder; every repository has one branch, `main`, at one commit."""

    repositories: Mapping[str, Path]
    url: str = ""
    failing: bool = False
    downloads: list[str] = field(default_factory=list)

    def commit(self, name: str) -> str:
        return hashlib.sha1(name.encode()).hexdigest()

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if self.failing:
            return 503, {}, b"{}"
        for name, folder in self.repositories.items():
            commit = self.commit(name)
            stamp = {"X-Repo-Commit": commit}
            files = sorted(file for file in folder.iterdir() if file.is_file())
            if path in (f"/api/models/{name}", f"/api/models/{name}/revision/main"):
                listed = [{"rfilename": file.name} for file in files]
                return 200, stamp, json.dumps({"id": name, "sha": commit, "siblings": listed}).encode()
            if path == f"/api/models/{name}/tree/{commit}":
                entries = [
                    {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": _digest(file)} for file in files
                ]
                return 200, stamp, json.dumps(entries).encode()
            if path.startswith(f"/api/models/{name}/revision/"):
                return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
            prefix = f"/{name}/resolve/{commit}/"
            if path.startswith(prefix) and (folder / path.removeprefix(prefix)).is_file():
                file = folder / path.removeprefix(prefix)
                return 200, stamp | {"ETag": f'"{_digest(file)}"'}, file.read_bytes()
        return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"


def _digest(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


@contextmanager
def serve(repositories: Mapping[str, Path]) -> Iterator[StandIn]:
    hub = StandIn(repositories)

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.reply(body=False)

        def do_GET(self) -> None:
            self.reply(body=True)

        def reply(self, body: bool) -> None:
            path = self.path.split("?")[0]
            status, headers, content = hub.answer(path)
            if body and "/resolve/" in path and status == 200:
                hub.downloads.append(path.rsplit("/", 1)[1])
            self.send_response(status)
            for key, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
