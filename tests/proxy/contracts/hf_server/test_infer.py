from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Iterable
from itertools import groupby
from pathlib import Path

import pytest
from aiohttp import ClientSession

import backends
from backends.errors import Invalid, Unavailable
from backends.types import Event, Request, Translate, Translated
from tests.support import ScriptedBackend, one_model, serve_app

NANO = Path(backends.__file__).parent / "nano" / "translate"
HELD_OUT = Path(__file__).parents[3] / "backends" / "translation" / "heldout.tsv"


def shout(request: Request) -> Iterable[Event | Exception]:
    assert isinstance(request, Translate)
    return [Translated(index, text.upper(), "en", "fr") for index, text in enumerate(request.texts)]


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend(shout)


@pytest.fixture
async def url(backend: ScriptedBackend) -> AsyncIterator[str]:
    registry = one_model("mt", "translation", "org/mt", kind="translation")
    async with serve_app(registry, backend.create, max_body_mb=0.1) as base:
        yield base


async def post(url: str, **body: object) -> tuple[int, dict[str, object]]:
    async with ClientSession() as session, session.post(f"{url}/infer", json=body) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize("model", ["mt", "org/mt", "", None])
async def test_a_text_is_translated_by_the_model_named_or_the_default(url: str, model: str | None) -> None:
    answer = await post(url, task="translation", model=model, inputs="hello", params={})
    assert answer == (200, {"result": [{"translation_text": "HELLO"}]})


async def test_a_list_is_answered_in_its_order(url: str, backend: ScriptedBackend) -> None:
    backend.script = lambda request: reversed(list(shout(request)))
    texts = [f"text {number}" for number in range(300)]
    _, body = await post(url, task="translation_en_to_fr", inputs=texts)
    assert body["result"] == [{"translation_text": text.upper()} for text in texts]
    assert backend.requests == [Translate(texts=tuple(texts), source="en", target="fr")]


async def test_the_query_holds_nothing_but_a_session(url: str, backend: ScriptedBackend) -> None:
    body = {"task": "translation", "inputs": "a"}
    for query, name in (
        ("model=mt", "`model`"),
        ("task=translation", "`task`"),
        ("session_id=a&session_id=b", "`session_id`"),
    ):
        async with ClientSession() as session, session.post(f"{url}/infer?{query}", json=body) as answer:
            assert (answer.status, name in (await answer.json())["detail"]) == (400, True)
    assert backend.requests == []


async def test_errors_are_details(url: str, backend: ScriptedBackend) -> None:
    status, body = await post(url, task="translation", model="/opus", inputs="a")
    assert (status, list(body)) == (404, ["detail"])
    assert "`/opus` does not exist" in str(body["detail"])
    status, body = await post(url, task="summarization", inputs="a")
    assert (status, list(body)) == (400, ["detail"])
    backend.script = lambda _: (Unavailable("Still loading.", retry_after=2),)
    assert await post(url, task="translation", inputs="a") == (503, {"detail": "Still loading."})
    backend.script = lambda _: (Invalid("There is no language `xx`.", param="target"),)
    status, body = await post(url, task="translation", inputs="a", params={"tgt_lang": "xx"})
    assert (status, body["detail"]) == (400, "Invalid `params.tgt_lang`: There is no language `xx`.")
    assert (await post(url, task="translation", inputs="a" * 100_000))[0] == 413


async def test_other_methods_and_bodies(url: str) -> None:
    async with ClientSession() as session:
        async with session.get(f"{url}/infer") as answer:
            assert (answer.status, list(await answer.json())) == (405, ["detail"])
        async with session.post(f"{url}/infer", data=b"{", headers={"Content-Type": "application/json"}) as answer:
            assert (answer.status, list(await answer.json())) == (400, ["detail"])
        async with session.post(f"{url}/infer", data={"task": "translation"}) as answer:
            assert (answer.status, list(await answer.json())) == (415, ["detail"])


async def test_held_out_sentences_come_back_exact(tmp_path: Path) -> None:
    with HELD_OUT.open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file, delimiter="\t"), key=lambda row: (row["source"], row["target"]))
    registry = one_model("nano-translate", "translation", kind="translation", source=str(NANO), data=tmp_path)
    served = 0
    async with serve_app(registry) as url:
        for (source, target), group in groupby(rows, key=lambda row: (row["source"], row["target"])):
            pairs = [(row["text"], row["reference"]) for row in group]
            params = {"src_lang": source, "tgt_lang": target}
            status, body = await post(url, task="translation", inputs=[text for text, _ in pairs], params=params)
            assert status == 200
            result = body["result"]
            assert isinstance(result, list)
            assert [item["translation_text"] for item in result] == [wanted for _, wanted in pairs]
            served += len(pairs)
        status, body = await post(url, task="translation", inputs="Hello", params={"src_lang": "en", "tgt_lang": "xx"})
        assert (status, "`params.tgt_lang`" in str(body["detail"])) == (400, True)
        status, body = await post(url, task="translation", inputs="Hello")
        assert (status, "`params.src_lang`" in str(body["detail"])) == (400, True)
    assert served >= 100
