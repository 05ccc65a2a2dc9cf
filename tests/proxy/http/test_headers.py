"""Headers that say one thing."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from proxy.errors import ApiError
from proxy.http.headers import said_once
from tests.engines.vllm_double import VllmDouble
from tests.faults.door import registry_of
from tests.support import serve_app

TWICE = [
    ("Authorization", "Bearer k", "Bearer other"),
    ("X-Switchboard-Priority", "low", "normal"),
    ("X-Switchboard-Retry", "safe", "safe"),
    ("Idempotency-Key", "one", "two"),
]


def test_what_is_said_once_is_heard() -> None:
    request = make_mocked_request("GET", "/", headers={"X-Word": "one"})
    assert said_once(request, "x-word") == "one"
    assert said_once(request, "X-Other") is None


def test_what_is_said_twice_is_refused_by_name() -> None:
    request = make_mocked_request("GET", "/", headers=CIMultiDict([("X-Word", "one"), ("x-word", "two")]))
    with pytest.raises(ApiError, match="Invalid `X-Word`: it is said several times; say it once") as refused:
        said_once(request, "X-Word")
    assert refused.value.status == 400


@pytest.mark.parametrize(("name", "first", "second"), TWICE)
async def test_the_door_does_not_choose_between_two_words(name: str, first: str, second: str) -> None:
    async with VllmDouble("m") as engine, aiohttp.ClientSession() as http:
        async with serve_app(registry_of(engine.url)) as door:
            headers = CIMultiDict([(name, first), (name, second)])
            body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
            async with http.post(f"{door}/v1/chat/completions", json=body, headers=headers) as answer:
                assert answer.status == 400
                assert (await answer.json())["error"]["param"] == name
        assert not engine.requests
