"""The clients that the contract prints, as they stand there but for the host, against the shipped model in a process of its own."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.command import ROOT, serving

PRINTED = Path(__file__).parent / "printed"
HOST = "https://neptun-webui.vercel.app"
PROFILE = str(ROOT / "backends" / "nano" / "switchboard.toml")
QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."


def printed(name: str, url: str) -> str:
    """A client of the contract's, for this server."""
    text = (PRINTED / name).read_text(encoding="utf-8")
    assert text.count(HOST) == 1
    return text.replace(HOST, url)


def without_types(typescript: str) -> str:
    """The same as JavaScript: what TypeScript adds says nothing at run time."""
    return re.sub(r"(\w+|\)): (?:string|Message\[\]|Promise<void>)", r"\1", typescript)


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[str]:
    """What `make run` starts."""
    async with serving(SWITCHBOARD_CONFIG=PROFILE, SWITCHBOARD_DATA=str(tmp_path)) as command:
        yield command.url


async def run(*command: str) -> str:
    """What a command prints."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def kept(url: str, chat_id: str) -> list[tuple[str, str, bool]]:
    """The messages of a chat: role, content, whether complete."""
    async with (
        aiohttp.ClientSession(headers={"Authorization": "Bearer any"}) as http,
        http.get(f"{url}/api/ai/chats/{chat_id}") as answer,
    ):
        messages = (await answer.json())["messages"]
    return [(message["role"], message["content"], message["complete"]) for message in messages]


async def test_the_printed_clients_chat_with_the_shipped_model(door: str) -> None:
    await _python(door)
    await _curl(door)
    await _javascript(door)


async def _python(door: str) -> None:
    arguments = f'"any", "py", "local", "nano-chat", [Message(role="user", content={QUESTION!r})]'
    client = printed("client.py.txt", door) + f"\nasyncio.run(stream_chat_completion({arguments}))\n"
    assert await run(sys.executable, "-W", "ignore", "-c", client) == ANSWER
    assert await kept(door, "py") == [("user", QUESTION, True), ("assistant", ANSWER, True)]


async def _curl(door: str) -> None:
    """It names `meta/llama`, a name that the shipped model goes by."""
    answer = await run("sh", "-c", printed("client.sh", door).replace("curl ", "curl -sS "))
    assert answer
    assert await kept(door, "123") == [("user", "Hello, how are you?", True), ("assistant", answer, True)]


async def _javascript(door: str) -> None:
    if shutil.which("node") is None:
        pytest.skip("the third client is for Node.js, which is not installed")
    messages = json.dumps([{"role": "user", "content": QUESTION}])
    call = f'\nawait streamChatCompletion("any", "js", "local", "nano-chat", {messages});\n'
    client = without_types(printed("client.ts", door)) + call
    output = await run("node", "--input-type=module", "-e", client)
    assert output.replace("\n", "") == ANSWER, "it prints each piece in a line of its own"
    assert await kept(door, "js") == [("user", QUESTION, True), ("assistant", ANSWER, True)]
