"""API keys: whose they are, and what priority they may ask for."""

from __future__ import annotations

import aiohttp
import pytest

from proxy.caller import ANYONE, ApiKey, Caller, Priority, digest
from proxy.errors import ApiError, ErrorCode
from proxy.http.auth import PRIORITY, Keys, asking
from proxy.http.users import LOCAL_USER, note_user
from proxy.observability.call import Call
from proxy.registry.models import Registry
from tests.support import serve_app

NIGHTLY = Caller("nightly", Priority.LOW, Priority.LOW, weight=0.5, most=4)
URGENT = Caller("urgent", Priority.HIGH, Priority.HIGH)


def named(caller: Caller, key: str) -> ApiKey:
    return ApiKey(caller, digest(key))


def test_a_key_says_whose_it_is() -> None:
    keys = Keys(("one", "two"), (named(NIGHTLY, "three"),))
    assert keys.check("Bearer three") is NIGHTLY
    assert keys.check("bearer two") == Caller("#2", highest=Priority.NORMAL)
    assert keys.check("Bearer two") != keys.check("Bearer one")
    for wrong in (None, "", "Bearer", "Bearer four", "Basic three", "Bearer #1", "three"):
        with pytest.raises(ApiError) as caught:
            keys.check(wrong)
        assert caught.value.code is ErrorCode.UNAUTHORIZED


def test_without_keys_the_door_is_open() -> None:
    keys = Keys(())
    assert not keys
    assert keys.check(None) is keys.check("Bearer whatever") is ANYONE


def test_keys_come_and_go_and_the_plain_ones_stay() -> None:
    keys = Keys(("one",), (named(NIGHTLY, "two"),))
    keys.accept((named(URGENT, "three"),))
    assert keys.check("Bearer three") is URGENT
    assert keys.check("Bearer one").key == "#1"
    with pytest.raises(ApiError):
        keys.check("Bearer two")


def test_a_caller_asks_for_no_more_than_it_may_have() -> None:
    assert asking(URGENT, "low").priority is Priority.LOW
    assert asking(ANYONE, "high").priority is Priority.HIGH
    with pytest.raises(ApiError, match="at most") as caught:
        asking(NIGHTLY, "normal")
    assert caught.value.code is ErrorCode.FORBIDDEN
    for word in ("", "High", "0", "urgent", "x" * 10_000):
        with pytest.raises(ApiError, match="is none of high, normal, low") as caught:
            asking(URGENT, word)
        assert caught.value.code is ErrorCode.INVALID
        assert len(caught.value.message) < 150


def test_a_user_with_a_token_is_a_caller_too() -> None:
    call = Call("id", "POST", "/", caller=asking(ANYONE, "low"))
    note_user(call, "ada")
    assert call.caller.key.startswith("user-") and "ada" not in call.caller.key
    assert (call.caller.priority, call.caller.highest) == (Priority.LOW, Priority.NORMAL)
    with pytest.raises(ApiError, match="may ask for `normal` at most") as caught:
        note_user(Call("id", "POST", "/", caller=asking(ANYONE, "high")), "ada")
    assert caught.value.code is ErrorCode.FORBIDDEN


@pytest.mark.parametrize(("caller", "user"), [(NIGHTLY, "key\tdigest"), (ANYONE, LOCAL_USER)])
def test_the_holder_of_a_key_and_the_local_user_stay_who_they_are(caller: Caller, user: str) -> None:
    call = Call("id", "POST", "/", caller=caller)
    note_user(call, user)
    assert call.caller is caller


async def test_the_door_refuses_a_priority_in_the_words_of_the_path() -> None:
    registry = Registry(keys={"nightly": named(NIGHTLY, "k")})
    async with serve_app(registry) as url, aiohttp.ClientSession() as http:
        for word, status in (("low", 200), ("high", 403), ("now", 400)):
            headers = {"Authorization": "Bearer k", PRIORITY: word}
            async with http.get(f"{url}/v1/models", headers=headers) as answer:
                assert answer.status == status
                if status != 200:
                    assert (await answer.json())["error"]["param"] == PRIORITY
        async with http.get(f"{url}/v1/models") as answer:
            assert answer.status == 401
