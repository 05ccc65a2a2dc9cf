"""What captions do with models that are slow, busy or broken, and with clients that are fast, hostile or gone."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from blockbuster import BlockBuster

from backends.base import EngineSpec, ModelSpec
from backends.errors import Broken, Overloaded, Unavailable
from backends.inprocess.audio import SAMPLE_RATE, decode
from backends.types import Event, Json, Request, Segment, Speech, Transcribe, Translate, Translated
from proxy.captions import hearing
from proxy.keys import CAPTIONER, TRAFFIC
from proxy.registry.models import ModelEntry, Registry
from tests.backends.whisper.containers import encode
from tests.proxy.contracts.models.socket_client import Client, Message, World, world
from tests.support import ScriptedBackend

NANO = Path(__file__).parents[4] / "backends" / "nano"
SAMPLE = decode((NANO / "samples" / "1_en-us.wav").read_bytes(), max_seconds=9)
PAUSE = np.zeros(SAMPLE_RATE, np.float32)
SPOKEN = (np.concatenate([SAMPLE, PAUSE]) * 32767).astype("<i2").tobytes()

REGISTRY = Registry(
    engines={name: EngineSpec(name=name, kind=name) for name in ("whisper", "translation")},
    models=(
        ModelEntry(name="hears", engine="whisper", spec=ModelSpec(source="hears"), task="transcription"),
        ModelEntry(name="writes", engine="translation", spec=ModelSpec(source="writes"), task="translation"),
    ),
    defaults={"transcription": "hears", "translation": "writes"},
)
REMOTE = Registry(
    engines={"far": EngineSpec(name="far", kind="vllm", urls=("http://127.0.0.1:1",))},
    models=(ModelEntry(name="far", engine="far", spec=ModelSpec(source="far"), task="transcription"),),
    defaults={"transcription": "far"},
)


def heard(text: str) -> list[Event | Exception]:
    segment = Segment(
        id=0, seek=0, start=0.1, end=1.0, text=text, tokens=(), temperature=0, avg_logprob=0,
        compression_ratio=1, no_speech_prob=0,
    )  # fmt: skip
    return [Speech("en", 1.0), segment]


@dataclass
class Model(ScriptedBackend):
    """A model that answers as scripted, once it may. running: how many requests it has now."""

    may: asyncio.Event = field(default_factory=asyncio.Event)
    running: int = 0

    async def run(self, model: ModelSpec, request: Request) -> AsyncGenerator[Event, None]:
        """Play the script when allowed."""
        self.running += 1
        try:
            if isinstance(request, Transcribe) and not request.words:
                await self.may.wait()
            async for event in super().run(model, request):
                yield event
        finally:
            self.running -= 1


def model(script: Callable[[Request], Iterable[Event | Exception]] = lambda _: heard("so")) -> Model:
    return Model(script)


async def started(door: World, client: Client, format_: str = "pcm16") -> None:
    await client.say("asr.start", {"format": format_})
    await client.until("asr.started")


async def trouble(client: Client) -> Message:
    """The next error."""
    while (message := await client.next())["t"] != "error":
        pass
    return message


async def idle(backend: Model) -> None:
    """Wait until the model has no request."""
    async with asyncio.timeout(10):
        while backend.running:  # noqa: ASYNC110 - a count that announces nothing
            await asyncio.sleep(0.01)


async def test_a_slow_model_costs_looks_and_no_final() -> None:
    backend = model()
    async with world(REGISTRY, backend.create) as door, door.greeted(await door.session()) as client:
        await started(door, client)
        for _ in range(3):
            await client.ws.send_bytes(SPOKEN)
        await client.say("asr.stop")
        await client.until("asr.stopped")
        await idle(backend)
    kinds = [message["t"] for message in client.heard]
    assert kinds.count("asr.final") == 3 and "asr.partial" not in kinds


async def test_each_utterance_is_counted_as_a_request_of_its_model_and_not_the_socket() -> None:
    backend = model()
    backend.may.set()
    async with world(REGISTRY, backend.create) as door:
        async with door.greeted(await door.session()) as client:
            await started(door, client)
            async with door.http.get(f"{door.url}/metrics") as answer:
                shown = await answer.text()
            assert "switchboard_listeners 1.0" in shown and "switchboard_caption_streams 1.0" in shown
            await client.ws.send_bytes(SPOKEN)
            await client.ws.send_bytes(SPOKEN)
            await client.say("asr.stop")
            await client.until("asr.stopped")
        await door.deserted()
        async with door.http.get(f"{door.url}/metrics") as answer:
            shown = await answer.text()
    counted = re.search(r'contract="models",engine="whisper",model="hears",status="200"} (\d+)', shown)
    assert counted is not None and int(counted[1]) >= 2
    assert 'contract="models",engine="",model="",status="101"} 1.0' in shown
    assert "switchboard_listeners 0.0" in shown and "switchboard_caption_streams 0.0" in shown


async def test_a_busy_model_is_asked_again() -> None:
    answers: list[list[Event | Exception]] = [
        [Overloaded("busy", retry_after=0.01)],
        [Unavailable("soon", retry_after=0.01)],
    ]
    backend = model(lambda request: answers.pop(0) if answers else heard("at last"))
    async with world(REGISTRY, backend.create) as door, door.greeted(await door.session()) as client:
        await started(door, client)
        await client.ws.send_bytes(SPOKEN)
        assert (await client.until("asr.final"))["data"]["text"] == "at last"


async def test_a_broken_model_ends_the_stream_and_not_the_socket() -> None:
    answers: list[list[Event | Exception]] = [[Broken("The model broke.")]]
    backend = model(lambda request: answers.pop(0) if answers else heard("well"))
    async with world(REGISTRY, backend.create) as door, door.greeted(await door.session()) as client:
        await started(door, client)
        await client.ws.send_bytes(SPOKEN)
        error = await trouble(client)
        assert (error["data"]["code"], error["data"]["message"]) == (
            "INFERENCE_ERROR",
            "The model broke.",
        )
        stopped = await client.until("asr.stopped")
        assert stopped["data"]["reason"] == "failed" and error["data"]["details"] == {
            "stream_id": stopped["data"]["stream_id"]
        }
        await client.ws.send_bytes(SPOKEN)  # was on its way
        await started(door, client)
        await client.ws.send_bytes(SPOKEN)
        await client.until("asr.final")


async def test_a_bug_is_told_and_logged_without_its_words(
    capsys: pytest.CaptureFixture[str], nothing_blocks_the_loop: BlockBuster
) -> None:
    nothing_blocks_the_loop.deactivate()  # a traceback in the log reads source files
    backend = model(lambda request: [ValueError("secret")])
    async with world(REGISTRY, backend.create, log_format="json") as door, door.greeted(await door.session()) as client:
        await started(door, client)
        await client.ws.send_bytes(SPOKEN)
        assert (await trouble(client))["data"]["code"] == "INTERNAL_ERROR"
        assert (await client.until("asr.stopped"))["data"]["reason"] == "failed"
    assert "unexpected error in captions" in capsys.readouterr().out


async def test_a_translation_that_fails_ends_no_caption() -> None:
    def script(request: Request) -> list[Event | Exception]:
        if isinstance(request, Translate):
            return (
                [Broken("No translation today.")]
                if request.texts == ("first",)
                else [Translated(0, "zweitens", "en", "de")]
            )
        return heard(texts.pop(0))

    texts = ["first", "second"]
    backend = model(script)
    config: dict[str, Json] = {"mt": {"target_language": "de"}}
    async with world(REGISTRY, backend.create) as door, door.greeted(await door.session(config)) as client:
        await started(door, client)
        for _ in range(2):
            await client.ws.send_bytes(SPOKEN)
        assert (await trouble(client))["data"]["message"] == "No translation today."
        assert (await client.until("mt.final"))["data"] | {"stream_id": ""} == {
            "stream_id": "",
            "segment_id": "seg_2",
            "text": "zweitens",
            "source_language": "en",
            "target_language": "de",
        }


async def test_one_stream_at_a_time_and_only_so_many() -> None:
    backend = model()
    async with world(REGISTRY, backend.create, max_caption_streams=1) as door:
        sid = await door.session()
        async with door.greeted(sid) as client, door.greeted(await door.session()) as other:
            await started(door, client)
            await client.say("asr.start", {"format": "pcm16"}, id="again")
            assert "under way" in (await client.next())["data"]["message"]
            await other.say("asr.start", {"format": "pcm16"})
            assert (await other.next())["data"]["code"] == "OVERLOADED"
            await client.say("asr.stop")
            await client.until("asr.stopped")
            await client.say("asr.stop", id="late")
            assert (await client.next())["corr"] == "late"
            await started(door, other)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"format": "mp3"},
        {"format": "pcm16", "sample_rate": 44100},
        {"format": "webm", "sample_rate": 16000},
        {"format": "pcm16", "language": "de"},
        {"format": "pcm16", "translate": "yes"},
    ],
)
async def test_what_cannot_be_honoured_is_refused_by_name(data: dict[str, object]) -> None:
    async with world(REGISTRY, model().create) as door, door.greeted(await door.session()) as client:
        await client.ws.send_json({"v": 1, "t": "asr.start", "data": data})
        error = (await client.next())["data"]
        assert error["code"] == "CONFIGURATION_ERROR" and error["details"]["field"].startswith("data.")


async def test_a_model_on_an_engine_elsewhere_has_no_live_captions() -> None:
    async with world(REMOTE, model().create) as door, door.greeted(await door.session()) as client:
        await client.say("asr.start", {"format": "pcm16"})
        assert "`far` is served by another engine" in (await client.next())["data"]["message"]


async def test_a_stream_ends_at_its_limit() -> None:
    async with (
        world(REGISTRY, model().create, max_caption_seconds=2.5) as door,
        door.greeted(await door.session()) as client,
    ):
        await started(door, client)
        for _ in range(5):
            await client.ws.send_bytes(SPOKEN)
        stopped = (await client.until("asr.stopped"))["data"]
        assert (stopped["reason"], round(stopped["seconds"], 1)) == ("limit", 2.5)
        assert [message["t"] for message in client.heard].count("asr.final") == 1


@pytest.mark.parametrize(
    "hostile",
    [
        b"garbage" * 100,
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        SPOKEN,
        encode("wav", SAMPLE),
        encode("ogg", SAMPLE),
        encode("mka", SAMPLE),
        encode("webm", SAMPLE)[:60],
        b"\x1a\x45\xdf\xa3" + b"\xff" * 1000,
        b"",
    ],
    ids=["garbage", "playlist", "pcm", "wav", "ogg", "flac in matroska", "cut in its head", "broken head", "nothing"],
)
async def test_what_is_no_webm_with_opus_is_refused(hostile: bytes) -> None:
    async with world(REGISTRY, model().create) as door, door.greeted(await door.session()) as client:
        await started(door, client, "webm")
        await client.ws.send_bytes(hostile)
        await client.say("asr.stop")
        error = await trouble(client)
        assert error["data"]["code"] == "UNSUPPORTED_MEDIA_TYPE"
        assert (await client.until("asr.stopped"))["data"]["reason"] == "failed"


async def test_a_container_without_sound_is_not_read_for_ever() -> None:
    # An element of the head that may be of any size, and is skipped.
    void = (
        b"\x1a\x45\xdf\xa3\x80"
        + b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff"
        + b"\xec\x01"
        + bytes([0, 0, 0, 0, 64, 0, 0])
    )
    async with world(REGISTRY, model().create) as door, door.greeted(await door.session()) as client:
        await started(door, client, "webm")
        await client.ws.send_bytes(void)
        for _ in range(100):
            await client.ws.send_bytes(bytes(1 << 18))
        error = await trouble(client)
        assert error["data"]["code"] == "UNSUPPORTED_MEDIA_TYPE"


async def test_a_client_faster_than_the_model_is_not_read_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing, "WAITING_SECONDS", 3.0)
    backend = Model(lambda _: heard("so"))
    gate = asyncio.Event()

    async def closed_gate(spec: ModelSpec, request: Request) -> AsyncGenerator[Event, None]:
        await gate.wait()
        for event in heard("so"):
            assert not isinstance(event, Exception)
            yield event

    monkeypatch.setattr(backend, "run", closed_gate)
    second = bytes(2 * SAMPLE_RATE)
    async with world(REGISTRY, backend.create) as door, door.greeted(await door.session()) as client:
        await started(door, client)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 4000:
                async with asyncio.timeout(2):
                    await client.ws.send_bytes(SPOKEN + second)
                sent += 1
        assert 3 < sent < 4000
        gate.set()
        await client.say("asr.stop")
        await client.until("asr.stopped")
        assert [message["t"] for message in client.heard].count("asr.final") in (sent, sent + 1)


async def test_what_comes_of_a_stream_says_which_message_it_answers() -> None:
    answers: list[list[Event | Exception]] = [[Broken("The model broke.")]]
    backend = model(lambda request: answers.pop(0) if answers else heard("well"))
    async with world(REGISTRY, backend.create) as door, door.greeted(await door.session()) as client:
        await client.say("asr.start", {"format": "pcm16"}, id="first")
        assert (await client.until("asr.started"))["corr"] == "first"
        await client.ws.send_bytes(SPOKEN)
        assert (await trouble(client))["corr"] == "first"
        assert (await client.until("asr.stopped"))["corr"] == "first"
        await client.say("asr.start", {"format": "pcm16"}, id="second")
        await client.ws.send_bytes(SPOKEN)
        await client.say("asr.stop", id="enough")
        assert (await client.until("asr.final"))["corr"] is None
        assert (await client.until("asr.stopped"))["corr"] == "enough"


async def test_the_end_of_a_session_is_told_after_the_end_of_its_streams() -> None:
    backend = model()
    async with world(REGISTRY, backend.create) as door:
        sid = await door.session()
        async with door.greeted(sid) as client, door.greeted(sid) as second, door.greeted(sid) as watcher:
            await started(door, client)
            await started(door, second, "webm")
            await client.ws.send_bytes(SPOKEN)
            async with door.http.delete(f"{door.url}/api/sessions/{sid}") as answer:
                assert answer.status == 200
            for each in (client, second, watcher):
                told = [await each.until(kind) for kind in ("asr.stopped", "asr.stopped", "session.closed")]
                assert [message["data"]["reason"] for message in told] == ["closed", "closed", "deleted"]
                assert await each.closed() == 4410
        await idle(backend)
        await door.deserted()
        assert door.app[CAPTIONER].streams == 0


@pytest.mark.parametrize("format_", ["pcm16", "webm"])
async def test_a_client_that_leaves_frees_everything(format_: str) -> None:
    backend = model()
    before = threading.active_count()
    async with world(REGISTRY, backend.create) as door:
        sid = await door.session()
        async with door.greeted(sid) as watcher:
            async with door.greeted(sid) as client:
                await started(door, client, format_)
                audio = SPOKEN if format_ == "pcm16" else encode("webm", SAMPLE)
                await client.ws.send_bytes(audio[: len(audio) // 2])
                async with asyncio.timeout(10):
                    while not backend.running:  # noqa: ASYNC110 - a count that announces nothing
                        await asyncio.sleep(0.01)
                client.ws._response.connection.transport.abort()  # type: ignore[union-attr]
            assert (await watcher.until("asr.stopped"))["data"]["reason"] == "closed"
        await idle(backend)
        await door.deserted()
        assert not any(door.app[TRAFFIC].in_flight.values())
        assert door.app[CAPTIONER].streams == 0
    async with asyncio.timeout(10):
        while threading.active_count() > before + 6:  # noqa: ASYNC110 - a count that announces nothing
            await asyncio.sleep(0.05)
