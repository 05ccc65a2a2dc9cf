"""A door with two models for speech and two for translation, whose backends note what they are asked and how they are loaded."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from aiohttp import ClientSession, FormData

import backends
from backends import REMOTE
from backends.base import Backend, EngineSpec, ModelSpec, Report
from backends.types import Event, Request, Segment, Speech, Transcribe, Translate, Translated
from proxy.registry.models import ModelEntry, Registry
from tests.support import ScriptedBackend, serve_app

# JSON, which the schemas check.
Body: TypeAlias = dict[str, Any]

CONFIG = "/api/sessions/{}/models/config"
SEGMENT = Segment(
    id=0, seek=0, start=0.0, end=1.0, text=" Hi.", tokens=(1,), temperature=0.0, avg_logprob=-0.25,
    compression_ratio=1.0, no_speech_prob=0.0,
)  # fmt: skip


def answer(request: Request) -> Iterable[Event | Exception]:
    """Short speech, and texts in capitals."""
    if isinstance(request, Transcribe):
        return (Speech("en", 1.0), SEGMENT)
    assert isinstance(request, Translate)
    return [Translated(index, text.upper(), "en", "fr") for index, text in enumerate(request.texts)]


def registry(**engines: EngineSpec) -> Registry:
    """Models `ears`, `ears-2`, `words`, `words-2`, the first of each the default, and whatever else `engines` serve."""

    def entry(name: str, engine: str) -> ModelEntry:
        task = "translation" if name.startswith("words") else "transcription"
        return ModelEntry(name=name, engine=engine, spec=ModelSpec(source=f"org/{name}"), task=task)  # type: ignore[arg-type]

    own = [entry("ears", "whisper"), entry("ears-2", "whisper"), entry("words", "translation")]
    own += [entry("words-2", "translation"), *(entry(f"ears-{name}", name) for name in engines)]
    return Registry(
        engines={kind: EngineSpec(name=kind, kind=kind) for kind in ("whisper", "translation")} | engines,
        models=tuple(own),
        defaults={"transcription": "ears", "translation": "words"},
    )


@dataclass
class Spy(ScriptedBackend):
    """A backend that notes the model beside each request, and which models are loaded."""

    models: list[ModelSpec] = field(default_factory=list)
    loaded: set[ModelSpec] = field(default_factory=set)

    async def load(self, model: ModelSpec, report: Report) -> None:
        """At once."""
        self.loaded.add(model)

    async def unload(self, model: ModelSpec) -> None:
        """At once."""
        self.loaded.discard(model)

    async def run(self, model: ModelSpec, request: Request) -> AsyncGenerator[Event, None]:
        """Play the script."""
        self.models.append(model)
        async for event in super().run(model, request):
            yield event


class Client:
    """What talks to the door."""

    def __init__(self, http: ClientSession, spy: Spy, url: str) -> None:
        self.http = http
        self.spy = spy
        self.url = url

    async def call(self, method: str, path: str, status: int = 200, **options: Any) -> Body:
        """The object that answers. Fails on another status."""
        async with self.http.request(method, path, **options) as response:
            assert response.status == status, await response.text()
            assert response.content_type == "application/json"
            body = await response.json()
        assert isinstance(body, dict)
        return body

    async def session(self, **config: object) -> str:
        """The id of a new session."""
        sid = (await self.call("POST", "/api/sessions", 201, json=config))["session_id"]
        assert isinstance(sid, str)
        return sid

    async def configure(self, sid: str, change: object, status: int = 200) -> Body:
        """Change a session's configuration."""
        return await self.call("PUT", CONFIG.format(sid), status, json=change)

    async def refused(self, sid: str, change: object, status: int = 400) -> Body:
        """The error of a change that is refused."""
        error = (await self.configure(sid, change, status))["error"]
        assert isinstance(error, dict)
        return error


def moment(text: str) -> datetime:
    """ISO 8601, as the contract writes times."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    return datetime.fromisoformat(text)


def upload(**fields: str) -> FormData:
    """A form with a file."""
    form = FormData(default_to_multipart=True)
    for name, value in fields.items():
        form.add_field(name, value)
    form.add_field("file", b"RIFF", filename="a.wav")
    return form


@asynccontextmanager
async def opened(models: Registry | None = None, **settings: object) -> AsyncIterator[Client]:
    """A client of a door that has just been opened. settings: fields that differ."""
    spy = Spy(answer)

    def create(spec: EngineSpec) -> Backend:
        return backends.create(spec) if spec.kind in REMOTE else spy.create(spec)

    async with serve_app(models or registry(), create, **settings) as url, ClientSession(url) as http:
        yield Client(http, spy, url)
