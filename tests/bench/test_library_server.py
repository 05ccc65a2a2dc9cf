"""The least server: whatever waits is answered in order, as much at a time as the library takes; its faults reach the client."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.bench.crowd import Job, ask_all
from tests.bench.library_server import Library, Waiting, answer_all, build
from tests.support import serve_running

JOBS = [Job("text/plain", f"{number}".encode()) for number in range(5)]
DOUBLED = [f"{number}" * 2 for number in range(5)]


def doubled(bodies: Sequence[bytes]) -> list[str]:
    if b"bad" in bodies:
        raise ValueError("a bad one")
    return [body.decode() * 2 for body in bodies]


@pytest.mark.parametrize(("most", "taken"), [(1, [1] * 5), (2, [2, 2, 1]), (16, [5])])
async def test_a_library_takes_what_waits(most: int, taken: list[int]) -> None:
    calls: list[int] = []

    def answer(bodies: Sequence[bytes]) -> list[str]:
        calls.append(len(bodies))
        return doubled(bodies)

    waiting: asyncio.Queue[Waiting] = asyncio.Queue()
    texts: list[asyncio.Future[str]] = [asyncio.get_running_loop().create_future() for _ in JOBS]
    for job, text in zip(JOBS, texts, strict=True):
        waiting.put_nowait((job.body, text))
    with ThreadPoolExecutor(1) as thread:
        worker = asyncio.create_task(answer_all(Library(answer, most), waiting, thread))
        assert await asyncio.gather(*texts) == DOUBLED
        worker.cancel()
    assert calls == taken


async def test_over_http_and_after_a_fault() -> None:
    async with serve_running(build(Library(doubled))) as url:
        bad, *rest = (await ask_all(url, 1, [Job("text/plain", b"bad"), *JOBS])).answers
    assert bad.error.startswith("500")
    assert [answer.value for answer in rest] == [{"text": text} for text in DOUBLED]
