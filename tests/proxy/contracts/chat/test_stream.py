"""The answer on its way: text as it comes, whole or visibly not; what is kept of it; and the engine let go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp
import jwt
import pytest
from blockbuster import BlockBuster
from hypothesis import given
from hypothesis import strategies as st

from backends.errors import Broken
from backends.types import Chat
from proxy.contracts.chat.chat import text_event
from proxy.contracts.chat.requests import wants_events
from tests.proxy.contracts.chat.talk import PATH, Engine, ask, messages
from tests.support import one_model, serve_app

SECRET = "a secret of thirty-two bytes, and more"
EVENTS = {"Accept": "text/event-stream"}


def session(door: str, user: str = "ann") -> aiohttp.ClientSession:
    """A client with a token of this user."""
    token = jwt.encode({"sub": user, "exp": time.time() + 3600}, SECRET)
    return aiohttp.ClientSession(door, headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
async def door(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    registry = one_model("org/model", "text", "local/odd", "plain", kind="vllm")
    data = tmp_path_factory.mktemp("data")
    async with serve_app(registry, engine.create, data=data, jwt_secret=SECRET) as url:
        yield url


@pytest.fixture
async def http(door: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with session(door) as http:
        yield http


async def test_the_text_comes_as_it_is_written(http: aiohttp.ClientSession, engine: Engine) -> None:
    engine.say("Grü")
    async with http.post(f"{PATH}?chat_id=1", json=ask()) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["Transfer-Encoding"] == "chunked"
        assert await answer.content.readany() == "Grü".encode(), "a piece is whole characters"
        engine.say("ße\n\n", None)
        assert await answer.content.read() == "ße\n\n".encode()
    assert await messages(http) == [("user", "Hello?", True), ("assistant", "Grüße\n\n", True)]


async def test_an_empty_answer_is_an_answer(http: aiohttp.ClientSession, engine: Engine) -> None:
    engine.say(None)
    async with http.post(f"{PATH}?chat_id=1", json=ask()) as answer:
        assert (answer.status, await answer.read()) == (200, b"")
    assert await messages(http) == [("user", "Hello?", True), ("assistant", "", True)]


async def test_events_for_those_who_accept_them(http: aiohttp.ClientSession, engine: Engine) -> None:
    engine.say("One\n", "\ntwo\r\n", " three", None)
    async with http.post(f"{PATH}?chat_id=1", json=ask(), headers=EVENTS) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert await answer.text() == (
            "data: One\ndata: \n\n"
            "data: \ndata: two\ndata: \n\n"
            "data:  three\n\n"
            "event: done\ndata: [DONE]\n\n"
        )  # fmt: skip
    assert (await messages(http))[1] == ("assistant", "One\n\ntwo\r\n three", True)


def parsed(stream: str) -> list[str]:
    """What an EventSource makes of a stream: the data of each event (WHATWG HTML, section 9.2.6)."""
    events = []
    for block in stream.split("\n\n")[:-1]:
        lines = [line.removeprefix("data:").removeprefix(" ") for line in block.split("\n")]
        events.append("\n".join(lines))
    return events


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5))
def test_events_carry_every_text_but_carriage_returns(pieces: list[str]) -> None:
    stream = b"".join(map(text_event, pieces)).decode()
    assert "".join(parsed(stream)) == "".join(pieces).replace("\r", "")


@pytest.mark.parametrize(
    ("accept", "events"),
    [
        (None, False),
        ("*/*", False),
        ("text/*", False),
        ("application/json, text/event-stream", True),
        ("TEXT/Event-Stream", True),
        ("text/event-stream;q=0.9", True),
        ("text/event-stream; q=0", False),
        ("text/event-stream-ish", False),
        (";;,,", False),
    ],
)
def test_who_accepts_events(accept: str | None, events: bool) -> None:
    assert wants_events(accept) is events


async def test_a_failure_in_the_middle_cuts_the_text_off(http: aiohttp.ClientSession, engine: Engine) -> None:
    engine.say("Half", Broken("Engine 'e' hung up."))
    async with http.post(f"{PATH}?chat_id=1", json=ask()) as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    assert await messages(http) == [("user", "Hello?", True), ("assistant", "Half", False)]


async def test_clients_of_http_1_0_see_a_reset_and_not_an_end(door: str, engine: Engine) -> None:
    engine.say("Half", Broken("Engine 'e' hung up."))
    host, port = door.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    token = jwt.encode({"sub": "ann", "exp": time.time() + 3600}, SECRET)
    body = b'{"messages": [{"role": "user", "content": "x"}]}'
    head = f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(f"POST {PATH}?chat_id=1 HTTP/1.0\r\n{head}".encode() + body)
    with pytest.raises(ConnectionResetError):
        await reader.read()
        await reader.read()
    writer.close()


async def test_a_failure_in_the_middle_is_an_event(http: aiohttp.ClientSession, engine: Engine) -> None:
    engine.say("Half", Broken("Engine 'e' hung up."))
    async with http.post(f"{PATH}?chat_id=1", json=ask(), headers=EVENTS) as answer:
        assert await answer.text() == (
            'data: Half\n\nevent: error\ndata: {"statusCode":502,"statusMessage":"Engine \'e\' hung up."}\n\n'
        )
    assert (await messages(http))[1] == ("assistant", "Half", False)


@pytest.mark.parametrize("headers", [{}, EVENTS])
async def test_our_own_mistakes_in_the_middle_are_told_too(
    http: aiohttp.ClientSession, engine: Engine, headers: dict[str, str], nothing_blocks_the_loop: BlockBuster
) -> None:
    nothing_blocks_the_loop.deactivate()  # a traceback in the log reads source files
    engine.say("Half", ZeroDivisionError("secret"))
    async with http.post(f"{PATH}?chat_id=1", json=ask(), headers=headers) as answer:
        if headers:
            text = await answer.text()
            assert "event: error" in text and "Internal Server Error" in text and "secret" not in text
        else:
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()
    assert (await messages(http))[1] == ("assistant", "Half", False)


@pytest.mark.parametrize("headers", [{}, EVENTS])
async def test_who_leaves_frees_the_engine_and_keeps_what_was_written(
    http: aiohttp.ClientSession, engine: Engine, headers: dict[str, str]
) -> None:
    engine.say("Half")
    answer = await http.post(f"{PATH}?chat_id=1", json=ask(), headers=headers)
    await answer.content.readany()
    answer.close()
    await engine.runs(0, within=1)
    await _until_kept(http, ("assistant", "Half", False))


async def test_who_leaves_before_the_first_byte_frees_the_engine(http: aiohttp.ClientSession, engine: Engine) -> None:
    asking = asyncio.create_task(http.post(f"{PATH}?chat_id=1", json=ask()))
    await engine.runs(1)
    asking.cancel()
    await engine.runs(0, within=1)
    assert await messages(http) == [("user", "Hello?", True), ("assistant", "", False)]


async def _until_kept(http: aiohttp.ClientSession, answer: tuple[str, str, bool]) -> None:
    async with asyncio.timeout(5):
        # Whoever has left is not told when what was written for them is kept.
        while (await messages(http))[1] != answer:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_the_question_is_kept_before_it_is_asked(http: aiohttp.ClientSession, engine: Engine) -> None:
    asking = asyncio.create_task(http.post(f"{PATH}?chat_id=1", json=ask()))
    await engine.runs(1)
    assert await messages(http) == [("user", "Hello?", True), ("assistant", "", False)], (
        "incomplete until it is complete"
    )
    engine.say("Yes.", None)
    await (await asking).read()
    assert (await messages(http))[1] == ("assistant", "Yes.", True)


async def test_the_engine_hears_the_messages_of_the_request_as_they_stand(
    http: aiohttp.ClientSession, engine: Engine
) -> None:
    history = [("user", "One"), ("assistant", "Two"), ("assistant", "Three"), ("user", "Four")]
    body = {"messages": [{"role": role, "content": content} for role, content in history]}
    for _ in range(2):
        engine.say("Five", None)
        async with http.post(f"{PATH}?chat_id=1", json=body) as answer:
            await answer.read()
    assert [request.messages for request in engine.requests if isinstance(request, Chat)] == [
        tuple(body["messages"])
    ] * 2
    assert await messages(http) == [("user", "Four", True), ("assistant", "Five", True)] * 2


async def test_two_questions_at_once_keep_their_answers_apart(http: aiohttp.ClientSession, engine: Engine) -> None:
    async def one(number: int) -> None:
        async with http.post(f"{PATH}?chat_id=1", json=ask(f"question {number}")) as answer:
            await answer.read()

    asking = [asyncio.create_task(one(number)) for number in range(8)]
    await engine.runs(8)
    engine.say(*(None for _ in range(8)))
    await asyncio.gather(*asking)
    kept = await messages(http)
    assert [role for role, _, _ in kept] == ["user", "assistant"] * 8
    assert {content for role, content, _ in kept if role == "user"} == {f"question {number}" for number in range(8)}
    assert all(complete for _, _, complete in kept)


async def test_nobody_sees_the_chats_of_others(door: str, engine: Engine) -> None:
    async with session(door, "ann") as ann, session(door, "bob") as bob:
        engine.say("For Ann.", None)
        await (await ann.post(f"{PATH}?chat_id=1", json=ask("I am Ann"))).read()
        for path in ("/api/ai/chats/1", "/api/ai/chats/1?after=0"):
            assert (await bob.get(path)).status == 404
        assert (await bob.delete("/api/ai/chats/1")).status == 404
        assert (await (await bob.get("/api/ai/chats")).json()) == {"chats": [], "next": None}
        engine.say("For Bob.", None)
        await (await bob.post(f"{PATH}?chat_id=1", json=ask("I am Bob"))).read()
        assert await messages(ann) == [("user", "I am Ann", True), ("assistant", "For Ann.", True)]
        assert await messages(bob) == [("user", "I am Bob", True), ("assistant", "For Bob.", True)]
        assert (await ann.delete("/api/ai/chats/1")).status == 204
        assert (await ann.get("/api/ai/chats/1")).status == 404
        assert len(await messages(bob)) == 2


async def test_an_answer_to_a_deleted_chat_goes_with_it(http: aiohttp.ClientSession, engine: Engine) -> None:
    engine.say("Old")
    answer = await http.post(f"{PATH}?chat_id=1", json=ask("old"))
    assert (await http.delete("/api/ai/chats/1")).status == 204
    second = asyncio.create_task(http.post(f"{PATH}?chat_id=1", json=ask("new")))
    await engine.runs(2)
    engine.say(None)
    assert await answer.read() == b"Old"
    assert await messages(http) == [("user", "new", True), ("assistant", "", False)]
    engine.say(None)
    await (await second).read()
    assert await messages(http) == [("user", "new", True), ("assistant", "", True)]


@pytest.mark.parametrize("chat_id", ["a/b", "a b", "ü", "%2F", "?", "#", "a+b", "x" * 200, "..a"])
async def test_any_printable_id_is_a_chat(http: aiohttp.ClientSession, engine: Engine, chat_id: str) -> None:
    engine.say(None)
    async with http.post(PATH, params={"chat_id": chat_id}, json=ask()) as answer:
        assert answer.status == 200
        await answer.read()
    async with http.get("/api/ai/chats") as answer:
        (chat,) = (await answer.json())["chats"]
    assert chat["chat_id"] == chat_id
    encoded = "".join(f"%{byte:02X}" for byte in chat_id.encode())
    async with http.get(f"/api/ai/chats/{encoded}") as answer:
        assert (answer.status, (await answer.json())["chat_id"]) == (200, chat_id)


@pytest.mark.parametrize(("publisher", "name"), [("local", "odd"), ("local", "plain"), ("org", "model")])
async def test_models_without_a_publisher_are_local(
    http: aiohttp.ClientSession, engine: Engine, publisher: str, name: str
) -> None:
    engine.say("Here.", None)
    async with http.post(f"/api/ai/huggingface/{publisher}/{name}/chat?chat_id=1", json=ask()) as answer:
        assert await answer.text() == "Here."


async def test_chats_come_in_pages_newest_first(http: aiohttp.ClientSession, engine: Engine) -> None:
    for number in (1, 2, 3, 4, 5, 1):
        engine.say(None)
        await (await http.post(f"{PATH}?chat_id={number}", json=ask())).read()
    seen, following = [], ""
    while True:
        async with http.get(f"/api/ai/chats?limit=2{following}") as answer:
            page = await answer.json()
        seen += [(chat["chat_id"], chat["message_count"]) for chat in page["chats"]]
        if page["next"] is None:
            break
        following = f"&before={page['next']}"
    assert seen == [("1", 4), ("5", 2), ("4", 2), ("3", 2), ("2", 2)]


async def test_messages_come_in_pages(http: aiohttp.ClientSession, engine: Engine) -> None:
    for number in range(3):
        engine.say(f"answer {number}", None)
        await (await http.post(f"{PATH}?chat_id=1", json=ask(f"question {number}"))).read()
    seen: list[str] = []
    after: int | None = 0
    while after is not None:
        async with http.get(f"/api/ai/chats/1?limit=4&after={after}") as answer:
            page = await answer.json()
        seen += [message["content"] for message in page["messages"]]
        after = page["next"]
    assert seen == [f"{word} {number}" for number in range(3) for word in ("question", "answer")]
