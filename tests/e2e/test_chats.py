"""Chats of a real process: killed in the middle of an answer, and with an issuer's keys for tokens."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from tests.command import serving, start
from tests.engines.vllm_double import Fault, VllmDouble

PATH = "/api/ai/huggingface/org/model/chat"
ASK = {"messages": [{"role": "user", "content": "Tell me all."}]}
ANY = {"Authorization": "Bearer any"}


@pytest.fixture
async def engine() -> AsyncIterator[VllmDouble]:
    async with VllmDouble() as double:
        yield double


@pytest.fixture
def settings(engine: VllmDouble, tmp_path: Path) -> dict[str, str]:
    """A model `org/model` on the engine, and a data directory that outlives the process."""
    path = tmp_path / "switchboard.toml"
    path.write_text(
        f'[[engines]]\nname = "e"\nkind = "vllm"\nurl = "{engine.url}"\n'
        f'[[models]]\nname = "org/model"\nengine = "e"\nserved_as = "{engine.model}"\n'
    )
    return {"SWITCHBOARD_CONFIG": str(path), "SWITCHBOARD_DATA": str(tmp_path / "data")}


async def test_killed_in_the_middle_an_answer_is_incomplete_and_the_others_are_whole(
    settings: dict[str, str], engine: VllmDouble
) -> None:
    async with aiohttp.ClientSession(headers=ANY) as http:
        async with serving(**settings) as command:
            async with http.post(f"{command.url}{PATH}?chat_id=1", json=ASK) as answer:
                whole = await answer.text()
            engine.fail(Fault(kind="hang", after=3))
            async with http.post(f"{command.url}{PATH}?chat_id=1", json=ASK) as answer:
                assert await answer.content.readany()
                command.signal(signal.SIGKILL)
                with pytest.raises(aiohttp.ClientError):
                    await answer.read()
        async with serving(**settings) as command:
            async with http.get(f"{command.url}/api/ai/chats/1") as answer:
                kept = [(each["role"], each["complete"]) for each in (await answer.json())["messages"]]
                first = (await answer.json())["messages"][1]["content"]
            assert kept == [("user", True), ("assistant", True), ("user", True), ("assistant", False)]
            assert first == whole
            async with http.post(f"{command.url}{PATH}?chat_id=1", json=ASK) as answer:
                assert await answer.text() == whole, "the chat goes on"


async def talk(http: aiohttp.ClientSession, url: str, chat_id: int, heard: dict[int, list[str]]) -> None:
    """Ask again and again until the proxy dies; note every answer that was whole."""
    while True:
        try:
            async with http.post(f"{url}{PATH}?chat_id={chat_id}", json=ASK) as answer:
                text = await answer.text()
        except aiohttp.ClientError:
            return
        assert answer.status == 200
        heard[chat_id].append(text)


@pytest.mark.parametrize("seconds", [0.3, 0.8])
async def test_killed_at_any_time_no_whole_answer_is_lost_and_no_turn_is_half(
    settings: dict[str, str], seconds: float
) -> None:
    heard: dict[int, list[str]] = {chat_id: [] for chat_id in range(6)}
    async with aiohttp.ClientSession(headers=ANY) as http:
        async with serving(**settings) as command:
            talking = [asyncio.create_task(talk(http, command.url, chat_id, heard)) for chat_id in heard]
            async with asyncio.timeout(30):
                # From the first whole answer on, so that there is something to lose.
                while not any(heard.values()):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await asyncio.sleep(seconds)
            command.signal(signal.SIGKILL)
            await asyncio.gather(*talking)
        async with serving(**settings) as command:
            for chat_id, answers in heard.items():
                async with http.get(f"{command.url}/api/ai/chats/{chat_id}?limit=200") as answer:
                    messages = (await answer.json()).get("messages", [])
                assert [each["role"] for each in messages] == ["user", "assistant"] * (len(messages) // 2)
                kept = [each["content"] for each in messages[1::2] if each["complete"]]
                assert kept[: len(answers)] == answers[: len(kept)] and len(kept) >= min(len(answers), 100)
                assert len(messages) // 2 <= len(kept) + 1, "one answer at most was being written"


async def test_at_the_deadline_of_a_stop_an_answer_is_cut_off_and_kept(
    settings: dict[str, str], engine: VllmDouble
) -> None:
    engine.fail(Fault(kind="hang", after=3))
    async with aiohttp.ClientSession(headers=ANY) as http:
        async with serving(SWITCHBOARD_DRAIN_SECONDS="0.2", **settings) as command:
            async with http.post(f"{command.url}{PATH}?chat_id=1", json=ASK) as answer:
                begun = await answer.content.readany()
                command.signal(signal.SIGTERM)
                with pytest.raises(aiohttp.ClientError):
                    await answer.read()
            assert await command.rest() == 0
        async with serving(**settings) as command, http.get(f"{command.url}/api/ai/chats/1") as answer:
            last = (await answer.json())["messages"][-1]
    assert last["content"].startswith(begun.decode())
    assert (last["role"], last["complete"]) == ("assistant", False)


def key_set(key: ec.EllipticCurvePrivateKey) -> str:
    return json.dumps({"keys": [{**json.loads(ECAlgorithm.to_jwk(key.public_key())), "kid": "1"}]})


async def test_an_issuers_keys_let_its_users_in(settings: dict[str, str], tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "keys.json").write_text(key_set(key))
    token = jwt.encode({"sub": "ann", "exp": time.time() + 60}, key, algorithm="ES256", headers={"kid": "1"})
    async with (
        serving(SWITCHBOARD_JWT_JWKS=str(tmp_path / "keys.json"), **settings) as command,
        aiohttp.ClientSession() as http,
    ):
        for sent, status in ((token, 200), ("any", 401)):
            headers = {"Authorization": f"Bearer {sent}"}
            async with http.post(f"{command.url}{PATH}?chat_id=1", json=ASK, headers=headers) as answer:
                assert answer.status == status


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "No such file"), ("{}", "not a key set"), ('{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "no public")],
)
async def test_keys_that_are_of_no_use_are_told_at_start(tmp_path: Path, content: str | None, why: str) -> None:
    path = tmp_path / "keys.json"
    if content is not None:
        path.write_text(content)
    process = await start("serve", {"SWITCHBOARD_LISTEN": "127.0.0.1:0", "SWITCHBOARD_JWT_JWKS": str(path)})
    async with asyncio.timeout(30):
        _, errors = await process.communicate()
    assert process.returncode == 2
    assert f"SWITCHBOARD_JWT_JWKS={path}" in errors.decode() and why in errors.decode()


async def test_without_tokens_nothing_that_checks_them_is_loaded(settings: dict[str, str]) -> None:
    async with serving(**settings) as command:
        maps = await asyncio.to_thread(Path(f"/proc/{command.process.pid}/maps").read_text)
    assert "cryptography" not in maps
