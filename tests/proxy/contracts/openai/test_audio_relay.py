"""A model for speech that a remote engine serves: its form and its answers pass as bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession
from openai import AsyncOpenAI, NotFoundError

from backends.base import EngineSpec, ModelSpec
from proxy.registry.models import ModelEntry, Registry
from tests.engines.vllm_double import Fault, VllmDouble, form_fields
from tests.proxy.contracts.openai.audio_calls import PATH, form, post, refused
from tests.support import serve_app

AUDIO = bytes(range(256)) * 4000 + b"\r\n--b\r\n"


@pytest.fixture
async def engine() -> AsyncIterator[VllmDouble]:
    async with VllmDouble("openai/whisper-small") as double:
        yield double


@pytest.fixture
async def url(engine: VllmDouble) -> AsyncIterator[str]:
    gpu = EngineSpec(name="gpu", kind="vllm", urls=(engine.url,))
    ears = ModelEntry(name="ears", engine="gpu", spec=ModelSpec(source=engine.model), task="transcription")
    registry = Registry(engines={"gpu": gpu}, models=(ears,), defaults={"transcription": "ears"})
    async with serve_app(registry, max_audio_mb=1.1) as base:
        yield base


def raw(model: bytes, *, before: bool) -> bytes:
    """A form as no library writes it."""
    named = b"--b\r\nX-Odd: \xff\r\ncontent-disposition: form-data; name=model\r\n\r\n" + model + b"\r\n"
    file = b'--b  \r\nContent-Disposition: form-data; name="file"; filename="a\xe9.wav"\r\n\r\n' + AUDIO[:-7] + b"\r\n"
    rest = b'--b\r\nContent-Disposition: form-data; name="hotwords"\r\n\r\nEmma\r\n--b--\r\n'
    return (named + file if before else file + named) + rest


@pytest.mark.parametrize("before", [True, False])
async def test_all_but_the_models_name_goes_on_byte_for_byte(url: str, engine: VllmDouble, before: bool) -> None:
    headers = {"Content-Type": 'multipart/form-data; boundary="b"', "X-Request-Id": "r-1"}
    body = raw(b"ears", before=before)
    async with ClientSession() as session, session.post(url + PATH, data=body, headers=headers) as answer:
        assert await answer.json() == {"text": "1024000 bytes", "usage": {"type": "duration", "seconds": 1}}
        assert answer.headers["X-Request-Id"] == "r-1"
    (seen,) = engine.requests
    assert seen.body == raw(b"openai/whisper-small", before=before)
    assert seen.headers["Content-Type"] == headers["Content-Type"]
    assert seen.headers["Content-Length"] == str(len(seen.body))


async def test_the_default_model_is_named_to_the_engine(url: str, engine: VllmDouble) -> None:
    status, _ = await post(url, form(("x_unknown", "kept"), file=b"RIFF"))
    assert status == 200
    fields = form_fields(engine.requests[0].headers["Content-Type"], engine.requests[0].body)
    assert fields == {"x_unknown": b"kept", "file": b"RIFF", "model": b"openai/whisper-small"}


async def test_through_the_sdk(url: str) -> None:
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        whole = await client.audio.transcriptions.create(file=("a.wav", b"RIFF"), model="ears", language="de")
        assert whole.text == "4 bytes"
        with pytest.raises(NotFoundError):
            await client.audio.transcriptions.create(file=("a.wav", b"RIFF"), model="eyes")


async def test_what_passes_counts_in_the_models_figures(url: str, engine: VllmDouble) -> None:
    engine.fail(Fault(kind="status", status=500), Fault(kind="status", status=400))
    assert (await post(url, form(file=b"RIFF")))[0] == 500
    assert (await post(url, form(file=b"RIFF")))[0] == 400
    assert (await post(url, form(file=b"RIFF")))[0] == 200
    async with ClientSession() as session, session.get(f"{url}/api/models/status") as answer:
        (ears,) = (model for model in (await answer.json())["asr_models"] if model["model_id"] == "ears")
    assert (ears["status"], ears["inference_count"]) == ("loaded", 1)
    assert ears["health_check"]["error_rate"] == 0.5
    assert ears["performance_metrics"]["avg_inference_time_ms"] > 0


async def test_the_engines_own_stream_passes_as_it_is(url: str, engine: VllmDouble) -> None:
    asked = {"stream": "true", "model": engine.model}
    async with ClientSession() as session:
        async with session.post(engine.url + PATH, data=form(*asked.items())) as direct:
            expected = await direct.read()
        async with session.post(url + PATH, data=form(("model", "ears"), ("stream", "true"))) as relayed:
            assert relayed.content_type == "text/event-stream"
            assert await relayed.read() == expected
    assert b'"transcription.chunk"' in expected


async def test_a_stream_that_ends_early_ends_in_an_error(url: str, engine: VllmDouble) -> None:
    engine.fail(Fault(kind="cut", after=1))
    async with ClientSession() as session, session.post(url + PATH, data=form(("stream", "true"))) as answer:
        *_, last, end = (await answer.text()).split("\n\n")
    assert last.startswith('data: {"error":')
    assert end == ""


async def test_the_engines_refusals_are_told(url: str, engine: VllmDouble) -> None:
    assert (await refused(url, form(file=b"")))[:2] == (400, "file")
    engine.fail(Fault(kind="status", status=503))
    assert (await refused(url, form()))[0] == 503


async def test_what_the_door_refuses_by_itself(url: str, engine: VllmDouble) -> None:
    assert (await refused(url, form(("model", "ears"), ("model", "ears"))))[:2] == (400, "model")
    assert (await refused(url, form(("model", b"\xff"))))[:2] == (400, "model")
    assert (await refused(url, form(file=b"x" * 1_100_000)))[0] == 413
    assert not engine.requests
