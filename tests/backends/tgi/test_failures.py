"""Everything that goes wrong with a TGI, told as what it is: before any event where possible, and never as a silent end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import pytest

from backends.base import EngineSpec, Timeouts
from backends.errors import BackendError, Broken, Invalid, Overloaded, Rejected, TimedOut, Unavailable
from backends.tgi.backend import TgiBackend
from backends.tgi.errors import event_error, status_error, typed_error
from backends.types import Chat, Complete, Delta, Event, JsonObject, Sampling
from tests.backends.tgi.answers import MODEL, ask, chat
from tests.engines.tgi_double import TgiDouble
from tests.engines.tgi_failures import Failure
from tests.engines.tgi_validation import Limits

ONE = Complete(prompts=("a b c",))
WHOLE = replace(ONE, echo=True, sampling=Sampling(logprobs=True))
EVERY_ROUTE = pytest.mark.parametrize("request_", [chat(), ONE, WHOLE], ids=["chat", "streamed", "whole"])
STREAMS = pytest.mark.parametrize("request_", [chat(), ONE], ids=["chat", "streamed"])


def backend_of(url: str, **options: object) -> TgiBackend:
    timeouts = Timeouts(connect=1, first_byte=0.3, idle=0.3)
    return TgiBackend(replace(EngineSpec(name="texts", kind="tgi", urls=(url,), timeouts=timeouts), **options))  # type: ignore[arg-type]


async def events_until_failure(backend: TgiBackend, request: Chat | Complete) -> tuple[list[Event], BackendError]:
    events: list[Event] = []
    with pytest.raises(BackendError) as failed:
        async for event in backend.run(MODEL, request):
            events.append(event)  # noqa: PERF401 - kept although the loop fails
    return events, failed.value


class TestBeforeAnyEvent:
    @EVERY_ROUTE
    @pytest.mark.parametrize(
        ("failure", "kind"),
        [("overloaded", Overloaded), ("generation", Broken), ("incomplete", Broken)],
    )
    async def test_tgis_errors_whether_status_or_event(
        self, tgi: TgiDouble, backend: TgiBackend, request_: Chat | Complete, failure: Failure, kind: type[BackendError]
    ) -> None:
        tgi.fail(failure)
        events, error = await events_until_failure(backend, request_)
        assert (events, type(error)) == ([], kind)
        assert "CUDA" not in error.message
        assert (error.retry_after is not None) == (kind is Overloaded)
        assert len(tgi.requests) == 1

    @EVERY_ROUTE
    async def test_a_limit_of_the_model_is_the_callers_to_know(
        self, tgi: TgiDouble, backend: TgiBackend, request_: Chat | Complete
    ) -> None:
        tgi.limits = Limits(max_total_tokens=6)
        request = replace(request_, sampling=replace(request_.sampling, max_tokens=50))
        events, error = await events_until_failure(backend, request)
        assert isinstance(error, Invalid)
        assert (events, error.param) == ([], "messages" if isinstance(request_, Chat) else "prompt")
        assert "`max_tokens` must be <= 6" in error.message
        assert "max_new_tokens" not in error.message
        assert "inputs" not in error.message

    async def test_no_choice_is_shown_when_one_of_several_is_refused(self, tgi: TgiDouble, backend: TgiBackend) -> None:
        tgi.limits, tgi.pace = Limits(max_concurrent_requests=2), 0.02
        events, error = await events_until_failure(backend, replace(chat(), sampling=Sampling(n=3)))
        assert (events, type(error)) == ([], Overloaded)
        await tgi.aborted(2)

    @EVERY_ROUTE
    async def test_a_gateways_502_stays_one(
        self, tgi: TgiDouble, backend: TgiBackend, request_: Chat | Complete
    ) -> None:
        tgi.fail("bad_gateway")
        events, error = await events_until_failure(backend, request_)
        assert isinstance(error, Rejected)
        assert (events, error.status) == ([], 502)

    async def test_a_wrong_key_is_the_proxys_fault(self) -> None:
        async with TgiDouble(key="right") as tgi:
            for key in ("wrong", None):
                backend = backend_of(tgi.url, key=key)
                events, error = await events_until_failure(backend, chat())
                assert (events, type(error)) == ([], Unavailable)
                assert "'texts'" in error.message
                assert "`key`" in error.message
                await backend.close()
            backend = backend_of(tgi.url, key="right")
            assert (await ask(backend, chat())).only.finish == "stop"
            await backend.close()

    async def test_a_value_of_the_wrong_type_is_named(self, backend: TgiBackend) -> None:
        message: JsonObject = {"role": "user", "content": 7}
        _, error = await events_until_failure(backend, Chat(messages=(message,)))
        assert isinstance(error, Invalid)
        assert error.param == "messages.0"
        assert "enum" not in error.message

    async def test_a_request_beyond_the_payload_limit(self, tgi: TgiDouble, backend: TgiBackend) -> None:
        _, error = await events_until_failure(backend, chat("x" * 2_000_001))
        assert isinstance(error, Rejected)
        assert error.status == 413

    async def test_nobody_there(self) -> None:
        async with TgiDouble() as tgi:
            url = tgi.url
        backend = backend_of(url)
        events, error = await events_until_failure(backend, chat())
        assert (events, type(error)) == ([], Unavailable)
        await backend.close()

    @EVERY_ROUTE
    async def test_silence(self, tgi: TgiDouble, request_: Chat | Complete) -> None:
        tgi.fail("hang")
        backend = backend_of(tgi.url)
        events, error = await events_until_failure(backend, request_)
        assert (events, type(error)) == ([], TimedOut)
        await tgi.aborted()
        await backend.close()


class TestMidStream:
    @STREAMS
    @pytest.mark.parametrize("failure", ["generation", "incomplete", "cut", "unfinished", "garbage"])
    async def test_a_failure_after_some_text_is_raised(
        self, tgi: TgiDouble, backend: TgiBackend, request_: Chat | Complete, failure: Failure
    ) -> None:
        tgi.fail(failure, after=2)
        events, error = await events_until_failure(backend, request_)
        assert events == [Delta(0, text="I"), Delta(0, text=" heard:")]
        assert isinstance(error, Broken)
        assert len(tgi.requests) == 1

    @STREAMS
    async def test_silence(self, tgi: TgiDouble, request_: Chat | Complete) -> None:
        tgi.fail("hang", after=1)
        backend = backend_of(tgi.url)
        events, error = await events_until_failure(backend, request_)
        assert events == [Delta(0, text="I")]
        assert isinstance(error, TimedOut)
        await tgi.aborted()
        await backend.close()

    async def test_a_chat_without_done_is_not_complete(self, tgi: TgiDouble, backend: TgiBackend) -> None:
        tgi.fail("no_done", after=99)
        events, error = await events_until_failure(backend, chat())
        assert len(events) == 4
        assert isinstance(error, Broken)

    async def test_a_tool_call_without_its_end_is_broken(self, tgi: TgiDouble, backend: TgiBackend) -> None:
        function: JsonObject = {"name": "f", "arguments": '{"a":'}
        call: JsonObject = {"index": 0, "id": "0", "type": "function", "function": function}
        tgi.replay([{"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]}])
        _, error = await events_until_failure(backend, chat())
        assert isinstance(error, Broken)

    @pytest.mark.parametrize("reply", [[{"hello": 1}], {"hello": 1}])
    @STREAMS
    async def test_another_dialect(
        self, tgi: TgiDouble, backend: TgiBackend, request_: Chat | Complete, reply: list[JsonObject] | JsonObject
    ) -> None:
        tgi.replay(reply)  # type: ignore[arg-type]
        events, error = await events_until_failure(backend, request_)
        assert events == []
        assert isinstance(error, Broken)


class TestLeaving:
    @STREAMS
    async def test_closing_the_stream_closes_the_engines_request(
        self, tgi: TgiDouble, backend: TgiBackend, request_: Chat | Complete
    ) -> None:
        tgi.pace = 0.02
        tgi.script = lambda prompt, seed: ["x"] * 1000
        async with aclosing(backend.run(MODEL, request_)) as events:
            assert await anext(events) == Delta(0, text="x")
        await tgi.aborted(within=1.0)

    @EVERY_ROUTE
    async def test_cancelling_before_the_first_token(
        self, tgi: TgiDouble, backend: TgiBackend, request_: Chat | Complete
    ) -> None:
        tgi.fail("hang")
        asking = asyncio.create_task(ask(backend, request_))
        await tgi.busy()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await tgi.aborted(within=1.0)

    async def test_all_choices_are_given_up(self, tgi: TgiDouble, backend: TgiBackend) -> None:
        tgi.pace = 0.02
        tgi.script = lambda prompt, seed: ["x"] * 1000
        async with aclosing(backend.run(MODEL, replace(chat(), sampling=Sampling(n=3)))) as events:
            await anext(events)
        await tgi.aborted(3, within=1.0)

    async def test_best_of_is_given_up(self, tgi: TgiDouble, backend: TgiBackend) -> None:
        tgi.fail("hang", after=2)
        asking = asyncio.create_task(ask(backend, replace(ONE, sampling=Sampling(best_of=3))))
        await tgi.busy(3)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await tgi.aborted(3, within=1.0)


class TestHealth:
    async def test_well(self, tgi: TgiDouble, backend: TgiBackend) -> None:
        assert (await backend.health()).ok
        assert [received.path for received in tgi.requests] == ["/health", "/info"]

    async def test_unhealthy(self, tgi: TgiDouble, backend: TgiBackend) -> None:
        tgi.fail("unhealthy")
        health = await backend.health()
        assert (health.ok, "unhealthy" in health.reason) == (False, True)

    async def test_gone(self) -> None:
        async with TgiDouble() as tgi:
            url = tgi.url
        backend = backend_of(url)
        health = await backend.health()
        assert (health.ok, bool(health.reason)) == (False, True)
        await backend.close()

    async def test_something_else(self, other_server: str) -> None:
        backend = backend_of(other_server)
        health = await backend.health()
        assert (health.ok, "not a TGI" in health.reason) == (False, True)
        await backend.close()

    @pytest.fixture
    async def other_server(self) -> AsyncIterator[str]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_load_and_unload_leave_the_engine_alone(tgi: TgiDouble, backend: TgiBackend) -> None:
    await backend.load(MODEL, lambda progress: None)
    await backend.unload(MODEL)
    assert tgi.requests == []


class TestMapping:
    @pytest.mark.parametrize(
        ("message", "kind", "param"),
        [
            ("Model is overloaded", Overloaded, None),
            ("Request failed during generation: secret", Broken, None),
            ("Incomplete generation", Broken, None),
            ("Incomplete generation stream", Broken, None),
            ("Template error: Conversation roles must alternate", Invalid, "messages"),
            ("Missing template vatiable: bos_token", Invalid, "messages"),
            ("Tool error: Tool with name g not found", Invalid, "tools"),
            ("Input validation error: `top_n_tokens` must be >= 0 and <= 5. Given: 9", Invalid, "top_logprobs"),
            ("Input validation error: `inputs` must have less than 9 tokens. Given: 10", Invalid, "messages"),
            ("Input validation error: grammar is not valid: no", Invalid, "response_format"),
            ("Input validation error: cannot compile regex from schema: no", Invalid, "response_format"),
            ("Input validation error: Could not fetch image: no", Invalid, None),
            ("anything else: secret", Broken, None),
        ],
    )
    def test_an_event_on_the_openai_routes_is_known_by_its_beginning(
        self, message: str, kind: type[BackendError], param: str | None
    ) -> None:
        error = event_error({"error": {"message": message, "http_status_code": 422}}, inputs="messages")
        assert type(error) is kind
        assert getattr(error, "param", None) == param
        assert "secret" not in error.message

    def test_the_native_event_is_known_by_its_type(self) -> None:
        event: JsonObject = {"error": "whatever it says", "error_type": "overloaded"}
        assert isinstance(event_error(event, inputs="prompt"), Overloaded)

    @pytest.mark.parametrize(
        ("status", "body", "kind", "param"),
        [
            (401, b"", Unavailable, None),
            (404, b"", Unavailable, None),
            (429, b"slow down", Overloaded, None),
            (424, b'{"error":"Request failed during generation: x","error_type":"generation"}', Broken, None),
            (500, b'{"error":"Incomplete generation","error_type":"incomplete_generation"}', Broken, None),
            (503, b'{"error":"unhealthy","error_type":"healthcheck"}', Unavailable, None),
            (503, b"", Unavailable, None),
            (504, b"<html>", TimedOut, None),
            (400, b"Failed to parse the request body as JSON: x", Broken, None),
            (415, b"Expected request with `Content-Type: application/json`", Broken, None),
            (422, b"no", Broken, None),
            (422, b'{"error":"Number of prompts exceeds","error_type":"batch size exceeded"}', Invalid, None),
            (
                422,
                b"Failed to deserialize the JSON body into the target type: "
                b"tools[0].function: missing field `name` at line 1 column 9",
                Invalid,
                "tools.0.function",
            ),
            (413, b"length limit exceeded", Rejected, None),
            (418, b"teapot", Rejected, None),
        ],
    )
    def test_statuses(self, status: int, body: bytes, kind: type[BackendError], param: str | None) -> None:
        answer = Rejected("no", status=status, body=body, content_type="text/plain", retry_after=3.0)
        error = status_error(answer, engine="texts", inputs="prompt")
        assert type(error) is kind
        assert getattr(error, "param", None) == param
        if isinstance(error, Overloaded):
            assert error.retry_after == 3.0

    def test_words_for_the_caller_use_the_callers_names(self) -> None:
        words = "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 9."
        error = typed_error(words, "validation", inputs="messages")
        assert error.message == "The model's engine refuses the request: `messages` tokens + `max_tokens` must be <= 9."
