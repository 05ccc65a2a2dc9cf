"""Another model steps in where one cannot serve, and the answer says so."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from aiohttp import ClientResponse, ClientSession
from hypothesis import given
from hypothesis import strategies as st

import backends.tgi.backend  # noqa: F401  imported here, where no loop waits for it
from backends.base import EngineSpec, ModelSpec
from backends.errors import BackendError, Broken, Invalid, NotCached, Overloaded, Rejected, TimedOut, Unavailable
from backends.types import JsonObject
from proxy.errors import ApiError, ErrorCode
from proxy.registry.models import ModelEntry, Registry
from proxy.routing.fallbacks import HEADER, gives_way
from proxy.routing.router import Router
from tests.backends.remote.rig import dead_port
from tests.engines.tgi_double import TgiDouble
from tests.engines.vllm_double import Fault, VllmDouble
from tests.support import serve_app

BODY: JsonObject = {"model": "big", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}


def registry(engines: Mapping[str, tuple[str, str]], **fallbacks: tuple[str, ...]) -> Registry:
    """One model an engine, of the same name. engines: name -> kind and URL."""
    return Registry(
        engines={name: EngineSpec(name=name, kind=kind, urls=(url,)) for name, (kind, url) in engines.items()},
        models=tuple(
            ModelEntry(
                name=name,
                engine=name,
                spec=ModelSpec(source="served", name=name),
                task="text",
                fallbacks=fallbacks.get(name, ()),
            )
            for name in engines
        ),
    )


async def ask(client: ClientSession, url: str, **fields: object) -> ClientResponse:
    """A chat with `big`, answered."""
    answer = await client.post(f"{url}/v1/chat/completions", json=BODY | fields)
    await answer.read()
    return answer


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_of_the_same_dialect_steps_in(stream: bool, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    with dead_port() as dead:
        async with VllmDouble("served") as small, ClientSession() as client:
            models = registry({"big": ("vllm", dead), "small": ("vllm", small.url)}, big=("small",))
            async with serve_app(models, log_format="json") as url:
                answer = await ask(client, url, stream=stream)

            assert answer.status == 200
            assert answer.headers[HEADER] == "small"
            assert len(small.requests) == 1
    line = next(line for line in capsysbinary.readouterr().out.splitlines() if b'"event":"request"' in line)
    told = json.loads(line)
    assert (told["model"], told["engine"], told["instead_of"]) == ("small", "small", "big")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_of_another_dialect_steps_in(stream: bool) -> None:
    with dead_port() as dead:
        async with TgiDouble() as small, ClientSession() as client:
            models = registry({"big": ("vllm", dead), "small": ("tgi", small.url)}, big=("small",))
            async with serve_app(models) as url:
                answer = await ask(client, url, stream=stream)

            assert answer.status == 200
            assert answer.headers[HEADER] == "small"
            assert b'"model":"small"' in await answer.read()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_steps_in_for_one_that_is_translated_for(stream: bool) -> None:
    with dead_port() as dead:
        async with VllmDouble("served") as small, ClientSession() as client:
            models = registry({"big": ("tgi", dead), "small": ("vllm", small.url)}, big=("small",))
            async with serve_app(models) as url:
                answer = await ask(client, url, stream=stream)

            assert answer.status == 200
            assert answer.headers[HEADER] == "small"


async def test_the_model_itself_serves_while_it_can_and_says_nothing_of_it() -> None:
    async with VllmDouble("served") as big, VllmDouble("served") as small, ClientSession() as client:
        models = registry({"big": ("vllm", big.url), "small": ("vllm", small.url)}, big=("small",))
        async with serve_app(models) as url:
            answer = await ask(client, url)

        assert HEADER not in answer.headers
        assert (len(big.requests), len(small.requests)) == (1, 0)


async def test_those_that_step_in_have_others_that_step_in_for_them() -> None:
    with dead_port() as dead:
        async with VllmDouble("served") as last, ClientSession() as client:
            models = registry(
                {"big": ("vllm", dead), "middle": ("tgi", dead), "last": ("vllm", last.url)},
                big=("middle",),
                middle=("last",),
            )
            async with serve_app(models) as url:
                assert (await ask(client, url)).headers[HEADER] == "last"


async def test_where_nobody_can_serve_the_answer_is_the_last_ones() -> None:
    with dead_port() as dead, dead_port() as other:
        models = registry({"big": ("vllm", dead), "small": ("tgi", other)}, big=("small",))
        async with serve_app(models) as url, ClientSession() as client:
            answer = await ask(client, url)

            assert answer.status == 503
            assert "Retry-After" in answer.headers
            assert "'small'" in (await answer.json())["error"]["message"]


async def test_a_full_engine_gives_way_and_one_that_has_begun_does_not() -> None:
    async with VllmDouble("served") as big, VllmDouble("served") as small, ClientSession() as client:
        models = registry({"big": ("vllm", big.url), "small": ("vllm", small.url)}, big=("small",))
        async with serve_app(models) as url:
            big.fail(Fault(kind="status", status=503))
            assert (await ask(client, url)).headers[HEADER] == "small"

            big.fail(Fault(kind="status", status=500))
            assert (await ask(client, url)).status in {500, 503}
        assert len(small.requests) <= 2


async def test_paths_that_only_engines_have_need_an_engine_that_has_them() -> None:
    with dead_port() as dead:
        async with TgiDouble() as tgi, VllmDouble("served") as vllm, ClientSession() as client:
            engines = {"big": ("vllm", dead), "small": ("tgi", tgi.url), "other": ("vllm", vllm.url)}
            body = {"model": "big", "prompt": "hello"}
            async with serve_app(registry(engines, big=("small",))) as url:
                answer = await client.post(f"{url}/tokenize", json=body)
                assert answer.status == 503
            async with serve_app(registry(engines, big=("other",))) as url:
                answer = await client.post(f"{url}/tokenize", json=body)
                assert answer.status == 200


# --------------------------------------------------------------------------- plain functions


def rejected(status: int) -> Rejected:
    """An engine's refusal."""
    return Rejected("no", status=status, body=b"", content_type="text/plain")


@pytest.mark.parametrize(
    ("failure", "anyway", "safe"),
    [
        (Unavailable("away"), True, True),
        (NotCached("not here"), True, True),
        (Overloaded("full"), True, True),
        (rejected(503), True, True),
        (ApiError(ErrorCode.UNAVAILABLE, "full"), True, True),
        (ApiError(ErrorCode.OVERLOADED, "you have too many"), False, False),
        (rejected(500), False, True),
        (TimedOut("silent"), False, True),
        (Broken("cut"), False, True),
        (rejected(400), False, False),
        (Invalid("wrong"), False, False),
        (ApiError(ErrorCode.INVALID, "wrong"), False, False),
    ],
)
def test_what_was_not_done_may_be_done_elsewhere(failure: BackendError | ApiError, anyway: bool, safe: bool) -> None:
    assert gives_way(failure, safe=False) is anyway
    assert gives_way(failure, safe=True) is safe


@given(st.dictionaries(st.sampled_from("abcd"), st.lists(st.sampled_from("abcdx"), max_size=4)))
def test_each_steps_in_once_even_where_they_go_round(steps: dict[str, list[str]]) -> None:
    engines = dict.fromkeys("abcd", ("vllm", "http://127.0.0.1:9"))
    models = registry(engines, **{name: tuple(others) for name, others in steps.items()})

    ways = [each.name for each in Router(models).ways(models.models[0])]

    assert ways[0] == "a"
    assert len(ways) == len(set(ways))
    reached = {"a"}
    for _ in "abcd":
        reached |= {other for name in reached for other in steps.get(name, ()) if other != "x"}
    assert set(ways) == reached
