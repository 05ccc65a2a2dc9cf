"""The clients of a contest: every job once, so many at a time, and nothing that went wrong passes for an answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field

import pytest
from aiohttp import web

from tests.bench.crowd import Answers, Job, ask_all, dump_jobs, read_answers, read_jobs
from tests.bench.runs import free_port
from tests.support import serve_running

JOBS = [Job("text/plain", f"{number}".encode()) for number in range(6)]


@dataclass
class Echo:
    """A server that holds each request until as many as it waits for are there. most: how many were there at once."""

    waits_for: int = 1
    most: int = 0
    here: int = 0
    full: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.Response:
        self.here += 1
        self.most = max(self.most, self.here)
        if self.here >= self.waits_for:
            self.full.set()
        await self.full.wait()
        self.here -= 1
        body = await request.text()
        if body == "3":
            return web.Response(status=500, text="no threes")
        if body == "4":
            return web.Response(text="not JSON")
        return web.json_response({"text": body, "kind": request.content_type})


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def url(echo: Echo) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/", echo.answer)
    async with serve_running(app) as url:
        yield url


async def test_every_job_is_answered_in_its_place_and_failures_say_so(url: str) -> None:
    found = (await ask_all(url, 2, JOBS)).answers
    assert [answer.value for answer in found if not answer.error] == [
        {"text": text, "kind": "text/plain"} for text in "0125"
    ]
    assert found[3].error == "500: no threes"
    assert "JSONDecodeError" in found[4].error


@pytest.mark.parametrize("clients", [1, 3])
async def test_as_many_at_once_as_there_are_clients(url: str, echo: Echo, clients: int) -> None:
    echo.waits_for = clients
    await ask_all(url, clients, JOBS[:3])
    assert echo.most == clients


async def test_nobody_there() -> None:
    (answer,) = (await ask_all(f"http://127.0.0.1:{free_port()}", 1, JOBS[:1])).answers
    assert "ClientConnectorError" in answer.error


async def test_jobs_and_answers_pass_between_processes_unchanged(url: str) -> None:
    assert read_jobs(dump_jobs([Job("a/b", b"\x00\xff")])) == [Job("a/b", b"\x00\xff")]
    found: Answers = await ask_all(url, 2, JOBS)
    assert read_answers(json.dumps(asdict(found))) == found
