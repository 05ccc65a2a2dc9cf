"""The examples of docs/websocket.md, run as they stand there, and its tables held to what is sent."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import fields, replace
from pathlib import Path

import pytest

import backends
from backends.inprocess.audio import decode
from proxy.events import values
from proxy.events.values import Event
from proxy.registry.config import read_registry
from proxy.registry.models import Registry
from proxy.settings import Settings
from tests.backends.whisper.containers import encode
from tests.proxy.contracts.models.socket_client import World, world

ROOT = Path(backends.__file__).parents[1]
GUIDE = (ROOT / "docs" / "websocket.md").read_text(encoding="utf-8")
FENCED = re.findall(r"^```(\w*)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
PYTHON, ANSWER, JAVASCRIPT = (block for _, block in FENCED)
KINDS = [
    kind
    for kind in vars(values).values()
    if isinstance(kind, type) and issubclass(kind, Event) and "kind" in vars(kind)
]

# What a browser has and Node.js has not: a microphone and a recorder, which here record a file.
MICROPHONE = """
import { readFileSync } from 'node:fs'
const [, , server, session, key, file] = process.argv
Object.defineProperty(globalThis, 'navigator', { value: { mediaDevices: { getUserMedia: async () => 'microphone' } } })
globalThis.MediaRecorder = class {
  constructor(stream, options) { if (stream !== 'microphone' || !options.mimeType.includes('opus')) throw Error() }
  start(milliseconds) {
    const audio = readFileSync(file)
    for (let at = 0; at < audio.length; at += 4000) this.ondataavailable({ data: audio.subarray(at, at + 4000) })
    setTimeout(stop, milliseconds)
  }
  stop() { this.onstop() }
}
const stop = await caption(server, session, key, (event) => {
  if (event.t === 'asr.final' || event.t === 'error') console.log(event.data.text ?? event.data.message)
})
"""


@pytest.fixture
def shipped(tmp_path: Path) -> Registry:
    registry = read_registry(ROOT / "backends" / "nano" / "switchboard.toml", Settings(data=tmp_path))
    wanted = [model for model in registry.models if model.task in ("transcription", "translation")]
    return replace(registry, models=tuple(replace(model, preload=False) for model in wanted))


@pytest.fixture
async def door(shipped: Registry, tmp_path: Path) -> AsyncIterator[World]:
    async with world(shipped, backends.create, data=tmp_path, api_keys="s3cret/+") as door:
        yield door


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, env={**os.environ}
    )
    async with asyncio.timeout(100):
        output, _ = await process.communicate()
    return output.decode()


async def test_the_python_example(shipped: Registry, tmp_path: Path) -> None:
    script = tmp_path / "captions.py"
    async with world(shipped, backends.create, data=tmp_path) as door:
        script.write_text(PYTHON.replace("http://127.0.0.1:8080", door.url))
        assert await run(sys.executable, str(script)) == ANSWER


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js here")
async def test_the_browsers_example(door: World, tmp_path: Path) -> None:
    sample = ROOT / "backends" / "nano" / "samples" / "1_en-us.wav"
    audio, script = tmp_path / "spoken.webm", tmp_path / "captions.mjs"
    audio.write_bytes(encode("webm", decode(sample.read_bytes(), max_seconds=9)))
    script.write_text(JAVASCRIPT + MICROPHONE)
    session = await door.session(key="s3cret/+")
    command = ("node", "--experimental-websocket", str(script), door.url, session, "s3cret/+", str(audio))
    assert await run(*command) == ANSWER


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_event_and_field_is_told(kind: type[Event]) -> None:
    lines = [line for line in GUIDE.splitlines() if line.startswith("|") and f"`{kind.kind}`" in line]
    told = set(re.findall(r"`(\w+)`", " ".join(lines)))
    if kind is values.Trouble:
        told |= set(re.findall(r"`(\w+)`", GUIDE))
    assert lines or kind is values.Trouble
    assert told >= {field.name for field in fields(kind)}
