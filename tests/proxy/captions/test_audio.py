"""Audio on its way: as it comes, whatever it is cut into, and no further than anybody listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from faster_whisper.vad import get_vad_model
from hypothesis import given, settings
from hypothesis import strategies as st

import backends
from backends.errors import MediaRefused
from backends.inprocess.audio import SAMPLE_RATE, Samples, decode
from backends.inprocess.executor import Executor
from proxy.captions import audio
from proxy.captions.audio import Inlet, pcm, wav, webm
from proxy.captions.detector import STEP, Detector
from tests.backends.whisper.containers import encode

SAMPLES = Path(backends.__file__).parent / "nano" / "samples"


@pytest.fixture(scope="module")
def spoken() -> Samples:
    """Three seconds of speech."""
    return decode((SAMPLES / "1_en-us.wav").read_bytes(), max_seconds=9)


@pytest.fixture
async def threads() -> AsyncIterator[Executor]:
    """One thread, closed in the end."""
    threads = Executor("test")
    yield threads
    await threads.close()


@settings(max_examples=50)
@given(st.binary(max_size=200), st.lists(st.integers(0, 7), max_size=80))
def test_pcm_may_be_cut_anywhere(data: bytes, sizes: list[int]) -> None:
    async def read() -> list[float]:
        inlet = Inlet()
        at = 0
        for size in [*sizes, len(data)]:
            await inlet.put(data[at : at + size])
            at += size
        inlet.end()
        return [float(sample) for samples in [block async for block in pcm(inlet)] for sample in samples]

    assert asyncio.run(read()) == [value / 32768 for value in np.frombuffer(data[: len(data) // 2 * 2], "<i2")]


def test_samples_survive_their_file(spoken: Samples) -> None:
    assert np.abs(decode(wav(spoken), max_seconds=9) - spoken).max() < 1e-3
    assert np.abs(decode(wav(spoken * 10), max_seconds=9)).max() <= 1


async def test_webm_is_heard_while_it_comes(spoken: Samples, threads: Executor) -> None:
    file = await asyncio.to_thread(encode, "webm", spoken)
    inlet = Inlet()
    blocks = webm(inlet, threads)
    await inlet.put(file[: len(file) // 2])
    heard = 0
    while heard < 0.3 * len(spoken):  # of a half, whose rest is still to come
        heard += len(await asyncio.wait_for(anext(blocks), 20))
    await inlet.put(file[len(file) // 2 :])
    inlet.end()
    async for block in blocks:
        heard += len(block)
    assert abs(heard - len(spoken)) < 0.1 * SAMPLE_RATE


async def test_a_thread_that_waits_for_data_is_let_go(spoken: Samples, threads: Executor) -> None:
    file = await asyncio.to_thread(encode, "webm", spoken)
    inlet = Inlet()
    await inlet.put(file[:2000])
    blocks = webm(inlet, threads)
    await anext(blocks)

    async def read() -> None:
        async for _ in blocks:
            pass

    reading = asyncio.create_task(read())
    _, waits = await asyncio.wait({reading}, timeout=0.5)
    assert waits
    reading.cancel()
    await asyncio.wait({reading}, timeout=5)
    await asyncio.wait_for(blocks.aclose(), 5)
    assert await asyncio.wait_for(threads.call(lambda: "free"), 5) == "free"


async def test_bytes_without_sound_are_counted(
    spoken: Samples, threads: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio, "UNHEARD_BYTES", 1000)
    inlet = Inlet()
    await inlet.put(
        b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff\xec\x01\x00\x00\x00\x00\x40\x00\x00"
    )
    await inlet.put(bytes(5000))
    inlet.end()
    with pytest.raises(MediaRefused):
        _ = [block async for block in webm(inlet, threads)]


def test_the_detector_hears_in_pieces_what_it_hears_at_once(spoken: Samples) -> None:
    whole = spoken[: len(spoken) // STEP * STEP]
    at_once = np.ravel(get_vad_model()(whole.copy()))
    detector, pieces = Detector(), []
    for begin in range(0, len(whole), 3 * STEP):
        pieces += detector.probabilities(whole[begin : begin + 3 * STEP])
    # Its own caller silences the context of its last step.
    assert np.abs(np.array(pieces) - at_once)[:-1].max() < 1e-5 and len(pieces) == len(at_once)
