"""The socket: greeting, events, resuming, and what is wrong, on real connections."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from sqlalchemy import delete

from proxy.contracts.models import conversation, socket
from proxy.events.bus import SERVERS
from proxy.events.values import LoadStarted
from proxy.keys import DATABASE, EVENTS, TRAFFIC
from proxy.sessions.sessions import Sessions
from proxy.sessions.values import Session
from proxy.storage.errors import StorageUnavailable
from proxy.storage.tables import SESSIONS
from tests.proxy.contracts.models.socket_client import world
from tests.support import one_model

STARTED = LoadStarted(model_id="m", model_type="asr")


async def test_hello_is_answered_with_a_welcome() -> None:
    async with world() as door, door.open() as client:
        welcome = await client.hello()
        assert (welcome["corr"], welcome["sid"], welcome["data"]["resume"]) == (
            "hello",
            None,
            {"replayed": 0, "gap": False},
        )


async def test_whoever_says_nothing_is_greeted_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "HELLO_SECONDS", 0.05)
    async with world() as door, door.open() as client:
        while not door.app[EVENTS].listeners:  # noqa: ASYNC110 - a count that announces nothing
            await asyncio.sleep(0.001)
        door.app[EVENTS].publish(STARTED)
        assert (await client.next())["t"] == "session.welcome"
        assert (await client.next())["t"] == "model.load.started"  # from before the greeting
        door.app[EVENTS].publish(STARTED)
        assert (await client.next())["t"] == "model.load.started"


async def test_whatever_is_said_first_greets() -> None:
    async with world() as door, door.open() as client:
        await client.say("session.heartbeat", id="beat")
        assert (await client.next())["corr"] is None
        beat = await client.ws.receive_json()
        assert (beat["t"], beat["corr"]) == ("session.heartbeat", "beat")


async def test_heartbeats_come_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "HEARTBEAT_SECONDS", 0.02)
    async with world() as door, door.greeted() as client:
        for _ in range(3):
            beat = await client.ws.receive_json()
            assert (beat["t"], beat["corr"]) == ("session.heartbeat", None)


async def test_everybody_hears_of_models_and_a_session_of_itself() -> None:
    async with world(one_model("hears", "transcription")) as door:
        ours, other = await door.session(), await door.session()
        async with (
            door.greeted(ours) as first,
            door.greeted(ours) as second,
            door.greeted(other) as stranger,
            door.greeted() as everywhere,
        ):
            change = {"asr": {"parameters": {"beam_size": 2}}}
            url = f"{door.url}/api/sessions/{ours}/models/config"
            async with door.http.put(url, json=change, headers={"X-Request-Id": "put-1"}) as answer:
                assert answer.status == 200
            door.app[EVENTS].publish(STARTED)
            for client in (first, second):
                updated = await client.next()
                assert (updated["t"], updated["sid"], updated["corr"]) == ("session.config.updated", ours, "put-1")
                assert updated["data"]["config"]["asr"]["parameters"]["beam_size"] == 2
            told = [await client.next() for client in (first, second, stranger, everywhere)]
            assert [(message["t"], message["sid"]) for message in told] == [
                ("model.load.started", sid) for sid in (ours, ours, other, None)
            ]
            assert len({(message["id"], message["seq"]) for message in told}) == 1
        await door.deserted()


async def test_a_deleted_session_ends_its_sockets() -> None:
    async with world() as door:
        sid = await door.session()
        async with door.greeted(sid) as client, door.greeted() as other:
            url, headers = f"{door.url}/api/sessions/{sid}", {"X-Request-Id": "delete-1"}
            async with door.http.delete(url, headers=headers) as answer:
                assert answer.status == 200
            closed = await client.next()
            assert (closed["data"], closed["corr"]) == ({"reason": "deleted"}, "delete-1")
            assert await client.closed() == 4410
            await other.say("session.heartbeat")
            assert (await other.ws.receive_json())["t"] == "session.heartbeat"


async def test_what_waited_for_a_connection_is_told_to_those_that_were_there() -> None:
    async with world(one_model("hears", "transcription")) as door:
        sid = await door.session()
        async with door.greeted(sid) as client:
            change = {"asr": {"parameters": {"beam_size": 2}}, "apply_immediately": False}
            async with door.http.put(f"{door.url}/api/sessions/{sid}/models/config", json=change) as answer:
                assert answer.status == 200
            async with door.greeted(sid) as other:
                for each in (client, other):
                    updated = await each.next()
                    assert updated["t"] == "session.config.updated"
                    assert updated["data"]["config"]["asr"]["parameters"]["beam_size"] == 2


async def test_an_open_socket_keeps_its_session_however_short_that_lives() -> None:
    async with world(session_idle_seconds=3.0) as door:
        sid = await door.session()
        async with door.greeted(sid):
            await asyncio.sleep(4.5)
            async with door.http.get(f"{door.url}/api/sessions/{sid}") as answer:
                assert answer.status == 200


async def test_a_session_that_was_deleted_elsewhere_ends_its_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "LOOK_SECONDS", 0.05)
    async with world() as door:
        sid = await door.session()
        async with door.greeted(sid) as client, door.greeted(sid) as other:
            async with door.app[DATABASE].write() as rows:
                await rows.execute(delete(SESSIONS))
            for each in (client, other):
                closed = await each.next()
                assert (closed["t"], closed["data"]) == ("session.closed", {"reason": "deleted"})
                assert await each.closed() == 4410


async def test_a_session_whose_time_ran_out_while_the_database_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    get, back = Sessions.get, asyncio.Event()

    async def away(self: Sessions, owner: str, sid: str) -> Session:
        if not back.is_set():
            raise StorageUnavailable
        return await get(self, owner, sid)

    async with world(session_idle_seconds=2.0) as door:
        sid = await door.session()
        async with door.greeted(sid) as client:
            monkeypatch.setattr(Sessions, "get", away)
            await asyncio.sleep(2.5)
            back.set()
            closed = await client.next()
            assert (closed["t"], closed["data"]) == ("session.closed", {"reason": "expired"})
            assert await client.closed() == 4410


async def test_an_unknown_session_is_told_and_closed() -> None:
    async with world() as door:
        for sid in ("sess_" + "0" * 32, "nonsense", "a" * 500):
            async with door.open(sid) as client:
                error = await client.next()
                assert (error["t"], error["data"]["code"]) == ("error", "NOT_FOUND")
                assert await client.closed() == 4404


async def test_a_session_of_another_key_is_unknown() -> None:
    async with world(api_keys="mine,theirs") as door:
        sid = await door.session(key="mine")
        async with door.open(sid, headers={"Authorization": "Bearer theirs"}) as client:
            assert (await client.next())["data"]["code"] == "NOT_FOUND"
        async with door.open(sid, headers={"Authorization": "Bearer mine"}) as client:
            await client.hello()


# --------------------------------------------------------------------------- resuming


async def test_what_was_missed_is_told_after_reconnecting() -> None:
    async with world() as door:
        sid = await door.session()
        async with door.greeted(sid) as client:
            door.app[EVENTS].publish(STARTED)
            read = (await client.next())["seq"]
        door.app[EVENTS].publish(STARTED)
        async with door.http.delete(f"{door.url}/api/sessions/{await door.session()}") as answer:
            assert answer.status == 200  # another's event, between
        door.app[EVENTS].publish(STARTED)
        async with door.open(sid) as client:
            welcome = await client.hello(read)
            assert welcome["seq"] == read
            assert welcome["data"]["resume"] == {"requested": read, "replayed": 2, "gap": False}
            seqs = [(await client.next())["seq"] for _ in range(2)]
            assert seqs == [read + SERVERS, read + 3 * SERVERS]
            door.app[EVENTS].publish(STARTED)
            assert (await client.next())["seq"] == read + 4 * SERVERS


async def test_an_event_in_a_thousand_is_not_missed_while_connections_come_and_go() -> None:
    async with world() as door:
        sid = await door.session()
        got: list[int] = []

        async def publish() -> None:
            for _ in range(120):
                door.app[EVENTS].publish(STARTED)
                await asyncio.sleep(0.005)

        begin = door.app[EVENTS].seq
        read = begin
        publishing = asyncio.create_task(publish())
        while len(got) < 120:
            async with door.open(sid) as client:
                assert not (await client.hello(read))["data"]["resume"]["gap"]
                for _ in range(min(7, 120 - len(got))):
                    read = (await client.next())["seq"]
                    got.append(read)
        await publishing
        assert got == list(range(begin + SERVERS, begin + 121 * SERVERS, SERVERS))


async def test_after_a_restart_there_is_a_gap() -> None:
    async with world() as before, before.greeted() as client:
        before.app[EVENTS].publish(STARTED)
        read = (await client.next())["seq"]
    async with world() as after, after.open() as client:
        welcome = await client.hello(read)
        assert welcome["data"]["resume"]["gap"]


@pytest.mark.parametrize("seq", [0, 2**62])
async def test_a_place_that_is_not_known_is_a_gap(seq: int) -> None:
    async with world() as door, door.open() as client:
        welcome = await client.hello(seq)
        assert welcome["data"]["resume"]["gap"] and welcome["seq"] <= max(seq, door.app[EVENTS].seq)


async def test_saying_hello_again_begins_anew() -> None:
    async with world() as door, door.greeted() as client:
        begin = door.app[EVENTS].seq
        door.app[EVENTS].publish(STARTED)
        assert (await client.next())["seq"] == begin + SERVERS
        assert (await client.hello(begin))["seq"] == begin
        assert (await client.next())["seq"] == begin + SERVERS


# --------------------------------------------------------------------------- what is wrong

BAD: dict[str, tuple[str, str]] = {
    "no JSON": ("{", "CONFIGURATION_ERROR"),
    "no object": ("[]", "CONFIGURATION_ERROR"),
    "deep": ("[" * 60000, "CONFIGURATION_ERROR"),
    "wrong version": ('{"v": 2, "t": "session.heartbeat", "id": "bad"}', "CONFIGURATION_ERROR"),
    "no version": ('{"t": "session.heartbeat", "id": "bad"}', "CONFIGURATION_ERROR"),
    "version as text": ('{"v": "1", "t": "session.heartbeat", "id": "bad"}', "CONFIGURATION_ERROR"),
    "version as truth": ('{"v": true, "t": "session.heartbeat", "id": "bad"}', "CONFIGURATION_ERROR"),
    "unknown type": ('{"v": 1, "t": "model.load.started", "id": "bad"}', "CONFIGURATION_ERROR"),
    "unknown field": ('{"v": 1, "t": "session.heartbeat", "id": "bad", "foo": 1}', "CONFIGURATION_ERROR"),
    "unknown data": ('{"v": 1, "t": "session.heartbeat", "id": "bad", "data": {"a": 1}}', "CONFIGURATION_ERROR"),
    "data of another kind": ('{"v": 1, "t": "session.heartbeat", "id": "bad", "data": 3}', "CONFIGURATION_ERROR"),
    "another session": ('{"v": 1, "t": "session.heartbeat", "id": "bad", "sid": "sess_x"}', "CONFIGURATION_ERROR"),
    "resume by text": (
        '{"v": 1, "t": "session.hello", "id": "bad", "data": {"resume": {"seq": "4"}}}',
        "CONFIGURATION_ERROR",
    ),
    "resume below 0": (
        '{"v": 1, "t": "session.hello", "id": "bad", "data": {"resume": {"seq": -1}}}',
        "CONFIGURATION_ERROR",
    ),
    "NaN": ('{"v": 1, "t": "session.hello", "id": "bad", "data": {"resume": {"seq": NaN}}}', "CONFIGURATION_ERROR"),
    "nested": (
        '{"v": 1, "t": "session.hello", "id": "bad", "data": {"resume": ' + "[" * 1000 + "]" * 1000 + "}}",
        "CONFIGURATION_ERROR",
    ),
    "surrogate": ('{"v": 1, "t": "\\ud800", "id": "bad"}', "CONFIGURATION_ERROR"),
    "captions without a session": (
        '{"v": 1, "t": "asr.start", "id": "bad", "data": {"format": "pcm16"}}',
        "CONFIGURATION_ERROR",
    ),
    "stop before start": ('{"v": 1, "t": "asr.stop", "id": "bad"}', "CONFIGURATION_ERROR"),
    "too large": ('{"v": 1, "t": "%s", "id": "bad"}' % ("é" * 40000), "REQUEST_TOO_LARGE"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_message_is_answered_and_the_socket_stays_open(name: str) -> None:
    text, code = BAD[name]
    async with world() as door, door.greeted() as client:
        await client.ws.send_str(text)
        error = await client.next()
        assert (error["t"], error["data"]["code"]) == ("error", code)
        known = '"id": "bad"' in text and name not in {"NaN", "surrogate", "too large"}
        assert error["corr"] == ("bad" if known else None)
        await client.say("session.heartbeat", id="still")
        assert (await client.ws.receive_json())["corr"] == "still"


async def test_audio_without_a_stream_is_complained_of_once() -> None:
    async with world() as door, door.greeted() as client:
        for _ in range(50):
            await client.ws.send_bytes(b"audio")
        assert "asr.start" in (await client.next())["data"]["message"]
        await client.say("session.heartbeat", id="still")
        assert (await client.ws.receive_json())["corr"] == "still"


async def test_a_message_beyond_all_limits_closes_the_socket() -> None:
    async with world() as door, door.greeted() as client:
        await client.ws.send_bytes(bytes((1 << 20) + 1))
        assert await client.closed() == 1009


# --------------------------------------------------------------------------- many, slow, gone, leaving


async def test_a_hundred_listeners_hear_and_leave_nothing_behind() -> None:
    async with world() as door, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(door.greeted()) for _ in range(100)]
        for _ in range(5):
            door.app[EVENTS].publish(STARTED)
        for client in clients:
            assert [(await client.next())["t"] for _ in range(5)] == ["model.load.started"] * 5
        await stack.aclose()
        await door.deserted()


async def test_who_does_not_read_is_let_go_and_nobody_else() -> None:
    big = LoadStarted(model_id="m" * 20000, model_type="asr")
    async with world() as door, door.greeted() as slow, door.greeted() as quick:
        slow.ws._response.connection.transport.pause_reading()  # type: ignore[union-attr]
        for _ in range(4000):
            door.app[EVENTS].publish(big)
            assert (await quick.next())["t"] == "model.load.started"
            quick.heard.clear()
            if door.app[EVENTS].listeners == 1:
                break
        else:
            pytest.fail("the slow one was never let go")
        slow.ws._response.connection.transport.resume_reading()  # type: ignore[union-attr]
        assert await slow.closed() == 1013


async def test_a_client_that_vanishes_is_forgotten() -> None:
    async with world() as door, door.open() as client:
        await client.hello()
        client.ws._response.connection.transport.abort()  # type: ignore[union-attr]
        await door.deserted()


async def test_the_server_says_goodbye_when_it_leaves() -> None:
    async with world() as door, door.greeted(await door.session()) as client, door.greeted() as other:
        door.app[EVENTS].publish(STARTED)
        draining = asyncio.create_task(door.app[TRAFFIC].drain(5))
        assert (await client.next())["t"] == (await other.next())["t"] == "model.load.started"
        assert await client.closed() == await other.closed() == 1001
        assert await draining


async def test_a_socket_is_one_line_in_the_log_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    async with world(log_format="json") as door:
        async with door.open(headers={"X-Request-Id": "socket-7"}) as client:
            assert client.ws._response.headers["X-Request-Id"] == "socket-7"
            await client.hello()
        await door.deserted()
        async with door.http.get(f"{door.url}/metrics") as answer:
            assert 'contract="models",engine="",model="",status="101"} 1.0' in await answer.text()
    line = next(line for line in capsys.readouterr().out.splitlines() if "socket-7" in line)
    assert '"status":101' in line and '"path":"/ws"' in line
