"""TGI's clients before a real vLLM: they find a TGI."""

from __future__ import annotations

import re
from collections.abc import Iterator

import aiohttp
import pytest

from tests.engines.conftest import config_for
from tests.engines.proxy_process import proxy_process
from tests.engines.real_vllm import MAX_MODEL_LEN, RealVllm
from tests.engines.tgi_checks import CHECKS, Check, Tgi, as_prompt

pytestmark = [
    pytest.mark.engines,
    pytest.mark.timeout(400),
    # text-generation 0.7 serialises its requests with pydantic 1's word for it.
    pytest.mark.filterwarnings("ignore:The `dict` method is deprecated"),
]


@pytest.fixture(scope="module")
def url(vllm: RealVllm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The proxy, whose default for text vLLM serves."""
    config = f'{config_for(vllm)}\n[defaults]\ntext = "chat"\n'
    with proxy_process(config, tmp_path_factory.mktemp("tgi-proxy")) as url:
        yield url


@pytest.mark.parametrize("check", CHECKS, ids=[check.__name__ for check in CHECKS])
async def test_clients_of_tgi_are_served(url: str, check: Check) -> None:
    await check(Tgi(url, await as_prompt(url, "What is the capital of France?")))


async def test_tokens_have_their_places(url: str) -> None:
    text = "The café in Paris 🎉."
    async with aiohttp.ClientSession(url) as client:
        async with client.post("/tokenize", json={"inputs": text}) as response:
            assert response.status == 200
            pieces = await response.json()
        async with client.post("/tokenize", json={"model": "chat", "prompt": text}) as response:
            ids = (await response.json())["tokens"]
    assert [piece["id"] for piece in pieces] == ids
    assert all(piece["text"] == text[piece["start"] : piece["stop"]] for piece in pieces)
    places = [place for piece in pieces for place in range(piece["start"], piece["stop"])]
    assert set(places) == set(range(len(text)))


async def test_a_limit_is_the_context_and_truncation_is_in_tokens(url: str) -> None:
    async with aiohttp.ClientSession(url) as client:
        async with client.get("/info") as response:
            assert (await response.json())["max_total_tokens"] == MAX_MODEL_LEN
        body = {"inputs": "one two three four five", "parameters": {"details": True, "truncate": 2}, "stream": True}
        async with client.post("/", json=body) as response:
            events = (await response.text()).split("\n\n")
        assert '"input_length":2' in events[-2]


async def test_a_grammar_holds(url: str) -> None:
    async with aiohttp.ClientSession(url) as client:
        for grammar, pattern in (
            ({"type": "regex", "value": "(yes|no)"}, "yes|no"),
            (
                {
                    "type": "json",
                    "value": {
                        "type": "object",
                        "properties": {"answer": {"type": "boolean"}},
                        "required": ["answer"],
                        "additionalProperties": False,
                    },
                },
                r'\{"answer": ?(true|false)\}',
            ),
        ):
            body = {"inputs": "Yes or no?", "parameters": {"grammar": grammar, "max_new_tokens": 30}}
            async with client.post("/generate", json=body) as response:
                text = (await response.json())["generated_text"]
            assert re.fullmatch(pattern, text)
