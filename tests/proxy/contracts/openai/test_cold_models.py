"""Models of this process that load while a stream waits: told by comments, as for engines that start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from backends.base import ModelSpec, Progress, Report
from backends.errors import Broken
from backends.types import Delta, Finish, Usage
from proxy.http import waiting
from tests.support import ScriptedBackend, one_model, serve_app

BODY = {"model": "chat", "messages": [{"role": "user", "content": "hello"}], "stream": True}


class SlowBackend(ScriptedBackend):
    """Loads for a while, half of which it reports; or fails at it."""

    seconds = 0.5
    fails = False

    async def load(self, model: ModelSpec, report: Report) -> None:
        report(Progress("load", 1, 2))
        await asyncio.sleep(self.seconds)
        if self.fails:
            raise Broken("The weights are damaged.")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FIRST_SECONDS", 0.1)
    monkeypatch.setattr(waiting, "EVERY_SECONDS", 0.1)


@asynccontextmanager
async def asked(backend: SlowBackend, **settings: float) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer to a streamed chat."""
    registry = one_model("chat", "text", kind="transformers")
    wait = settings.get("wait", 60.0)
    async with (
        serve_app(registry, backend.create, load_wait_seconds=wait) as url,
        aiohttp.ClientSession() as http,
        http.post(f"{url}/v1/chat/completions", json=BODY) as answer,
    ):
        yield answer


def backend(**facts: object) -> SlowBackend:
    made = SlowBackend(lambda _: [Delta(0, "hi"), Finish(0, "stop"), Usage(1, 1)])
    for name, value in facts.items():
        setattr(made, name, value)
    return made


async def lines(answer: aiohttp.ClientResponse) -> list[str]:
    return [text async for line in answer.content if (text := line.decode().strip())]


async def test_a_stream_is_told_how_far_the_load_is_and_outlasts_the_usual_wait() -> None:
    async with asked(backend(), wait=0.2) as answer:
        seen = await lines(answer)
    comments = [line for line in seen if line.startswith(":")]
    assert len(comments) >= 3
    assert set(comments) == {": loading 49 %"}
    assert seen[-1] == "data: [DONE]"
    assert '"content":"hi"' in "".join(seen)


async def test_a_load_that_fails_after_the_first_comment_is_an_error_in_the_stream() -> None:
    async with asked(backend(fails=True)) as answer:
        assert answer.status == 200
        seen = await lines(answer)
    assert seen[0].startswith(": loading")
    assert '"message":"The weights are damaged."' in seen[-1]


async def test_one_that_fails_before_is_a_status() -> None:
    async with asked(backend(fails=True, seconds=0.0)) as answer:
        assert answer.status == 502
        assert (await answer.json())["error"]["message"] == "The weights are damaged."
