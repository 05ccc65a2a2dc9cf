"""A registered model is chatted with at once, and answered for when it was retired or removed."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp

from backends.types import Delta, Finish
from tests.support import ScriptedBackend, one_model, serve_app

PRINTED = Path(__file__).parent / "printed"
MODELS = "/api/huggingface/models"
PATH = "/api/ai/huggingface/org/added/chat?chat_id=1"
ASK = {"messages": [{"role": "user", "content": "Hello?"}]}


def printed(name: str) -> object:
    return json.loads((PRINTED / name).read_text(encoding="utf-8"))


async def test_a_models_life_in_the_registry_shows_here(tmp_path: Path) -> None:
    backend = ScriptedBackend(lambda _: [Delta(0, "Hello."), Finish(0, "stop")])
    registry = one_model("org/model", "text", kind="transformers", data=tmp_path)

    async def chat() -> tuple[int, object]:
        async with http.post(PATH, json=ASK) as answer:
            return answer.status, await answer.text() if answer.status == 200 else await answer.json()

    async with (
        serve_app(registry, backend.create, data=tmp_path) as url,
        aiohttp.ClientSession(url, headers={"Authorization": "Bearer any"}, raise_for_status=False) as http,
    ):
        assert await chat() == (400, printed("invalid_model.json"))
        added = {"model_id": "org/added", "name": "Added", "model_type": "text-generation"}
        assert (await http.post(MODELS, json=added)).ok
        assert await chat() == (200, "Hello.")
        assert (await http.put(f"{MODELS}/org/added", json={"status": "retired"})).ok
        assert await chat() == (400, printed("service_unavailable.json"))
        assert (await http.put(f"{MODELS}/org/added", json={"status": "available"})).ok
        assert await chat() == (200, "Hello.")
        assert (await http.delete(f"{MODELS}/org/added")).ok
        assert await chat() == (400, printed("invalid_model.json"))
        async with http.get("/api/ai/chats/1") as answer:
            assert (await answer.json())["message_count"] == 4, "what was said stays"
