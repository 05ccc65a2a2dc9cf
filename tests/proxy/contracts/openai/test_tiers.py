"""`service_tier` decides whose turn it is; what it may say is OpenAI's list, and no key gets more than it has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest

from proxy.caller import ApiKey, Caller, Priority, digest
from proxy.contracts.openai.tiers import TIERS
from proxy.http.auth import PRIORITY
from proxy.observability.call import Call
from proxy.registry.models import ModelEntry
from proxy.routing.admission import Admission, Slot
from tests.engines.vllm_double import VllmDouble
from tests.proxy.contracts.openai.conftest import remote
from tests.support import serve_app

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "x"}]}
KEYS = {
    name: ApiKey(Caller(name, priority, priority), digest(name))
    for name, priority in (("high", Priority.HIGH), ("normal", Priority.NORMAL), ("low", Priority.LOW))
}


@pytest.fixture
async def keyed(engine: VllmDouble) -> AsyncIterator[str]:
    registry = remote("vllm", engine.url, engine.model)
    async with serve_app(replace(registry, keys=KEYS)) as url:
        yield url


@pytest.mark.parametrize(
    ("key", "tier", "header", "priority"),
    [
        ("high", None, None, Priority.HIGH),
        ("high", "auto", None, Priority.HIGH),
        ("high", "scale", None, Priority.HIGH),
        ("high", "default", None, Priority.NORMAL),
        ("high", "flex", None, Priority.LOW),
        ("high", "flex", "normal", Priority.NORMAL),
        ("normal", "priority", None, Priority.NORMAL),
        ("low", "fast", None, Priority.LOW),
        ("low", "default", None, Priority.LOW),
    ],
)
async def test_a_tier_is_a_priority(
    keyed: str,
    http: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    key: str,
    tier: str | None,
    header: str | None,
    priority: Priority,
) -> None:
    seen: list[Priority] = []

    def noting(self: Admission, entry: ModelEntry, call: Call) -> Slot:
        seen.append(call.caller.priority)
        return admit(self, entry, call)

    admit = Admission.admit
    monkeypatch.setattr(Admission, "admit", noting)
    headers = {"Authorization": f"Bearer {key}", **({PRIORITY: header} if header else {})}
    body = {**CHAT, "service_tier": tier}
    async with http.post(f"{keyed}/v1/chat/completions", json=body, headers=headers) as answer:
        assert answer.status == 200
    assert seen == [priority]


@pytest.mark.parametrize("tier", ["turbo", "", "AUTO", 1, True, [], ["flex"], {}])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_a_tier_that_nobody_knows_is_refused(
    door: str, http: aiohttp.ClientSession, path: str, tier: object
) -> None:
    body = {**CHAT, "prompt": "x", "service_tier": tier}
    async with http.post(door + path, json=body) as answer:
        assert answer.status == 400
        error = (await answer.json())["error"]
    assert error["param"] == "service_tier"
    assert all(word in error["message"] for word in TIERS if isinstance(word, str))
