"""Uploads that are meant to hurt, or that are merely broken: each is told, and none leaves anything behind."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from openai import AsyncOpenAI

import backends
from backends.base import EngineSpec, ModelSpec
from backends.inprocess.audio import SAMPLE_RATE
from proxy.http import multipart
from proxy.http.multipart import FormParser
from proxy.registry.models import ModelEntry, Registry
from tests.backends.whisper.containers import encode, tone, wav
from tests.proxy.contracts.openai.audio_calls import PATH, form, hello, post, refused
from tests.support import ScriptedBackend, one_model, serve_app

NANO = Path(backends.__file__).parent / "nano"
PCM = (tone(1) * 32767).astype("<i2").tobytes()
SECRET = "file:///etc/passwd"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whisper")


@pytest.fixture
async def url(data: Path) -> AsyncIterator[str]:
    """A door with the shipped Whisper, for at most ten seconds of audio."""
    engine = EngineSpec(name="whisper", kind="whisper", data=data, max_audio_seconds=10)
    source = ModelSpec(source=str(NANO / "whisper"), name="nano")
    entry = ModelEntry(name="nano", engine="whisper", spec=source, task="transcription")
    registry = Registry(engines={"whisper": engine}, models=(entry,), defaults={"transcription": "nano"})
    async with serve_app(registry) as base:
        yield base


@pytest.mark.parametrize(
    ("file", "status"),
    [
        (f"#EXTM3U\n#EXTINF:10,\n{SECRET}\n#EXT-X-ENDLIST\n".encode(), 415),
        (f"ffconcat version 1.0\nfile {SECRET}\n".encode(), 415),
        (b"RIFF\x24\0\0\0WAVE" + f"#EXTM3U\n{SECRET}\n".encode(), 415),
        (f"v=0\nm=audio 0 RTP/AVP 0\na=control:{SECRET}\n".encode(), 415),
        (f"<MPD><BaseURL>{SECRET}</BaseURL></MPD>".encode(), 415),
        (SECRET.encode(), 415),
        (b"https://example.com/a.wav", 415),
        (b"\0" * 1000, 415),
        (wav(b""), 415),
        (wav(PCM)[:20], 415),
        (wav(PCM, claimed=4 * len(PCM)), 415),
        (wav(PCM, channels=65535), 415),
        (wav(PCM, rate=1), 415),
        (encode("flac", np.zeros(60 * SAMPLE_RATE, np.float32)), 413),
    ],
    ids=lambda value: None if isinstance(value, bytes) else str(value),
)
async def test_broken_files_are_told_and_the_next_caller_is_served(url: str, file: bytes, status: int) -> None:
    for fields in ([], [("stream", "true")]):
        told, param, _, message = await refused(url, form(*fields, file=file))
        assert (told, param) == (status, "file")
        assert "passwd" not in message
    sample = (NANO / "samples" / "1_en-us.wav").read_bytes()
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        spoken = await client.audio.transcriptions.create(file=("a.wav", sample), model="nano")
    assert "yellow box" in spoken.text


class Forms:
    """Watches forms come into memory and leave it. Waiting raises TimeoutError after five seconds."""

    def __init__(self) -> None:
        self._come = asyncio.Event()
        self._gone = asyncio.Event()

    def watch(self, form: FormParser) -> None:
        self._gone.clear()
        self._come.set()
        weakref.finalize(form, self._gone.set)

    async def come(self) -> None:
        await asyncio.wait_for(self._come.wait(), 5)

    async def gone(self) -> None:
        await self.come()
        await asyncio.wait_for(self._gone.wait(), 5)
        self._come.clear()


@pytest.fixture
def forms(monkeypatch: pytest.MonkeyPatch) -> Iterator[Forms]:
    """Without the collector of cycles: uploads are large, and must go when they are done with, not when it comes by."""
    forms = Forms()

    class Watched(FormParser):
        def __init__(self, boundary: str) -> None:
            super().__init__(boundary)
            forms.watch(self)

    monkeypatch.setattr(multipart, "FormParser", Watched)
    gc.disable()
    yield forms
    gc.enable()


@pytest.mark.parametrize(
    ("fields", "size", "status"), [([], 9, 200), ([("temperature", "hot")], 9, 400), ([], 100_000, 413)]
)
async def test_an_answered_upload_is_let_go(
    forms: Forms, fields: list[tuple[str, str]], size: int, status: int
) -> None:
    backend = ScriptedBackend(hello)
    async with serve_app(one_model("w", "transcription"), backend.create, max_audio_mb=0.1) as url:
        assert (await post(url, form(*fields, file=b"x" * size)))[0] == status
        backend.requests.clear()
        await forms.gone()


async def test_a_caller_who_leaves_during_the_upload_leaves_nothing(forms: Forms) -> None:
    backend = ScriptedBackend(hello)
    async with serve_app(one_model("w", "transcription"), backend.create) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
            '--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'.encode()
        )
        writer.write(b"x" * 500_000)
        await forms.come()
        writer.transport.abort()
        await forms.gone()
    assert not backend.requests
