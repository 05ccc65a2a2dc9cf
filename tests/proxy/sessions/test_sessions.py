"""Sessions as they are made, changed, named and forgotten, on either database."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta

import pytest

from backends.types import JsonObject, Transcribe, Translate
from proxy.errors import ApiError, ErrorCode
from proxy.sessions.preferences import NO_PREFERENCES
from proxy.sessions.sessions import Sessions
from proxy.storage.database import Database
from proxy.storage.location import Location
from tests.proxy.sessions.world import IDLE, REGISTRY, Clock, sessions

OWNER = "a"
BEAMS: JsonObject = {"asr": {"parameters": {"beam_size": 2}}}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def kept(database: Database, clock: Clock) -> Sessions:
    return sessions(database, clock)


async def missing(kept: Sessions, sid: str, owner: str = OWNER) -> None:
    with pytest.raises(ApiError) as caught:
        await kept.get(owner, sid)
    assert (caught.value.code, caught.value.param) == (ErrorCode.NOT_FOUND, "session_id")


async def test_ids_are_secrets_of_their_own(kept: Sessions) -> None:
    ids = {(await kept.create(OWNER, {})).id for _ in range(20)}
    assert len(ids) == 20
    assert all(re.fullmatch("sess_[0-9a-f]{32}", sid) for sid in ids)


async def test_a_session_is_its_owners_alone(kept: Sessions) -> None:
    session = await kept.create(OWNER, BEAMS)
    await missing(kept, session.id, owner="b")
    assert await kept.all("b") == []
    assert await kept.end_all("b") == []
    with pytest.raises(ApiError, match="There is no session"):
        await kept.end("b", session.id)
    with pytest.raises(ApiError, match="There is no session"):
        await kept.configure("b", session.id, {}, immediately=True)
    assert (await kept.get(OWNER, session.id)).said == BEAMS
    assert [each.id for each in await kept.all(OWNER)] == [session.id]


async def test_an_owner_is_known_by_the_digest_of_its_key(database: Database, clock: Clock) -> None:
    keyed, opened = sessions(database, clock), sessions(database, clock, keyed=False)
    assert keyed.owner("Bearer k1") == keyed.owner("bearer  k1") != keyed.owner("Bearer k2")
    assert "k1" not in keyed.owner("Bearer k1")
    assert opened.owner("Bearer k1") == opened.owner(None) == ""


async def test_what_has_not_the_shape_of_an_id_is_no_session(kept: Sessions) -> None:
    for sid in ("", "x", "sess_", "sess_1234567890abcdef\x00", "sess_" + "A" * 32, "x" * 10_000):
        await missing(kept, sid)
        for attempt in (
            kept.end(OWNER, sid),
            kept.configure(OWNER, sid, {}, immediately=True),
            kept.connect(OWNER, sid),
        ):
            with pytest.raises(ApiError, match="There is no session"):
                await attempt


# --------------------------------------------------------------------------- time


async def test_a_session_that_nobody_names_ends(kept: Sessions, clock: Clock) -> None:
    session = await kept.create(OWNER, {})
    clock.advance(IDLE - 1)
    await kept.get(OWNER, session.id)
    clock.advance(IDLE - 1)
    assert (await kept.get(OWNER, session.id)).expires == clock.now + timedelta(seconds=IDLE)
    clock.advance(IDLE)
    await missing(kept, session.id)
    assert await kept.all(OWNER) == []
    assert await kept.end_all(OWNER) == []
    for attempt in (kept.end(OWNER, session.id), kept.configure(OWNER, session.id, BEAMS, immediately=True)):
        with pytest.raises(ApiError, match="expired"):
            await attempt


async def test_to_list_sessions_is_not_to_name_them(kept: Sessions, clock: Clock) -> None:
    await kept.create(OWNER, {})
    clock.advance(IDLE - 1)
    assert len(await kept.all(OWNER)) == 1
    clock.advance(1)
    assert await kept.all(OWNER) == []


async def test_a_session_named_a_moment_ago_is_not_written_again(kept: Sessions, clock: Clock) -> None:
    session = await kept.create(OWNER, {})
    clock.advance(IDLE * 0.04)
    assert (await kept.get(OWNER, session.id)).last_seen == session.created
    clock.advance(IDLE * 0.02)
    assert (await kept.get(OWNER, session.id)).last_seen == clock.now


async def test_the_limit_counts_only_sessions_that_are_there(database: Database, clock: Clock) -> None:
    kept = sessions(database, clock, most=2)
    first = await kept.create(OWNER, {})
    await kept.create(OWNER, {})
    await kept.create("b", {})
    with pytest.raises(ApiError) as caught:
        await kept.create(OWNER, {})
    assert caught.value.code == ErrorCode.OVERLOADED
    await kept.end(OWNER, first.id)
    await kept.create(OWNER, {})
    clock.advance(IDLE)
    await kept.create(OWNER, {})
    assert len(await kept.all(OWNER)) == 1


async def test_a_restart_forgets_nothing(database: Database, location: Location, clock: Clock) -> None:
    before = sessions(database, clock)
    session = await before.create(OWNER, BEAMS)
    await before.configure(OWNER, session.id, {"asr": {"language": "de"}}, immediately=False)
    seen = await before.get(OWNER, session.id)
    again = Database(location)
    assert await sessions(again, clock).get(OWNER, session.id) == seen
    await again.close()


# --------------------------------------------------------------------------- configuration


async def test_changes_are_laid_over_one_another(kept: Sessions, clock: Clock) -> None:
    session = await kept.create(OWNER, BEAMS)
    clock.advance(10)
    done = await kept.configure(
        OWNER, session.id, {"asr": {"language": "de", "parameters": {"best_of": 3}}}, immediately=True
    )
    assert done.session.updated == clock.now
    assert done.session.said == {"asr": {"language": "de", "parameters": {"beam_size": 2, "best_of": 3}}}
    assert (done.config.asr.parameters.beam_size, done.config.asr.parameters.best_of) == (2, 3)
    done = await kept.configure(OWNER, session.id, {"asr": {"language": None}}, immediately=True)
    assert done.config.asr.language is None
    assert (await kept.get(OWNER, session.id)).said == done.session.said


async def test_a_change_that_is_refused_changes_nothing(kept: Sessions) -> None:
    session = await kept.create(OWNER, BEAMS)
    for change in (
        {"asr": {"language": "de", "parameters": {"beam_size": 99}}},
        {"asr": {"language": "de", "model_id": "nothing"}},
        {"asr": {"language": "de"}, "mt": {"compute_config": {"device": "cuda"}}},
        {"x": 1},
    ):
        with pytest.raises(ApiError):
            await kept.configure(OWNER, session.id, change, immediately=True)  # type: ignore[arg-type]
        with pytest.raises(ApiError):
            await kept.create(OWNER, change)  # type: ignore[arg-type]
    assert (await kept.get(OWNER, session.id)).said == BEAMS
    assert len(await kept.all(OWNER)) == 1


async def test_staged_changes_wait_for_the_next_connection(kept: Sessions) -> None:
    session = await kept.create(OWNER, {})
    staged = await kept.configure(OWNER, session.id, BEAMS, immediately=False)
    assert staged.config.asr.parameters.beam_size == 2
    assert (await kept.preferences(OWNER, session.id)).transcribe.beam_size == 5
    await kept.configure(OWNER, session.id, {"asr": {"parameters": {"best_of": 1}}}, immediately=False)
    assert (await kept.preferences(OWNER, session.id)).transcribe.beam_size == 5
    done = await kept.connect(OWNER, session.id)
    assert done is not None and done.applied and done.session.staged is None
    assert done.config.asr.parameters.beam_size == 2
    wanted = (await kept.preferences(OWNER, session.id)).transcribe
    assert (wanted.beam_size, wanted.best_of) == (2, 1)
    assert await kept.connect(OWNER, session.id) is None


async def test_a_change_that_is_applied_takes_the_staged_ones_along(kept: Sessions) -> None:
    session = await kept.create(OWNER, {})
    await kept.configure(OWNER, session.id, BEAMS, immediately=False)
    done = await kept.configure(OWNER, session.id, {"asr": {"language": "de"}}, immediately=True)
    assert done.session.staged is None
    wanted = (await kept.preferences(OWNER, session.id)).transcribe
    assert (wanted.beam_size, wanted.language) == (2, "de")


async def test_changes_of_many_at_once_are_all_kept(kept: Sessions, location: Location, clock: Clock) -> None:
    session = await kept.create(OWNER, {})
    other = Database(location)
    proxies = (kept, sessions(other, clock))
    changes: list[JsonObject] = [
        {"asr": {"language": "de"}},
        {"asr": {"task": "translate"}},
        {"asr": {"parameters": {"beam_size": 3}}},
        {"asr": {"parameters": {"best_of": 3}}},
        {"mt": {"parameters": {"beam_size": 4}}},
        {"mt": {"parameters": {"max_new_tokens": 4}}},
        {"mt": {"parameters": {"max_input_length": 4}}},
    ]
    await asyncio.gather(
        *(
            proxies[number % 2].configure(OWNER, session.id, change, immediately=True)
            for number, change in enumerate(changes)
        )
    )
    assert (await proxies[1].get(OWNER, session.id)).said == {
        "asr": {"language": "de", "task": "translate", "parameters": {"beam_size": 3, "best_of": 3}},
        "mt": {"parameters": {"beam_size": 4, "max_new_tokens": 4, "max_input_length": 4}},
    }
    await other.close()


# --------------------------------------------------------------------------- what holds for a request


async def test_a_request_without_a_session_needs_no_database(kept: Sessions) -> None:
    nothing = await kept.preferences(OWNER, None)
    assert nothing is NO_PREFERENCES
    assert (nothing.transcribe, nothing.translate) == (Transcribe(audio=b""), Translate(texts=()))
    entry = REGISTRY.models[0]
    assert await kept.placed(entry, nothing) is entry


async def test_what_holds_for_a_request_that_names_one(kept: Sessions) -> None:
    change: JsonObject = {
        "asr": {"model_id": "ears-2", "compute_config": {"compute_type": "int8"}},
        "mt": {"target_language": "fr", "compute_config": {"batch_size": 3}},
    }
    session = await kept.create(OWNER, change)
    wanted = await kept.preferences(OWNER, session.id)
    assert wanted.models == {"transcription": "ears-2"}
    assert wanted.transcribe.beam_size == 5
    assert (wanted.translate.target, wanted.translate.batch_size) == ("fr", 3)
    ears, _, _, words, _ = REGISTRY.models
    assert (await kept.placed(ears, wanted)).spec.variant == "cpu-int8"
    assert await kept.placed(words, wanted) is words
