"""The routes that generate, before a backend that does as it is told: parameters, errors, models, and what hostile clients send."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import aiohttp
import pytest

from backends.errors import BackendError, Broken, Invalid, Overloaded, TimedOut, Unavailable
from backends.types import Complete, Delta, Event, Finish, Request, Usage
from tests.support import ScriptedBackend, one_model, serve_app

Events = list[Event | Exception]
OK: Events = [Delta(0, "Yes"), Delta(0, " sir"), Finish(0, "length"), Usage(2, 2)]


@pytest.fixture
def told() -> Events:
    """What the engine does: a test writes it."""
    return [*OK]


@pytest.fixture
def engine(told: Events) -> ScriptedBackend:
    def play(_: Request) -> Iterable[Event | Exception]:
        return told

    return ScriptedBackend(play)


@pytest.fixture
async def client(engine: ScriptedBackend) -> AsyncIterator[aiohttp.ClientSession]:
    registry = one_model("chat", "text", "other", kind="transformers")
    async with serve_app(registry, engine.create, max_body_mb=0.1) as url, aiohttp.ClientSession(url) as session:
        yield session


async def post(client: aiohttp.ClientSession, path: str, body: object, **headers: str) -> tuple[int, Any]:
    """Status and JSON; of a stream the list of events."""
    async with client.post(path, json=body, headers=headers) as response:
        if response.content_type == "text/event-stream":
            frames = (await response.text()).split("\n\n")
            assert frames.pop() == ""
            return response.status, [json.loads(frame.removeprefix("data: ")) for frame in frames]
        return response.status, await response.json()


async def test_text_alone_unless_details_are_asked_for(client: aiohttp.ClientSession) -> None:
    assert await post(client, "/generate", {"inputs": "Really?"}) == (200, {"generated_text": "Yes sir"})
    assert await post(client, "/", {"inputs": "Really?"}) == (200, [{"generated_text": "Yes sir"}])


async def test_tokens_without_an_id_have_one_that_no_token_has(client: aiohttp.ClientSession) -> None:
    _, events = await post(client, "/", {"inputs": "Really?", "stream": True})
    assert [event["token"] for event in events] == [
        {"id": -1, "text": "Yes", "logprob": None, "special": False},
        {"id": -1, "text": " sir", "logprob": None, "special": False},
    ]
    assert [event["details"] for event in events] == [None, None]


@pytest.mark.parametrize(
    ("parameters", "temperature"),
    [(None, 1.0), ({}, 0.0), ({"do_sample": True}, 1.0), ({"top_k": 3}, 1.0), ({"temperature": 0.5}, 0.5)],
)
async def test_it_draws_where_tgi_draws(
    client: aiohttp.ClientSession, engine: ScriptedBackend, parameters: object, temperature: float
) -> None:
    body = {"inputs": "x"} if parameters is None else {"inputs": "x", "parameters": parameters}
    assert (await post(client, "/generate", body))[0] == 200
    assert _asked(engine).sampling.temperature == temperature


async def test_parameters_reach_the_engine(client: aiohttp.ClientSession, engine: ScriptedBackend) -> None:
    said = {
        "temperature": 0.5, "repetition_penalty": 1.2, "frequency_penalty": -0.5, "top_k": 10, "top_p": 0.9,
        "max_new_tokens": 7, "stop": ["a", "b"], "seed": 2**64 - 1, "top_n_tokens": 3, "details": True,
        "typical_p": None, "watermark": False, "grammar": None, "best_of": 1,
    }  # fmt: skip
    assert (await post(client, "/generate", {"inputs": "x", "parameters": said}))[0] == 200
    sampling = _asked(engine).sampling
    assert (sampling.temperature, sampling.repetition_penalty, sampling.frequency_penalty) == (0.5, 1.2, -0.5)
    assert (sampling.top_k, sampling.top_p, sampling.max_tokens, sampling.stop) == (10, 0.9, 7, ("a", "b"))
    assert (sampling.seed, sampling.logprobs, sampling.top_logprobs, sampling.n) == (2**64 - 1, True, 3, 1)


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("said", "grammar"),
    [
        ({"type": "regex", "value": "a+"}, "a+"),
        ({"type": "json", "value": SCHEMA}, SCHEMA),
        ({"type": "json", "value": json.dumps(SCHEMA)}, SCHEMA),
        ({"type": "json_schema", "value": {"name": "it", "schema": SCHEMA}}, SCHEMA),
    ],
)
async def test_a_grammar_reaches_the_engine(
    client: aiohttp.ClientSession, engine: ScriptedBackend, said: object, grammar: object
) -> None:
    assert (await post(client, "/generate", {"inputs": "x", "parameters": {"grammar": said}}))[0] == 200
    assert _asked(engine).grammar == grammar


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("temperature", 0, "`temperature` must be strictly positive"),
        ("repetition_penalty", 0, "`repetition_penalty` must be strictly positive"),
        ("top_k", 0, "`top_k` must be strictly positive"),
        ("top_p", 1.5, "`top_p` must be > 0.0"),
        ("frequency_penalty", 3, "`frequency_penalty` must be"),
        ("max_new_tokens", 0, "`max_new_tokens` must be strictly positive"),
        ("truncate", 0, "`truncate` must be strictly positive"),
        ("stop", ["a"] * 5, "`stop` supports up to 4 stop sequences. Given: 5"),
        ("stop", [""], "`stop` has an empty string"),
        ("top_n_tokens", 6, "`top_n_tokens` must be >= 0 and <= 5. Given: 6"),
        ("best_of", 3, "`best_of` must be > 0 and <= 2. Given: 3"),
        ("typical_p", 0.9, "`typical_p` is not supported"),
        ("watermark", True, "`watermark` is not supported"),
        ("decoder_input_details", True, "`decoder_input_details` is not supported"),
        ("grammar", {"type": "json", "value": {}}, "`grammar` has a JSON schema without `properties`"),
        ("grammar", {"type": "json", "value": "{"}, "`grammar` has a `value` that is no JSON"),
        ("grammar", {"type": "json", "value": "[]"}, "`grammar` has a `value` that is no JSON schema"),
    ],
)
async def test_what_cannot_be_is_refused_by_name(
    client: aiohttp.ClientSession, field: str, value: object, words: str
) -> None:
    body = {"inputs": "x", "parameters": {field: value}}
    status, error = await post(client, "/generate", body)
    assert (status, error["error_type"]) == (422, "validation")
    assert error["error"].startswith(f"Input validation error: {words}")
    # A stream says so in its first event, as TGI does.
    assert await post(client, "/generate_stream", body) == (200, [error])


@pytest.mark.parametrize(
    "parameters",
    [
        {"temperature": "hot"}, {"seed": -1}, {"seed": 2**64}, {"stop": "x"}, {"max_new_tokens": 2**32}, {"details": 1},
        {"temperature": True}, {"made_up": 1}, {"grammar": "x"}, {"grammar": {"type": "bnf", "value": "x"}}, [], "x", 7, None,
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/generate", "/generate_stream"])
async def test_values_of_the_wrong_type_are_refused(
    client: aiohttp.ClientSession, engine: ScriptedBackend, path: str, parameters: object
) -> None:
    status, error = await post(client, path, {"inputs": "x", "parameters": parameters})
    assert (status, error["error_type"]) == (422, "validation")
    assert engine.requests == []


@pytest.mark.parametrize(
    "body", [{}, {"inputs": None}, {"inputs": 1}, {"inputs": ["a"]}, {"inputs": "x", "stream": "yes"}]
)
async def test_bodies_of_the_wrong_shape_are_refused(client: aiohttp.ClientSession, body: object) -> None:
    status, error = await post(client, "/", body)
    assert (status, error["error_type"]) == (422, "validation")
    assert "Failed to deserialize the JSON body into the target type" in error["error"]


@pytest.mark.parametrize(
    ("data", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"inputs": "x"}', "text/plain", 415),
        (b'{"inputs": "' + b"x" * 200_000 + b'"}', "application/json", 413),
        (b"[" * 50_000, "application/json", 400),
    ],
)
@pytest.mark.parametrize("path", ["/", "/generate", "/generate_stream", "/chat_tokenize"])
async def test_bodies_that_cannot_be_read(
    client: aiohttp.ClientSession, path: str, data: bytes, content_type: str, status: int
) -> None:
    async with client.post(path, data=data, headers={"Content-Type": content_type}) as response:
        assert response.status == status
        assert (await response.json()).keys() == {"error", "error_type"}


@pytest.mark.parametrize(
    ("failure", "status", "kind"),
    [
        (Overloaded("Full."), 429, "overloaded"),
        (Broken("It broke."), 424, "generation"),
        (Unavailable("It is away."), 503, "healthcheck"),
        (TimedOut("It is silent."), 504, "timeout"),
        (Invalid("The prompt is too long.", param="prompt"), 422, "validation"),
    ],
)
async def test_failures_of_the_engine(
    client: aiohttp.ClientSession, told: Events, failure: BackendError, status: int, kind: str
) -> None:
    told[:] = [failure]
    found, error = await post(client, "/generate", {"inputs": "x"})
    assert (found, error["error_type"]) == (status, kind)
    assert await post(client, "/generate_stream", {"inputs": "x"}) == (200, [error])
    # In the middle of an answer, too.
    told[:] = [*OK[:2], failure]
    _, events = await post(client, "/generate_stream", {"inputs": "x"})
    assert [event.get("error_type") for event in events] == [None, kind]


async def test_refusals_of_the_engine_have_tgis_names(client: aiohttp.ClientSession, told: Events) -> None:
    told[:] = [Invalid("max_tokens is 9 and `prompt` is long.", param="max_tokens")]
    _, error = await post(client, "/generate", {"inputs": "x"})
    assert error["error"] == "Input validation error: max_new_tokens is 9 and `inputs` is long."


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_without_an_end_is_no_answer(client: aiohttp.ClientSession, told: Events, stream: bool) -> None:
    told[:] = OK[:2]
    status, said = await post(client, "/", {"inputs": "x", "stream": stream, "parameters": {"details": True}})
    assert status == (200 if stream else 424)
    assert (said[-1] if stream else said)["error_type"] == "generation"


async def test_a_model_is_named_by_the_body_an_adapter_or_a_header(client: aiohttp.ClientSession) -> None:
    for body, headers in (
        ({"model": "other"}, {}),
        ({"parameters": {"adapter_id": "other"}}, {}),
        ({}, {"X-Model": "other"}),
        ({"model": "other"}, {"X-Model": "nobody"}),
    ):
        assert (await post(client, "/generate", {"inputs": "x", **body}, **headers))[0] == 200
    for body, headers in (
        ({"model": "nobody"}, {}),
        ({"parameters": {"adapter_id": "nobody"}}, {}),
        ({}, {"X-Model": "nobody"}),
    ):
        status, error = await post(client, "/generate", {"inputs": "x", **body}, **headers)
        assert (status, error["error_type"]) == (404, "model_not_found")


async def test_best_of_needs_drawing_and_no_seed(client: aiohttp.ClientSession) -> None:
    for wrong, words in (({"seed": 1}, "`seed` must not be set"), ({"do_sample": False}, "you must use sampling")):
        body = {"inputs": "x", "parameters": {"do_sample": True, "best_of": 2, **wrong}}
        _, error = await post(client, "/generate", body)
        assert words in error["error"]


async def test_a_stream_that_its_client_leaves_is_given_up() -> None:
    left = asyncio.Event()

    class Endless(ScriptedBackend):
        async def run(self, model: Any, request: Request) -> Any:
            try:
                while True:
                    yield Delta(0, "on and ")
                    await asyncio.sleep(0.01)
            finally:
                left.set()

    engine = Endless(lambda _: ())
    async with (
        serve_app(one_model("chat", "text", kind="transformers"), engine.create) as url,
        aiohttp.ClientSession(url) as client,
    ):
        async with client.post("/generate_stream", json={"inputs": "x"}) as response:
            await response.content.readline()
            response.close()
        await asyncio.wait_for(left.wait(), 5)


async def test_errors_of_paths_and_keys_are_tgis(engine: ScriptedBackend) -> None:
    registry = one_model("chat", "text", kind="transformers")
    async with serve_app(registry, engine.create, api_keys=["key"]) as url, aiohttp.ClientSession(url) as client:
        for path in ("/", "/generate", "/generate_stream", "/chat_tokenize"):
            async with client.post(path, json={"inputs": "x"}) as response:
                assert response.status == 401
                assert (await response.json())["error_type"] == "unauthorized"
        async with client.get("/generate", headers={"Authorization": "Bearer key"}) as response:
            assert response.status == 405
            assert (await response.json()).keys() == {"error", "error_type"}
        async with client.get("/health") as response:
            assert response.status == 200


def _asked(engine: ScriptedBackend) -> Complete:
    asked = engine.requests[-1]
    assert isinstance(asked, Complete)
    return asked
