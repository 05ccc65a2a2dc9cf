"""An engine as a container of a Docker engine, which goes on when the proxy ends, and is found again when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

import aiodocker
import orjson
import structlog
from aiodocker.containers import DockerContainer as Handle

from backends.errors import BackendError, NotFound, Unavailable
from backends.launch import Container, Launch
from backends.types import Json, JsonObject
from proxy.lifecycle.carrier import KEPT_LINES, Lines, secrets_in

if TYPE_CHECKING:
    from aiodocker.types import JSONObject

ENGINE, DIGEST = "switchboard.engine", "switchboard.launch"
"""Labels of the containers that are made here: for which engine, and as configured how."""
SERVICE, PROJECT, NUMBER = (f"com.docker.compose.{word}" for word in ("service", "project", "container-number"))
LOOK_SECONDS = 2.0
"""Between two looks at a container while its Docker engine does not answer."""


class DockerContainer:
    """A Carrier. name: of a container that is made here; published: the port of this machine that leads to the engine's."""

    def __init__(self, engine: str, name: str, launch: Launch, published: int | None) -> None:
        assert isinstance(launch.by, Container), "nothing else is a container"
        self._engine = engine
        self._name = name
        self._configured = launch.by
        # One that is published elsewhere cannot be reached: it is none of ours.
        self._digest = launch.digest if published is None else f"{launch.digest}:{published}"
        self._grace = launch.grace
        self._published = published
        self._client: aiodocker.Docker | None = None
        self._handle: Handle | None = None
        self._log = structlog.get_logger("engines").bind(engine=engine)

    async def adopt(self) -> bool:
        """Take over a container that runs: the compose service's, or one that was made here of the same configuration."""
        async with self._asking():
            found = await self._find()
            state = None if found is None else await found.show()
            if found is None or state is None or not state["State"]["Running"]:
                return False
            if self._configured.service is None and state["Config"]["Labels"].get(DIGEST) != self._digest:
                self._log.info("container is of another configuration, and is made anew")
                await self._remove(found)
                return False
            self._handle = found
            return True

    async def start(self, more: tuple[str, ...]) -> None:
        """Start the service's container, or make one; its image is pulled first where it is missing."""
        async with self._asking():
            if self._configured.service is not None:
                self._handle = await self._find()
                if self._handle is None:
                    raise NotFound(f"{self._of()}: there is no container of it; run `docker compose create` first.")
            else:
                if (old := await self._find()) is not None:
                    await self._remove(old)
                self._handle = await self._create(more)
            await self._handle.start()

    async def ended(self) -> str:
        """Wait for its end; a Docker engine that does not answer for a while says nothing about that."""
        told = False
        while self._handle is not None:
            try:
                status = (await self._handle.wait())["StatusCode"]
            except Exception as error:
                # Whatever cuts the question short says nothing of the container, but for this.
                if isinstance(error, aiodocker.DockerError) and error.status == HTTPStatus.NOT_FOUND:
                    return "was removed"
                if not told:
                    told = True
                    self._log.warning("container cannot be watched", error=repr(error))
                await asyncio.sleep(LOOK_SECONDS)
            else:
                return f"ended with exit status {status}"
        return "was not started"

    async def stop(self) -> None:
        """Stop it, and remove it if it was made here."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        async with self._asking():
            try:
                await handle.stop(t=round(self._grace))
                if self._configured.service is None:
                    await self._remove(handle)
                elif (await handle.show())["State"]["Running"]:
                    raise Unavailable(f"{self._of()} cannot be stopped.")
            except aiodocker.DockerError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise

    async def said(self) -> list[str]:
        """The end of its log; none where that cannot be had."""
        lines = Lines(secrets_in(self._configured.env))
        if self._handle is not None:
            with suppress(aiodocker.DockerError, BackendError):
                for part in await self._handle.log(stdout=True, stderr=True, tail=KEPT_LINES):
                    lines.feed(part)
        return lines.last()

    async def close(self) -> None:
        """Let it run: it is taken over by the next proxy."""
        if self._client is not None:
            await self._client.close()

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        """What goes wrong between us and the Docker engine, in our words."""
        try:
            yield
        except aiodocker.DockerError as error:
            self._log.error("docker refused", status=error.status, said=error.message)
            raise Unavailable(f"{self._of()} cannot be reached or changed by Docker; see the proxy's log.") from error

    def _docker(self) -> aiodocker.Docker:
        self._client = self._client or aiodocker.Docker(url=self._configured.socket)
        return self._client

    async def _find(self) -> Handle | None:
        """The container, running or not; of several of one service, the first."""
        wanted = {ENGINE: self._engine}
        if self._configured.service is not None:
            wanted = {SERVICE: self._configured.service}
            if self._configured.project is not None:
                wanted[PROJECT] = self._configured.project
        labels = [f"{label}={value}" for label, value in wanted.items()]
        filters = orjson.dumps({"label": labels}).decode()
        found = await self._docker().containers.list(all="true", filters=filters)
        projects = {each["Labels"].get(PROJECT) for each in found}
        if self._configured.service is not None and len(projects) > 1:
            raise Unavailable(f"{self._of()} is in several projects: say which one is meant by `project`.")
        return min(found, key=lambda each: int(each["Labels"].get(NUMBER, 1)), default=None)

    async def _create(self, more: tuple[str, ...]) -> Handle:
        config = specification(self._configured, more, self._engine, self._digest, self._published)
        containers = self._docker().containers
        try:
            return await containers.create(cast("JSONObject", config), name=self._name)
        except aiodocker.DockerError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
        image = cast("str", config["Image"])
        self._log.info("pulling", image=image)
        try:
            await self._docker().images.pull(image)
        except aiodocker.DockerError as error:
            self._log.error("image not pulled", image=image, said=error.message)
            raise NotFound(f"{self._of()}: its image {image} is not here, and could not be pulled.") from error
        return await containers.create(cast("JSONObject", config), name=self._name)

    async def _remove(self, handle: Handle) -> None:
        await handle.delete(force=True, v=True)

    def _of(self) -> str:
        service = self._configured.service
        return f"Engine {self._engine!r}" if service is None else f"The service {service!r} of engine {self._engine!r}"


def specification(
    configured: Container, more: tuple[str, ...], engine: str, digest: str, published: int | None
) -> JsonObject:
    """What to ask a Docker engine for (Engine API, `POST /containers/create`)."""
    port = f"{configured.port}/tcp"
    host: JsonObject = {
        # Somebody must wait for the processes that an engine leaves behind.
        "Init": True,
        "Binds": [*configured.volumes],
        "RestartPolicy": {"Name": "no"},
    }
    if configured.gpus:
        host["DeviceRequests"] = [_gpus(configured.gpus)]
    if configured.shm_mb is not None:
        host["ShmSize"] = configured.shm_mb * 1_000_000
    if configured.network is not None:
        host["NetworkMode"] = configured.network
    if published is not None:
        host["PortBindings"] = {port: [{"HostIp": "127.0.0.1", "HostPort": str(published)}]}
    labels: dict[str, Json] = {**configured.labels, ENGINE: engine, DIGEST: digest}
    return {
        "Image": configured.image,
        "Cmd": [*configured.command, *more],
        "Env": _variables(configured.env),
        "Labels": labels,
        "ExposedPorts": {port: {}},
        "HostConfig": host,
    }


def _gpus(gpus: tuple[str, ...]) -> JsonObject:
    asked: JsonObject = {"Capabilities": [["gpu"]]}
    return {**asked, "Count": -1} if gpus == ("all",) else {**asked, "DeviceIDs": [*gpus]}


def _variables(environment: Mapping[str, str]) -> list[Json]:
    return [f"{name}={value}" for name, value in environment.items()]
