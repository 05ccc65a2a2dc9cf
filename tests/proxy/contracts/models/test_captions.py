"""Live captions with the shipped models: what is said in the samples, as a stream of samples and as browsers record it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import backends
from backends.inprocess.audio import SAMPLE_RATE, Samples, decode
from backends.types import Json
from proxy.keys import TRAFFIC
from proxy.registry.config import read_registry
from proxy.registry.models import Registry
from proxy.settings import Settings
from tests.backends.whisper.containers import encode
from tests.proxy.contracts.models.socket_client import Client, Message, World, world

NANO = Path(__file__).parents[4] / "backends" / "nano"
CHUNK = 3200  # bytes: a tenth of a second
PAUSE = np.zeros(SAMPLE_RATE, np.float32)


@pytest.fixture(scope="module")
def spoken() -> list[tuple[Samples, str]]:
    """The short samples with what is said in them."""
    return [
        (decode(file.read_bytes(), max_seconds=60), file.with_suffix(".txt").read_text().strip())
        for file in sorted((NANO / "samples").glob("[1-5]_*.wav"))
    ]


@pytest.fixture
def shipped(tmp_path: Path) -> Registry:
    """The shipped models of speech and translation."""
    registry = read_registry(NANO / "switchboard.toml", Settings(data=tmp_path))
    wanted = [model for model in registry.models if model.task in ("transcription", "translation")]
    return replace(registry, models=tuple(replace(model, preload=False) for model in wanted))


@pytest.fixture
async def door(shipped: Registry, tmp_path: Path) -> AsyncIterator[World]:
    """The door in front of them."""
    async with world(shipped, backends.create, data=tmp_path) as door:
        yield door


def pcm(*samples: Samples) -> bytes:
    """As 16-bit samples."""
    return (np.concatenate(samples) * 32767).astype("<i2").tobytes()


async def speak(client: Client, audio: bytes, seconds: float = 0, **start: Json) -> None:
    """Send audio in pieces, one every `seconds`, from asr.start to asr.stop."""
    await client.say("asr.start", {"format": "pcm16", **start}, id="start")
    for begin in range(0, len(audio), CHUNK):
        await client.ws.send_bytes(audio[begin : begin + CHUNK])
        await asyncio.sleep(seconds)
    await client.say("asr.stop")


async def captions(client: Client) -> list[Message]:
    """What comes of the stream until it has stopped."""
    begin = len(client.heard)
    await client.until("asr.stopped")
    return [message for message in client.heard[begin:] if "stream_id" in message["data"]]


def texts(messages: list[Message], kind: str) -> list[str]:
    return [message["data"]["text"] for message in messages if message["t"] == kind]


async def test_what_is_said_is_captioned(door: World, spoken: list[tuple[Samples, str]]) -> None:
    audio = pcm(*(part for samples, _ in spoken for part in (samples, PAUSE)))
    async with door.greeted(await door.session()) as client:
        await speak(client, audio)
        heard = await captions(client)
    finals = texts(heard, "asr.final")
    right = [final == text for final, (_, text) in zip(finals, spoken, strict=True)]
    assert right.count(True) >= 4, (
        finals
    )  # the model is small, and hears them with more silence around than in its tests
    started, stopped = heard[0]["data"], heard[-1]["data"]
    assert started["model_id"] == "nano-whisper" and "target_language" not in started
    assert stopped["reason"] == "stopped" and abs(stopped["seconds"] - len(audio) / 32000) < 0.1
    begin = 0.0
    for message, (samples, _) in zip((m for m in heard if m["t"] == "asr.final"), spoken, strict=True):
        final = message["data"]
        end = begin + len(samples) / SAMPLE_RATE
        assert begin - 0.4 <= final["start"] < final["end"] <= end + 0.4
        assert " ".join(word["text"] for word in final["words"]) == final["text"]
        times = [time for word in final["words"] for time in (word["start"], word["end"])]
        assert times == sorted(times) and final["start"] <= times[0] and times[-1] <= final["end"]
        begin = end + 1
    assert {message["data"]["stream_id"] for message in heard} == {started["stream_id"]}
    assert not texts(heard, "mt.final")


async def test_captions_grow_while_they_are_spoken(door: World, spoken: list[tuple[Samples, str]]) -> None:
    samples, text = spoken[0]
    async with door.greeted(await door.session()) as client:
        await speak(client, pcm(samples))  # the model loads
        await captions(client)
        speaking = asyncio.create_task(speak(client, pcm(samples, PAUSE), 0.1))
        heard = await captions(client)
        await speaking
    partials = [message for message in heard if message["t"] == "asr.partial"]
    assert len(partials) >= 2 and texts(heard, "asr.final") == [text]
    for message in partials:
        assert message["data"]["text"].startswith(message["data"]["stable"])
        assert message["data"]["segment_id"] == "seg_1"
    moments = [message["t_mono_ns"] for message in partials]
    assert all(after - before >= 0.49e9 for before, after in pairwise(moments))
    final = next(message for message in heard if message["t"] == "asr.final")
    assert final["t_mono_ns"] < heard[-1]["t_mono_ns"] and final["data"]["segment_id"] == "seg_1"


@pytest.mark.parametrize("piece", [1 << 20, 1000, 97])
async def test_webm_as_browsers_record_it(door: World, spoken: list[tuple[Samples, str]], piece: int) -> None:
    samples, text = spoken[0]
    file = encode("webm", np.concatenate([samples, PAUSE]))
    async with door.greeted(await door.session()) as client:
        await client.say("asr.start", {"format": "webm"})
        for begin in range(0, len(file), piece):
            await client.ws.send_bytes(file[begin : begin + piece])
        await client.say("asr.stop")
        heard = await captions(client)
    assert texts(heard, "asr.final") == [text]
    assert "sample_rate" not in heard[0]["data"] and abs(heard[-1]["data"]["seconds"] - len(samples) / 16000 - 1) < 0.1


async def test_finals_are_translated_into_the_target_language(door: World) -> None:
    audio = decode((NANO / "samples" / "6_long.wav").read_bytes(), max_seconds=60)
    config: dict[str, Json] = {"asr": {"language": "en"}, "mt": {"target_language": "fr"}}
    sid = await door.session(config)
    async with door.greeted(sid) as client:
        await speak(client, pcm(audio))
        heard = await captions(client)
        assert heard[0]["data"]["target_language"] == "fr" and heard[0]["data"]["language"] == "en"
        finals, translated = texts(heard, "asr.final"), [m["data"] for m in heard if m["t"] == "mt.final"]
        assert len(finals) == len(translated) == 5 and "My name is James and I live in Tokyo." in finals
        for one, text in zip(translated, finals, strict=True):
            assert (one["source_language"], one["target_language"]) == ("en", "fr")
            body = {"task": "translation_en_to_fr", "inputs": text}
            async with door.http.post(f"{door.url}/infer", json=body, headers={"X-Session-Id": sid}) as answer:
                assert (await answer.json())["result"][0]["translation_text"] == one["text"]
        await speak(client, pcm(audio[: 4 * SAMPLE_RATE]), translate=False)
        assert not texts(await captions(client), "mt.final")


async def test_a_change_of_the_configuration_holds_for_the_next_utterance(
    door: World, spoken: list[tuple[Samples, str]]
) -> None:
    sid = await door.session()
    async with door.greeted(sid) as client:
        await client.say("asr.start", {"format": "pcm16"})
        await client.ws.send_bytes(pcm(spoken[0][0], PAUSE))
        await client.until("asr.final")
        change = {"mt": {"target_language": "es"}}
        async with door.http.put(f"{door.url}/api/sessions/{sid}/models/config", json=change) as answer:
            assert answer.status == 200
        await client.ws.send_bytes(pcm(spoken[1][0], PAUSE))
        assert (await client.until("mt.final"))["data"]["target_language"] == "es"


async def test_all_sockets_of_the_session_hear_and_whoever_comes_back_reads_on(
    door: World, spoken: list[tuple[Samples, str]]
) -> None:
    sid = await door.session()
    async with door.greeted(sid) as speaker:
        async with door.greeted(sid) as reader:
            await speaker.say("asr.start", {"format": "pcm16"})
            read = (await reader.until("asr.started"))["seq"]
        await speaker.ws.send_bytes(pcm(spoken[0][0], PAUSE))
        await speaker.until("asr.final")
        await speaker.say("asr.stop")
        await speaker.until("asr.stopped")
        async with door.greeted(sid, after=read) as reader, door.greeted() as everywhere:
            await reader.until("asr.stopped")
            assert texts(reader.heard, "asr.final") == [spoken[0][1]]
            await everywhere.say("session.heartbeat", id="nothing")
            assert (await everywhere.ws.receive_json())["corr"] == "nothing"


async def test_what_was_heard_becomes_final_when_the_server_leaves(
    door: World, spoken: list[tuple[Samples, str]]
) -> None:
    samples, text = spoken[0]
    async with door.greeted(await door.session()) as client:
        await client.say("asr.start", {"format": "pcm16"})
        await client.ws.send_bytes(pcm(samples))
        await client.until("asr.partial")
        draining = asyncio.create_task(door.app[TRAFFIC].drain(20))
        heard = await captions(client)
        assert texts(heard, "asr.final") == [text] and await client.closed() == 1001
        assert await draining


async def test_silence_and_noise_are_no_captions(door: World) -> None:
    noise = np.random.default_rng(7).normal(0, 0.02, 3 * SAMPLE_RATE).astype(np.float32)
    async with door.greeted(await door.session()) as client:
        await speak(client, pcm(PAUSE, noise, PAUSE) + b"\x00")
        heard = await captions(client)
    assert [message["t"] for message in heard] == ["asr.started", "asr.stopped"]
