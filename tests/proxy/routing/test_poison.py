"""Which requests are held to have killed engines."""

from __future__ import annotations

import aiohttp
import pytest

import backends.tgi.backend  # noqa: F401  imported here, where no loop waits for it
from backends.base import EngineSpec, ModelSpec
from backends.types import Chat
from proxy.errors import ApiError
from proxy.registry.models import ModelEntry, Registry
from proxy.routing.poison import FORGOTTEN, WITHIN, Asked, Poison
from tests.engines.tgi_double import TgiDouble
from tests.support import serve_app


def kill(poison: Poison, replica: str, *requests: Asked, now: float = 0.0) -> None:
    for request in requests:
        poison.broke(replica, request, now)
    poison.died(replica, now)


def test_the_third_time_is_refused() -> None:
    poison = Poison()
    kill(poison, "a", b"deadly", b"harmless")
    poison.refuse(b"deadly", 1.0)
    poison.cleared(b"harmless")
    kill(poison, "b", b"deadly", b"another")
    with pytest.raises(ApiError, match="taken again in 10 minutes") as refused:
        poison.refuse(b"deadly", 2.0)
    assert refused.value.status == 422
    for other in (b"harmless", b"another"):
        poison.refuse(other, 2.0)


def test_who_was_never_there_is_never_held_for_it() -> None:
    poison = Poison()
    poison.broke("a", b"long ago", 0.0)
    assert poison.awaits("a", WITHIN)
    assert not poison.awaits("a", WITHIN + 1)
    poison.died("a", WITHIN + 1)
    poison.died("b", WITHIN + 1)
    assert not poison.active


def test_one_death_counts_once() -> None:
    poison = Poison()
    kill(poison, "a", b"deadly")
    poison.died("a", 0.1)
    poison.refuse(b"deadly", 0.2)


def test_it_is_forgotten_when_nobody_died_for_long() -> None:
    poison = Poison()
    for replica in "ab":
        kill(poison, replica, b"deadly")
    poison.refuse(b"deadly", FORGOTTEN + 1)
    assert not poison.active


def test_a_request_without_a_body_of_its_own_is_known_by_what_it_asks() -> None:
    poison = Poison()
    for replica in "ab":
        kill(poison, replica, ("m", Chat(messages=({"role": "user", "content": "deadly"},))))
    with pytest.raises(ApiError):
        poison.refuse(("m", Chat(messages=({"role": "user", "content": "deadly"},))), 1.0)
    poison.refuse(("m", Chat(messages=({"role": "user", "content": "harmless"},))), 1.0)
    poison.refuse(("other model", Chat(messages=({"role": "user", "content": "deadly"},))), 1.0)


async def test_what_one_model_dies_of_another_may_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Asked] = []
    monkeypatch.setattr(Poison, "refuse", lambda _, request, now: asked.append(request))
    async with TgiDouble() as engine, aiohttp.ClientSession() as http:
        models = tuple(
            ModelEntry(name=name, engine="tgi", spec=ModelSpec(source="served", name=name), task="text")
            for name in ("one", "two")
        )
        engines = {"tgi": EngineSpec(name="tgi", kind="tgi", urls=(engine.url,))}
        async with serve_app(Registry(engines=engines, models=models)) as door:
            for name in ("one", "two", "two"):
                body = {"model": name, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 3}
                async with http.post(f"{door}/v1/chat/completions", json=body) as answer:
                    assert answer.status == 200
    assert asked[0] != asked[1] == asked[2]
