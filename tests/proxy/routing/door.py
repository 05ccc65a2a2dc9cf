"""A door in front of some engines, to be asked while they die, hang and come back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import ClientSession

from backends.base import EngineSpec, HealthRules, ModelSpec, Timeouts
from proxy.app import build_app
from proxy.keys import DISPATCHER
from proxy.registry.models import ModelEntry, Registry
from proxy.routing.replica import Replica
from proxy.serve import make_runner
from proxy.settings import Settings
from tests.support import serve_running

SOON = Timeouts(connect=1, first_byte=0.5, idle=0.5)
RULES = HealthRules(failures=3, first_pause=0.2, longest_pause=0.2, check=0.1)
STREAM = {"stream": True, "max_tokens": 40}


class Door:
    """The door in front of some engines, and what it knows of them."""

    def __init__(self, url: str, replicas: list[Replica]) -> None:
        self.url = url
        self.replicas = replicas
        self.headers: dict[str, str] = {}

    async def ask(self, **fields: object) -> tuple[int, str, dict[str, str]]:
        """A chat: status, body, headers."""
        body = {"model": "m", "messages": [{"role": "user", "content": "hello"}], **fields}
        async with (
            ClientSession() as session,
            session.post(f"{self.url}/v1/chat/completions", json=body, headers=self.headers) as answer,
        ):
            return answer.status, await answer.text(), dict(answer.headers)

    async def statuses(self, count: int, **fields: object) -> list[int]:
        """Of requests one after the other."""
        return [(await self.ask(**fields))[0] for _ in range(count)]


@asynccontextmanager
async def door(
    *urls: str,
    rules: HealthRules = RULES,
    timeouts: Timeouts = SOON,
    aliases: tuple[str, ...] = (),
    kind: str = "vllm",
    hedge_ms: float = 0.0,
) -> AsyncIterator[Door]:
    """A model `m` that the engine `gpu` serves as `served`, at these URLs."""
    spec = EngineSpec(name="gpu", kind=kind, urls=urls, timeouts=timeouts, health=rules, hedge_ms=hedge_ms)
    entry = ModelEntry(name="m", engine="gpu", spec=ModelSpec(source="served", name="m"), task="text", aliases=aliases)
    app = build_app(Settings(), Registry(engines={"gpu": spec}, models=(entry,)))
    async with serve_running(app, make_runner(app)) as url:
        yield Door(url, [*app[DISPATCHER].fleet.replicas("gpu")])
