"""A small Hugging Face hub on loopback: the four requests that downloading a snapshot takes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class HubServer:
    """A hub on loopback with one repository, `team/model`, and a record of the files asked for.

    gated: its files are behind a licence that nobody has accepted.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    served: list[str] = field(default_factory=list)
    gated: bool = False


def handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(send=True)

        def do_HEAD(self) -> None:
            self.answer(send=False)

        def answer(self, *, send: bool) -> None:
            path = self.path.partition("?")[0]
            name = path.removeprefix(f"/team/model/resolve/{COMMIT}/")
            if path.startswith("/api/models/team/model/revision/"):
                body = json.dumps({"id": "team/model", "sha": COMMIT, "siblings": []}).encode()
            elif path == f"/api/models/team/model/tree/{COMMIT}":
                tree = [
                    {"type": "file", "path": name, "size": len(data), "oid": sha1(data).hexdigest()}
                    for name, data in hub.files.items()
                ]
                body = json.dumps(tree).encode()
            elif name in hub.files and hub.gated:
                self.refuse(403, "GatedRepo")
                return
            elif name in hub.files:
                body = hub.files[name]
                if send:
                    hub.served.append(name)
            else:
                self.refuse(404, "RepoNotFound")
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{sha1(body).hexdigest()}"')
            self.end_headers()
            if send:
                self.wfile.write(body)

        def refuse(self, status: int, why: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", why)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return Handler


@contextmanager
def serving() -> Iterator[HubServer]:
    """A running hub; it ends with the block."""
    hub = HubServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield hub
    server.shutdown()
    thread.join()
    server.server_close()
