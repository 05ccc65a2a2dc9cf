"""What engines say they serve, and what is made of an answer that does not say it."""

from __future__ import annotations

import pytest

from backends.base import EngineSpec
from backends.errors import BackendError, Broken, Rejected, Unavailable
from backends.openai_compatible.backend import OpenAICompatibleBackend
from backends.remote.openai_backend import OpenAIBackend
from backends.tgi.backend import TgiBackend
from backends.vllm.backend import VllmBackend
from tests.backends.remote.rig import dead_port, engine_running, json_answer, replay

KINDS: dict[str, type[OpenAIBackend | TgiBackend]] = {
    "vllm": VllmBackend,
    "tgi": TgiBackend,
    "openai_compatible": OpenAICompatibleBackend,
}


async def listed(kind: str, url: str) -> frozenset[str]:
    backend = KINDS[kind](EngineSpec(name="e", kind=kind, urls=(url,)))
    try:
        return await backend.models()
    finally:
        await backend.close()


@pytest.mark.parametrize(
    ("kind", "body", "names"),
    [
        ("vllm", b'{"object": "list", "data": [{"id": "a"}, {"id": "b"}]}', {"a", "b"}),
        ("vllm", b'{"data": []}', set()),
        ("openai_compatible", b'{"data": [{"id": "a"}, {}, 7]}', {"a"}),
        ("tgi", b'{"model_id": "org/a", "max_total_tokens": 9}', {"org/a"}),
    ],
)
async def test_what_is_listed(kind: str, body: bytes, names: set[str]) -> None:
    async with engine_running(replay(json_answer(body))) as engine:
        assert await listed(kind, engine.url) == names


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("body", [b"[]", b"no json", b'{"data": "a"}', b'{"model_id": 7}'])
async def test_an_answer_without_a_list_is_broken(kind: str, body: bytes) -> None:
    async with engine_running(replay(json_answer(body))) as engine:
        with pytest.raises(Broken):
            await listed(kind, engine.url)


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_a_refusal_and_nobody_at_all(kind: str) -> None:
    async with engine_running(replay(json_answer(b"{}", b"404 Not Found"))) as engine:
        with pytest.raises(Rejected):
            await listed(kind, engine.url)
    with dead_port() as url:
        with pytest.raises(Unavailable) as gone:
            await listed(kind, url)
        assert isinstance(gone.value, BackendError)
