"""A double of a Docker engine: its API (v1.48, as documented) on a unix socket, whose containers are processes of this machine."""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from aiohttp import web

from backends.types import JsonObject
from tests.proxy.lifecycle.engine_rig import FAKE

VERSION = "1.48"


@dataclass(eq=False)
class Box:
    """A container. status: that it ended with, None while it runs or has not been started."""

    id: str
    name: str
    config: JsonObject
    process: asyncio.subprocess.Process | None = None
    status: int | None = None
    output: bytes = b""
    starts: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    @property
    def labels(self) -> dict[str, str]:
        return cast("dict[str, str]", self.config.get("Labels") or {})

    @property
    def port(self) -> str:
        """The port of this machine that is published, or that the test says."""
        host = cast("dict[str, dict[str, list[dict[str, str]]]]", self.config["HostConfig"])
        published = [each[0]["HostPort"] for each in host.get("PortBindings", {}).values()]
        return published[0] if published else str(self.config["TestPort"])


class DockerDouble:
    """What it has, and what it was asked: `METHOD /path`. away: it answers nothing but 500."""

    def __init__(self) -> None:
        self.boxes: dict[str, Box] = {}
        self.images = {"engine:1"}
        self.pullable = {"engine:2"}
        self.asked: list[str] = []
        self.away = False
        self._waiting: set[asyncio.Transport] = set()
        self._reading: set[asyncio.Task[None]] = set()

    def add(self, name: str, config: JsonObject) -> Box:
        """A container that somebody else has made."""
        box = self.boxes[name] = Box(f"id-of-{name}", name, {"HostConfig": {}, "Cmd": [], **config})
        return box

    def app(self) -> web.Application:
        """The API."""
        app = web.Application(middlewares=[self._note])
        api = f"/v{VERSION}"
        app.router.add_get("/version", self._version)
        app.router.add_get(f"{api}/containers/json", self._list)
        app.router.add_post(f"{api}/containers/create", self._create)
        app.router.add_get(f"{api}/containers/{{id}}/json", self._inspect)
        app.router.add_post(f"{api}/containers/{{id}}/start", self._start)
        app.router.add_post(f"{api}/containers/{{id}}/stop", self._stop)
        app.router.add_post(f"{api}/containers/{{id}}/wait", self._wait)
        app.router.add_get(f"{api}/containers/{{id}}/logs", self._logs)
        app.router.add_delete(f"{api}/containers/{{id}}", self._delete)
        app.router.add_post(f"{api}/images/create", self._pull)
        return app

    async def start(self, box: Box) -> None:
        """Run what the container runs."""
        box.starts += 1
        box.ended.clear()
        command = [str(each) for each in cast("list[str]", box.config.get("Cmd") or [])]
        box.process = await asyncio.create_subprocess_exec(
            *(sys.executable, FAKE, "--port", box.port, *command),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        task = asyncio.create_task(self._read(box))
        self._reading.add(task)

    def hang_up(self) -> None:
        """Cut the connections on which somebody waits for the end of a container."""
        for transport in self._waiting:
            transport.abort()
        self._waiting.clear()

    async def close(self) -> None:
        """End all of it."""
        for box in self.boxes.values():
            if box.running and box.process is not None:
                box.process.kill()
        await asyncio.gather(*self._reading)

    async def _read(self, box: Box) -> None:
        process = box.process
        assert process is not None
        assert process.stdout is not None
        while data := await process.stdout.read(4096):
            box.output += data
        box.status = await process.wait()
        box.ended.set()

    @web.middleware
    async def _note(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path.removeprefix(f'/v{VERSION}')}")
        if self.away:
            raise _refusal(web.HTTPInternalServerError, "away")
        return await handler(request)

    def _box(self, request: web.Request) -> Box:
        wanted = request.match_info["id"]
        found = next((box for box in self.boxes.values() if wanted in (box.id, box.name)), None)
        if found is None:
            raise _refusal(web.HTTPNotFound, f"No such container: {wanted}")
        return found

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"Version": "28.0.0", "ApiVersion": VERSION, "MinAPIVersion": "1.24"})

    async def _list(self, request: web.Request) -> web.Response:
        labels = [each.split("=", 1) for each in json.loads(request.query.get("filters", "{}")).get("label", [])]
        every = request.query.get("all") in ("1", "true", "True")
        found = [
            {
                "Id": box.id,
                "Names": [f"/{box.name}"],
                "Labels": box.labels,
                "State": "running" if box.running else "exited",
            }
            for box in self.boxes.values()
            if (every or box.running) and all(box.labels.get(name) == value for name, value in labels)
        ]
        return web.json_response(found)

    async def _create(self, request: web.Request) -> web.Response:
        config = await request.json()
        if config["Image"] not in self.images:
            raise _refusal(web.HTTPNotFound, f"No such image: {config['Image']}")
        name = request.query["name"]
        if name in self.boxes:
            raise _refusal(web.HTTPConflict, f'Conflict. The container name "/{name}" is already in use')
        box = self.add(name, config)
        return web.json_response({"Id": box.id, "Warnings": []}, status=201)

    async def _inspect(self, request: web.Request) -> web.Response:
        box = self._box(request)
        state = {"Running": box.running, "Status": "running" if box.running else "exited", "ExitCode": box.status or 0}
        config = {"Image": box.config.get("Image"), "Labels": box.labels, "Tty": False, "Env": box.config.get("Env")}
        return web.json_response({"Id": box.id, "Name": f"/{box.name}", "State": state, "Config": config})

    async def _start(self, request: web.Request) -> web.Response:
        box = self._box(request)
        if box.running:
            return web.Response(status=304)
        await self.start(box)
        return web.Response(status=204)

    async def _stop(self, request: web.Request) -> web.Response:
        box = self._box(request)
        if not box.running or box.process is None:
            return web.Response(status=304)
        box.process.terminate()
        try:
            await asyncio.wait_for(box.ended.wait(), int(request.query.get("t", "10")))
        except TimeoutError:
            box.process.kill()
            await box.ended.wait()
        return web.Response(status=204)

    async def _wait(self, request: web.Request) -> web.StreamResponse:
        box = self._box(request)
        # As the real one does: the head at once, the body at the end.
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        if request.transport is not None:
            self._waiting.add(request.transport)
        if box.process is not None:
            await box.ended.wait()
        status = box.status or 0
        await response.write(json.dumps({"StatusCode": status if status >= 0 else 128 - status}).encode())
        return response

    async def _logs(self, request: web.Request) -> web.Response:
        lines = self._box(request).output.splitlines(keepends=True)[-int(request.query.get("tail", "1000")) :]
        framed = b"".join(struct.pack(">BxxxL", 1, len(line)) + line for line in lines)
        return web.Response(body=framed, content_type="application/vnd.docker.multiplexed-stream")

    async def _delete(self, request: web.Request) -> web.Response:
        box = self._box(request)
        if box.running and box.process is not None:
            if request.query.get("force") not in ("1", "true", "True"):
                raise _refusal(web.HTTPConflict, "You cannot remove a running container")
            box.process.kill()
            await box.ended.wait()
        del self.boxes[box.name]
        return web.Response(status=204)

    async def _pull(self, request: web.Request) -> web.Response:
        image = ":".join(request.query[part] for part in ("fromImage", "tag") if part in request.query)
        if image not in self.pullable:
            raise _refusal(web.HTTPNotFound, f"pull access denied for {image}")
        self.images.add(image)
        progress = [{"status": f"Pulling from {image}"}, {"status": "Download complete"}]
        lines = b"".join(json.dumps(each).encode() + b"\r\n" for each in progress)
        return web.Response(body=lines, content_type="application/json")


@asynccontextmanager
async def docker_double(directory: Path) -> AsyncIterator[tuple[DockerDouble, str]]:
    """A Docker engine, and the URL of its socket."""
    double = DockerDouble()
    runner = web.AppRunner(double.app(), handler_cancellation=True)
    await runner.setup()
    await web.UnixSite(runner, directory / "docker.sock").start()
    try:
        yield double, f"unix://{directory}/docker.sock"
    finally:
        await double.close()
        await runner.cleanup()


def _refusal(kind: type[web.HTTPException], message: str) -> web.HTTPException:
    return kind(text=json.dumps({"message": message}), content_type="application/json")
