"""The door in front of the shipped models, none of them loaded, and short ways to ask it about them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from aiohttp import FormData

import backends
from backends.base import ModelSpec
from backends.inprocess.hub import Hub
from backends.types import Task
from backends.whisper.backend import WhisperBackend
from proxy.lifecycle.engines import Create
from proxy.registry.config import load_registry
from proxy.registry.models import ModelEntry, Registry
from proxy.settings import Settings
from tests.backends.inprocess.hub_server import HubServer
from tests.contracts.schema import conforms
from tests.proxy.contracts.models.socket_client import Client, World, world

# JSON, which the schemas check.
Body: TypeAlias = dict[str, Any]

NANO = Path(backends.__file__).parent / "nano" / "switchboard.toml"
PATIENCE = 60
ANSWERS = {"load": "LoadModelResponse", "unload": "UnloadModelResponse", "health-check": "ModelHealthCheckResponse"}
LISTS = {"asr": "asr_models", "mt": "mt_models"}


def shipped(*others: ModelEntry) -> Registry:
    """The shipped models, left out of memory until somebody wants them, and others."""
    registry = load_registry(Settings(config=NANO))
    return replace(registry, models=(*(replace(model, preload=False) for model in registry.models), *others))


def model(name: str, source: Path | str, task: Task = "transcription", engine: str = "whisper") -> ModelEntry:
    return ModelEntry(name=name, engine=engine, spec=ModelSpec(source=str(source), name=name), task=task)


def asking(hub: HubServer, cache: Path) -> Create:
    """Makes speech engines that ask this hub."""
    return lambda spec: WhisperBackend(spec, Hub(cache=cache, endpoint=hub.url))


@dataclass
class Door:
    """A served door; every answer is held to its interface."""

    world: World

    async def act(self, name: str, action: str, body: Body | None = None, status: int = 200) -> Body:
        """POST /api/models/{name}/{action}."""
        async with self.world.http.post(f"{self.world.url}/api/models/{name}/{action}", json=body) as response:
            answer = await response.json()
            assert response.status == status, answer
            conforms("models", ANSWERS[action] if status == 200 else "ErrorResponse", answer)
        assert isinstance(answer, dict)
        return answer

    async def refused(self, name: str, body: Body | None = None, *, status: int, action: str = "load") -> Body:
        """The `error` of an action that is refused."""
        error = (await self.act(name, action, body, status))["error"]
        assert isinstance(error, dict)
        return error

    async def statuses(self) -> Body:
        """GET /api/models/status."""
        async with self.world.http.get(f"{self.world.url}/api/models/status") as response:
            assert response.status == 200
            answer = await response.json()
        conforms("models", "ModelsStatusResponse", answer)
        assert isinstance(answer, dict)
        return answer

    async def status(self, name: str, kind: str = "asr") -> Body:
        """What the statuses say of one model."""
        (found,) = [each for each in (await self.statuses())[LISTS[kind]] if each["model_id"] == name]
        assert isinstance(found, dict)
        return found

    async def becomes(self, name: str, status: str, kind: str = "asr") -> Body:
        """Wait until the model's status is this."""
        async with asyncio.timeout(PATIENCE):
            while (found := await self.status(name, kind))["status"] != status:  # noqa: ASYNC110 - as clients do
                await asyncio.sleep(0.02)
        return found

    async def loaded(self, name: str, body: Body | None = None, kind: str = "asr") -> Body:
        """Load a model, and wait until it is there."""
        await self.act(name, "load", body)
        return await self.becomes(name, "loaded", kind)

    async def transcribe(self, name: str, audio: bytes, status: int = 200) -> Body:
        """POST /asr."""
        form = FormData()
        form.add_field("file", audio, filename="clip")
        async with self.world.http.post(f"{self.world.url}/asr", params={"model": name}, data=form) as response:
            answer = await response.json()
            assert response.status == status, answer
        assert isinstance(answer, dict)
        return answer

    async def translate(self, name: str, text: str) -> str:
        """POST /infer, from English into French."""
        body = {"task": "translation_en_to_fr", "model": name, "inputs": text}
        async with self.world.http.post(f"{self.world.url}/infer", json=body) as response:
            answer = await response.json()
            assert response.status == 200, answer
        return str(answer["result"][0]["translation_text"])

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Client]:
        """A listener on the socket of a session."""
        async with self.world.greeted(await self.world.session()) as client:
            yield client


@asynccontextmanager
async def open_door(
    data: Path, *others: ModelEntry, create: Create = backends.create, **settings: object
) -> AsyncIterator[Door]:
    """A door. data: its directory; create: makes the backends."""
    registry = await asyncio.to_thread(shipped, *others)
    isolation = Settings.model_validate(settings).isolation
    engines = {name: replace(each, data=data, isolation=isolation) for name, each in registry.engines.items()}
    async with world(replace(registry, engines=engines), create, data=data, **settings) as found:
        yield Door(found)
