"""The clients that the contract prints, as they stand there but for the host, against the server in a process of its own."""

from __future__ import annotations

import ast
import asyncio
import json
import sys
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from backends.types import Segment, Speech, Transcribe, Word
from tests.backends.pipelines import tiny
from tests.backends.pipelines.tiny import NANO, cached
from tests.command import Command, serving
from tests.support import ScriptedBackend, one_model, serve_app

PRINTED = Path(__file__).parent / "printed"
HOST = "http://<WINDOWS_IP>:8000"
SECONDS = 60


async def answer(name: str, url: str, directory: Path) -> Any:
    """What a printed client prints when it asks this server."""
    text = (PRINTED / name).read_text(encoding="utf-8")
    assert text.count(HOST) == 1
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", text.replace(HOST, url), cwd=directory, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(SECONDS):
        output, _ = await process.communicate()
    return ast.literal_eval(output.decode())


@pytest.fixture
def isolation() -> str:
    """Where models run."""
    return "thread"


@pytest.fixture
async def door(tmp_path: Path, isolation: str) -> AsyncIterator[Command]:
    """A server without a configuration, whose cache (HF_HOME) has two models that nobody named."""
    home = await asyncio.to_thread(
        cached,
        tmp_path / "home",
        distilbert_base_uncased_finetuned_sst_2_english=tiny.distilbert,
        openai__whisper_small=NANO / "whisper",
    )
    config = tmp_path / "switchboard.toml"
    config.write_text("")
    async with serving(
        HF_HOME=str(home),
        SWITCHBOARD_CONFIG=str(config),
        SWITCHBOARD_DATA=str(tmp_path / "data"),
        SWITCHBOARD_ISOLATION=isolation,
        LX_DEVICE="cpu",
    ) as command:
        yield command


@pytest.mark.parametrize("isolation", ["thread", "process"])
async def test_infer(door: Command, tmp_path: Path) -> None:
    body = await answer("infer.py.txt", door.url, tmp_path)
    (found,) = body["result"]
    assert list(body) == ["result"]
    assert found["label"] in ("POSITIVE", "NEGATIVE")
    assert 0.5 <= found["score"] <= 1


async def test_asr_takes_a_model_that_nobody_configured(door: Command) -> None:
    sample = (NANO / "samples" / "1_en-us.wav").read_bytes()
    async with (
        ClientSession() as session,
        session.post(
            f"{door.url}/asr?model=openai/whisper-small&return_timestamps=word", data={"file": BytesIO(sample)}
        ) as answer,
    ):
        body = await answer.json()
    assert (answer.status, body["result"]["text"]) == (200, " Maria bought the yellow box at the hotel.")
    assert body["result"]["chunks"][0] == {"text": " Maria", "timestamp": body["result"]["chunks"][0]["timestamp"]}


async def test_asr_takes_the_contracts_own_model_where_nobody_chose_one(door: Command) -> None:
    sample = (NANO / "samples" / "1_en-us.wav").read_bytes()
    async with ClientSession() as session, session.post(f"{door.url}/asr", data={"file": BytesIO(sample)}) as answer:
        body = await answer.json()
    assert (answer.status, body) == (200, {"result": {"text": " Maria bought the yellow box at the hotel."}})


async def test_asr_asks_for_what_the_client_says(tmp_path: Path) -> None:
    heard = Segment(
        id=0, seek=0, start=0.0, end=1.0, text="今日は", tokens=(1,), temperature=0.0, avg_logprob=-0.1,
        compression_ratio=1.0, no_speech_prob=0.0, words=(Word("今日", 0.0, 0.6, 0.9), Word("は", 0.6, 1.0, 0.9)),
    )  # fmt: skip
    backend = ScriptedBackend(lambda _: (Speech("ja", 1.0), heard))
    (tmp_path / "sample.wav").write_bytes(b"RIFF")
    async with serve_app(one_model("another", "transcription"), backend.create) as url:
        body = await answer("asr.py.txt", url, tmp_path)
    chunks = [{"text": "今日", "timestamp": [0.0, 0.6]}, {"text": "は", "timestamp": [0.6, 1.0]}]
    assert body == {"result": {"text": "今日は", "chunks": chunks}}
    assert backend.requests == [Transcribe(audio=b"RIFF", language="ja", words=True)]


async def test_errors_have_the_contracts_shape(door: Command) -> None:
    wrong: list[tuple[dict[str, object], int]] = [
        ({"task": "sing", "model": "a/b", "inputs": "x"}, 400),
        ({"task": "fill-mask", "model": "../etc", "inputs": "x"}, 404),
        ({"task": "fill-mask", "inputs": "x"}, 400),
        ({"model": "a/b", "inputs": "x"}, 400),
        ({"task": "fill-mask", "model": "distilbert-base-uncased-finetuned-sst-2-english", "inputs": "x"}, 400),
        ({"task": "text-classification", "model": "org/not-here", "inputs": "x"}, 404),
        ({"task": "text-classification", "model": "a/b", "inputs": "x", "params": {"device": 0}}, 400),
    ]
    async with ClientSession() as session:
        for body, status in wrong:
            async with session.post(f"{door.url}/infer", json=body) as answer:
                refusal = json.loads(await answer.read())
            assert (answer.status, list(refusal), type(refusal["detail"])) == (status, ["detail"], str), refusal
