"""An engine that is none: a real process on a real port that speaks as much of vLLM's API as it takes to be started and asked.

Run as a program: `fake_engine.py --port N [options]`; the standard library alone, so that it is there at once.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

PARSER = argparse.ArgumentParser()
PARSER.add_argument("--port", type=int, required=True)
PARSER.add_argument("--name", default="fake")
PARSER.add_argument("--delay", type=float, default=0.0, help="seconds before it serves")
PARSER.add_argument("--fail", type=int, default=None, help="end with this status in place of serving")
PARSER.add_argument("--say", default="", help="a line to print before anything else")
PARSER.add_argument("--stubborn", action="store_true", help="ignore SIGTERM")
PARSER.add_argument("--child", action="store_true", help="start a process that sleeps, in a session of its own")
PARSER.add_argument("--pause", type=float, default=0.0, help="seconds between two tokens of a stream")
PARSER.add_argument("--refuse", action="store_true", help="answer every chat with 400")
PARSER.add_argument("--hold-mb", type=int, default=0, help="memory to hold")
PARSER.add_argument("--enable-sleep-mode", action="store_true")


NAME = f"pid-{os.getpid()}"
"""By which its answers say who gave them."""


class Engine(ThreadingHTTPServer):
    """What it knows."""

    daemon_threads = True

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.level = 0
        self.adapters: dict[str, str] = {}
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", options.port), Handler)


class Handler(BaseHTTPRequestHandler):
    """Its answers."""

    protocol_version = "HTTP/1.1"
    server: Engine

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def do_GET(self) -> None:
        """The models, and what was asked."""
        if self.path == "/v1/models":
            names = [self.server.options.name, *self.server.adapters]
            self.answer({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})
        elif self.path == "/is_sleeping":
            self.answer({"is_sleeping": bool(self.server.level)})
        elif self.path == "/asked":
            self.answer({"asked": self.server.asked, "pid": os.getpid(), "adapters": self.server.adapters})
        else:
            self.answer({"detail": "Not Found"}, 404)

    def do_POST(self) -> None:
        """Chat, sleep, wake up, take an adapter."""
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.loads(raw) if raw else {}
        path, query = urlsplit(self.path).path, urlsplit(self.path).query
        self.server.asked.append(self.path)
        if path == "/sleep":
            self.server.level = int(query.removeprefix("level="))
            self.answer({"status": "sleeping"})
        elif path == "/wake_up":
            self.server.level = 0
            self.answer({"status": "awake"})
        elif path == "/collective_rpc":
            self.answer({"results": [None]})
        elif path == "/v1/load_lora_adapter":
            self.server.adapters[body["lora_name"]] = body["lora_path"]
            self.answer("Success")
        elif path == "/v1/unload_lora_adapter":
            self.answer("Success", 200 if self.server.adapters.pop(body["lora_name"], None) else 404)
        elif path == "/v1/chat/completions":
            self.chat(body)
        else:
            self.answer({"detail": "Not Found"}, 404)

    def chat(self, body: dict[str, object]) -> None:
        """As many tokens as are asked for."""
        if self.server.level:
            self.answer({"error": {"message": "asleep", "type": "Error", "param": None, "code": 500}}, 500)
        elif body["model"] not in {self.server.options.name, *self.server.adapters}:
            self.answer({"error": {"message": "no such model", "type": "NotFoundError", "code": 404}}, 404)
        elif self.server.options.refuse:
            self.answer({"error": {"message": "too hard", "type": "BadRequestError", "param": None, "code": 400}}, 400)
        elif body.get("stream"):
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream; charset=utf-8")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for event in self.events(body):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            self.wfile.write(b"0\r\n\r\n")
        else:
            message = {"role": "assistant", "content": f"{self.server.options.name} says hello"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self.answer(
                {"id": NAME, "object": "chat.completion", "created": 1, "model": body["model"], "choices": [choice]}
            )

    def events(self, body: dict[str, object]) -> Iterator[bytes]:
        """The frames of a stream."""
        for number in range(int(str(body.get("max_tokens", 3)))):
            choice = {"index": 0, "delta": {"content": f"{number} "}, "finish_reason": None}
            yield (
                b"data: %s\n\n"
                % json.dumps({"id": NAME, "object": "chat.completion.chunk", "choices": [choice]}).encode()
            )
            time.sleep(self.server.options.pause)
        last = {"index": 0, "delta": {}, "finish_reason": "stop"}
        yield b"data: %s\n\n" % json.dumps({"id": NAME, "object": "chat.completion.chunk", "choices": [last]}).encode()
        yield b"data: [DONE]\n\n"

    def answer(self, value: object, status: int = 200) -> None:
        """A body of JSON."""
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Do as told."""
    options, _ = PARSER.parse_known_args()
    if options.say:
        print(options.say, flush=True)
    if options.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    if options.child:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        print(f"child {child.pid}", flush=True)
    held = bytearray(options.hold_mb * 1_000_000)
    held[::4096] = b"x" * len(held[::4096])
    time.sleep(options.delay)
    if options.fail is not None:
        sys.exit(options.fail)
    threading.current_thread().name = "engine"
    Engine(options).serve_forever()


if __name__ == "__main__":
    main()
