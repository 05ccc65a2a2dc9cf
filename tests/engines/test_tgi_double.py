"""The double of TGI, judged by TGI's own clients: what they accept and raise is what they accept and raise from a real one."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from typing import cast

import aiohttp
import pytest
import text_generation
from huggingface_hub import AsyncInferenceClient, InferenceClient, close_session
from huggingface_hub.errors import GenerationError as HubGenerationError
from huggingface_hub.errors import ValidationError as HubValidationError
from text_generation.errors import GenerationError, OverloadedError, ValidationError
from text_generation.types import FinishReason, Message

from tests.engines.tgi_double import TgiDouble
from tests.engines.tgi_openai import MODEL


@pytest.fixture
async def tgi() -> AsyncIterator[TgiDouble]:
    async with TgiDouble() as double:
        yield double


async def post(url: str, body: object, **headers: str) -> tuple[int, str]:
    data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
    sent = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession() as session, session.post(url, data=data, headers=sent) as answer:
        return answer.status, await answer.text()


# text-generation 0.7 serialises its requests with pydantic 1's word for it.
@pytest.mark.filterwarnings("ignore:The `dict` method is deprecated")
class TestTextGenerationClient:
    async def test_generate(self, tgi: TgiDouble) -> None:
        answer = await text_generation.AsyncClient(tgi.url).generate("hello you", decoder_input_details=True)
        assert answer.generated_text == "I heard: hello you"
        assert answer.details.finish_reason is FinishReason.EndOfSequenceToken
        assert answer.details.generated_tokens == len(answer.details.tokens) == 5
        assert [token.text for token in answer.details.prefill] == ["<s>", "hello", " you"]

    async def test_generate_stops_as_tgi_does(self, tgi: TgiDouble) -> None:
        client = text_generation.AsyncClient(tgi.url)
        short = await client.generate("a b c", max_new_tokens=3)
        assert (short.generated_text, short.details.finish_reason) == ("I heard: a", FinishReason.Length)
        stopped = await client.generate("a b c", stop_sequences=[" b"])
        assert (stopped.generated_text, stopped.details.finish_reason) == ("I heard: a b", FinishReason.StopSequence)

    async def test_generate_stream(self, tgi: TgiDouble) -> None:
        events = [
            event async for event in text_generation.AsyncClient(tgi.url).generate_stream("hello", top_n_tokens=2)
        ]
        assert "".join(event.token.text for event in events if not event.token.special) == "I heard: hello"
        assert events[-1].generated_text == "I heard: hello"
        assert events[-1].details is not None
        assert [len(event.top_tokens or []) for event in events] == [2] * 4

    async def test_chat(self, tgi: TgiDouble) -> None:
        answer = await text_generation.AsyncClient(tgi.url).chat([Message(role="user", content="hello")], max_tokens=50)
        assert answer.choices[0].message.content == "I heard: hello"
        assert answer.choices[0].finish_reason == "stop"
        assert answer.id == ""

    async def test_errors(self, tgi: TgiDouble) -> None:
        client = text_generation.AsyncClient(tgi.url)
        with pytest.raises(ValidationError, match=r"`inputs` tokens \+ `max_new_tokens` must be <= 2048"):
            await client.generate("a", max_new_tokens=4000)
        with pytest.raises(ValidationError, match="must be <= 2048"):
            _ = [event async for event in client.generate_stream("a", max_new_tokens=4000)]
        tgi.fail("overloaded")
        with pytest.raises(OverloadedError, match="Model is overloaded"):
            await client.generate("a")
        tgi.fail("generation", after=1)
        with pytest.raises(GenerationError):
            _ = [event async for event in client.generate_stream("a")]


@pytest.mark.usefixtures("hub_on_loopback")
class TestHubClient:
    @pytest.fixture
    async def client(self, tgi: TgiDouble) -> AsyncIterator[AsyncInferenceClient]:
        async with AsyncInferenceClient(tgi.url) as client:
            yield client

    async def test_text_generation(self, client: AsyncInferenceClient) -> None:
        assert await client.text_generation("hello", max_new_tokens=20) == "I heard: hello"
        pieces = [piece async for piece in await client.text_generation("hello", stream=True, max_new_tokens=3)]
        assert "".join(pieces) == "I heard: hello"

    async def test_chat(self, client: AsyncInferenceClient) -> None:
        messages = [{"role": "user", "content": "hello"}]
        answer = await client.chat_completion(messages, max_tokens=20)
        assert answer.choices[0].message.content == "I heard: hello"
        chunks = [chunk async for chunk in await client.chat_completion(messages, stream=True)]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "I heard: hello"
        assert chunks[-1].choices[0].finish_reason == "stop"

    async def test_info_and_health(self, tgi: TgiDouble) -> None:
        client = InferenceClient(provider="hf-inference")
        info = cast("dict[str, object]", await asyncio.to_thread(client.get_endpoint_info, model=tgi.url))
        assert (info["model_id"], info["version"]) == (MODEL, "3.3.6")
        assert await asyncio.to_thread(client.health_check, model=tgi.url)
        tgi.fail("unhealthy")
        assert not await asyncio.to_thread(client.health_check, model=tgi.url)
        close_session()

    async def test_errors_inside_a_stream(self, tgi: TgiDouble, client: AsyncInferenceClient) -> None:
        with pytest.raises(HubValidationError):
            _ = [piece async for piece in await client.text_generation("a", max_new_tokens=4000, stream=True)]
        tgi.fail("generation")
        with pytest.raises(HubGenerationError):
            _ = [piece async for piece in await client.text_generation("a", stream=True)]


HELLO = {"messages": [{"role": "user", "content": "hello"}]}


class TestStrictness:
    @pytest.mark.parametrize(
        ("extra", "words"),
        [
            ({"stop": "x"}, 'stop: invalid type: string "x", expected a sequence'),
            ({"seed": -1}, "seed: invalid value: integer `-1`, expected u64"),
            ({"logit_bias": {"5": 1}}, "logit_bias: invalid type: map, expected a sequence"),
            ({"response_format": {"type": "text"}}, "response_format.type: unknown variant `text`"),
            ({"response_format": {"type": "json_object"}}, "response_format: missing field `value`"),
            ({"messages": [{"role": "user", "content": None}]}, "messages[0]: data did not match any variant"),
            ({"max_tokens": 1, "max_completion_tokens": 1}, "duplicate field `max_tokens`"),
        ],
    )
    @pytest.mark.parametrize("stream", [False, True])
    async def test_wrong_shapes_are_plain_text(
        self, tgi: TgiDouble, extra: dict[str, object], words: str, stream: bool
    ) -> None:
        status, text = await post(f"{tgi.url}/v1/chat/completions", HELLO | extra | {"stream": stream})
        assert status == 422
        assert text.startswith(f"Failed to deserialize the JSON body into the target type: {words}")

    @pytest.mark.parametrize(
        ("extra", "words"),
        [
            ({"top_p": 1}, "`top_p` must be > 0.0 and < 1.0"),
            ({"max_tokens": 0}, "`max_new_tokens` must be strictly positive"),
            ({"stop": list("abcde")}, "`stop` supports up to 4 stop sequences. Given: 5"),
            ({"response_format": {"type": "json_object", "value": {}}}, "grammar is not valid"),
        ],
    )
    async def test_wrong_values_are_a_422_or_an_event_in_a_200(
        self, tgi: TgiDouble, extra: dict[str, object], words: str
    ) -> None:
        status, text = await post(f"{tgi.url}/v1/chat/completions", HELLO | extra)
        assert (status, json.loads(text)["error_type"]) == (422, "validation")
        assert words in text
        status, text = await post(f"{tgi.url}/v1/chat/completions", HELLO | extra | {"stream": True})
        event, done = text.strip().split("\n\n")
        assert (status, done) == (200, "data: [DONE]")
        assert json.loads(event.removeprefix("data: "))["error"]["http_status_code"] == 422

    async def test_the_other_refusals_of_axum(self, tgi: TgiDouble) -> None:
        url = f"{tgi.url}/generate"
        assert (await post(url, b"{"))[0] == 400
        assert (await post(url, {}, Content_Type="text/plain"))[0] == 415
        assert (await post(url, {"inputs": "x" * 2_000_000}))[0] == 413

    async def test_a_wrong_key_gets_an_empty_401_and_open_routes_stay_open(self) -> None:
        async with TgiDouble(key="k") as tgi:
            assert await post(f"{tgi.url}/generate", {"inputs": "a"}) == (401, "")
            assert (await post(f"{tgi.url}/generate", {"inputs": "a"}, Authorization="Bearer k"))[0] == 200
            async with aiohttp.ClientSession() as session, session.get(f"{tgi.url}/info") as answer:
                assert answer.status == 200


async def test_it_sees_a_client_leave(tgi: TgiDouble) -> None:
    tgi.fail("hang", after=1)
    async with aiohttp.ClientSession() as session:
        answer = await session.post(f"{tgi.url}/generate_stream", json={"inputs": "a b c"})
        await answer.content.readline()
        answer.close()
        await tgi.aborted()
    assert tgi.aborts == ["/generate_stream"]


async def test_more_than_its_places_are_refused() -> None:
    async with TgiDouble(pace=10) as tgi:
        tgi.limits = type(tgi.limits)(max_concurrent_requests=1)
        async with aiohttp.ClientSession() as session:
            first = await session.post(f"{tgi.url}/generate_stream", json={"inputs": "a"})
            await tgi.busy()
            assert await post(f"{tgi.url}/generate", {"inputs": "a"}) == (
                429,
                '{"error": "Model is overloaded", "error_type": "overloaded"}',
            )
            first.close()
            await tgi.aborted()
