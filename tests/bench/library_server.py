"""The least server that a library can have: one thread that answers what waits, in order, as much at once as it takes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Library:
    """answer: a text for each body; most: how many bodies it takes at a time."""

    answer: Callable[[Sequence[bytes]], Sequence[str]]
    most: int = 1


Waiting = tuple[bytes, asyncio.Future[str]]


def build(library: Library) -> web.Application:
    """POST / with a body answers {"text": ...}."""
    waiting: asyncio.Queue[Waiting] = asyncio.Queue()

    async def work(_: web.Application) -> AsyncIterator[None]:
        with ThreadPoolExecutor(1) as thread:
            worker = asyncio.create_task(answer_all(library, waiting, thread))
            yield
            worker.cancel()

    async def answer(request: web.Request) -> web.Response:
        text: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        waiting.put_nowait((await request.read(), text))
        return web.json_response({"text": await text})

    async def health(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application(client_max_size=1 << 26)
    app.cleanup_ctx.append(work)
    app.add_routes([web.get("/health", health), web.post("/", answer)])
    return app


async def answer_all(library: Library, waiting: asyncio.Queue[Waiting], thread: ThreadPoolExecutor) -> None:
    """Answer what waits, for ever; a call of the library that fails fails for all whose bodies it took."""
    loop = asyncio.get_running_loop()
    while True:
        taken = [await waiting.get()]
        while len(taken) < library.most and not waiting.empty():
            taken.append(waiting.get_nowait())
        try:
            texts = await loop.run_in_executor(thread, library.answer, [body for body, _ in taken])
        except Exception as error:
            for _, text in taken:
                text.set_exception(error)
        else:
            for (_, text), found in zip(taken, texts, strict=True):
                text.set_result(found)


def main(libraries: Mapping[str, Callable[[str], Library]]) -> None:
    """Serve until killed. Command line: which of the libraries, a port, the directory of its model."""
    name, port, directory = sys.argv[1:]
    app = build(libraries[name](directory))
    web.run_app(app, host="127.0.0.1", port=int(port), access_log=None, print=None)
