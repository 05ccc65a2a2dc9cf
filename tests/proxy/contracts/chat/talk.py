"""What tests of chats talk with: an engine that says what it is told to, a question, and a look at what was kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import aiohttp

from backends.base import ModelSpec
from backends.types import Delta, Event, Finish, JsonObject, Request, Usage
from tests.support import ScriptedBackend

PATH = "/api/ai/huggingface/org/model/chat"


def ask(question: str = "Hello?") -> JsonObject:
    """A body."""
    return {"messages": [{"role": "user", "content": question}]}


async def messages(http: aiohttp.ClientSession, chat_id: str = "1") -> list[tuple[str, str, bool]]:
    """What is kept of a chat: role, content, whether complete."""
    async with http.get(f"/api/ai/chats/{chat_id}") as answer:
        assert answer.status == 200
        return [(each["role"], each["content"], each["complete"]) for each in (await answer.json())["messages"]]


@dataclass
class Engine(ScriptedBackend):
    """Says each piece when the test lets it. pieces: None = the answer's end, an exception = a failure."""

    pieces: asyncio.Queue[Event | Exception | None] = field(default_factory=asyncio.Queue)
    running: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def say(self, *pieces: str | Exception | None) -> None:
        for piece in pieces:
            self.pieces.put_nowait(Delta(0, piece) if isinstance(piece, str) else piece)

    async def run(self, model: ModelSpec, request: Request) -> AsyncGenerator[Event, None]:
        """Say what is queued."""
        self.requests.append(request)
        await self._count(1)
        try:
            while (piece := await self.pieces.get()) is not None:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
            yield Finish(0, "stop")
            yield Usage(3, 2)
        finally:
            await self._count(-1)

    async def runs(self, number: int, *, within: float = 5) -> None:
        """Wait until it answers so many requests. Raises TimeoutError."""
        async with asyncio.timeout(within), self.changed:
            await self.changed.wait_for(lambda: self.running == number)

    async def _count(self, change: int) -> None:
        async with self.changed:
            self.running += change
            self.changed.notify_all()
