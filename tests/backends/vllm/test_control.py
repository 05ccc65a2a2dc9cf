"""vLLM told to sleep, to wake up, to take adapters: its own paths, and what their refusals mean."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from backends.base import EngineSpec, ModelSpec
from backends.errors import Rejected, Unavailable
from backends.vllm.backend import VllmBackend
from tests.support import serve_running

TUNED = ModelSpec(source="tuned", adapter="/adapters/tuned", name="tuned")


class Told:
    """What a vLLM was told, and what it says: path -> status and body, 404 for all else."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, object]] = []
        self.answers: dict[str, tuple[int, object]] = {}

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append((request.path_qs, await request.json() if request.can_read_body else None))
        status, body = self.answers.get(request.path, (404, {"detail": "Not Found"}))
        return web.json_response(body, status=status)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def backend(told: Told) -> AsyncIterator[VllmBackend]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", told.answer)
    async with serve_running(app) as url:
        backend = VllmBackend(EngineSpec(name="gpu", kind="vllm", urls=(url,)))
        yield backend
        await backend.close()


async def test_it_sleeps_and_wakes_up(backend: VllmBackend, told: Told) -> None:
    told.answers = dict.fromkeys(("/sleep", "/wake_up", "/collective_rpc"), (200, {"status": "done"}))
    await backend.sleep(1)
    await backend.wake(1)
    assert told.requests == [("/sleep?level=1", None), ("/wake_up", None)]


async def test_after_a_deep_sleep_weights_are_read_again(backend: VllmBackend, told: Told) -> None:
    told.answers = dict.fromkeys(("/sleep", "/wake_up", "/collective_rpc"), (200, {"status": "done"}))
    await backend.wake(2)
    assert told.requests == [
        ("/wake_up?tags=weights", None),
        ("/collective_rpc", {"method": "reload_weights"}),
        ("/wake_up?tags=kv_cache", None),
    ]


async def test_without_its_development_mode_it_says_no(backend: VllmBackend) -> None:
    with pytest.raises(Rejected):
        await backend.sleep(1)
    assert not await backend.sleeping()


@pytest.mark.parametrize(
    ("said", "asleep"), [({"is_sleeping": True}, True), ({"is_sleeping": False}, False), ([], False)]
)
async def test_whether_it_sleeps(backend: VllmBackend, told: Told, said: object, asleep: bool) -> None:
    told.answers["/is_sleeping"] = (200, said)
    assert await backend.sleeping() is asleep


async def test_an_adapter_is_loaded_in_place(backend: VllmBackend, told: Told) -> None:
    told.answers["/v1/load_lora_adapter"] = (200, "Success")
    await backend.load_adapter(TUNED)
    asked = {"lora_name": "tuned", "lora_path": "/adapters/tuned", "load_inplace": True}
    assert told.requests == [("/v1/load_lora_adapter", asked)]


async def test_an_adapter_that_it_refuses(backend: VllmBackend, told: Told) -> None:
    told.answers["/v1/load_lora_adapter"] = (400, {"error": {"message": "no such file", "code": 400}})
    with pytest.raises(Rejected):
        await backend.load_adapter(TUNED)


@pytest.mark.parametrize("status", [200, 404])
async def test_one_that_it_has_not_is_unloaded(backend: VllmBackend, told: Told, status: int) -> None:
    told.answers["/v1/unload_lora_adapter"] = (status, "as you wish")
    await backend.unload_adapter(TUNED)
    assert told.requests == [("/v1/unload_lora_adapter", {"lora_name": "tuned"})]


async def test_one_that_is_not_there_at_all() -> None:
    backend = VllmBackend(EngineSpec(name="gpu", kind="vllm", urls=("http://127.0.0.1:9",)))
    with pytest.raises(Unavailable):
        await backend.sleep(1)
    assert not await backend.sleeping()
