"""`POST /infer` over a real socket: any task of any model, files in JSON and in forms, and all that may be wrong with either."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import cast

import pytest
import torch
from aiohttp import ClientSession, FormData
from huggingface_hub import constants

from backends.errors import Unavailable
from backends.types import Event, Infer, Inferred, Json, JsonObject, Request, Segment, Speech, Transcribe
from proxy.registry.config import load_registry
from proxy.settings import Settings
from tests.backends.pipelines import files, tiny, tiny_senses
from tests.backends.pipelines.files import b64
from tests.backends.pipelines.tiny import NANO, cached
from tests.support import ScriptedBackend, one_model, serve_app

CONFIG = (
    "".join(
        f'[[models]]\nname = "nano-{name}"\nengine = "{engine}"\nsource = "{NANO / name}"\n'
        for name, engine in {"chat": "transformers", "whisper": "whisper", "translate": "translation"}.items()
    )
    + '[defaults]\ntranscription = "nano-whisper"\ntranslation = "nano-translate"\n'
)
SENTIMENT = "distilbert-base-uncased-finetuned-sst-2-english"


@dataclass
class Door:
    """A door to ask."""

    url: str

    async def json(self, **body: object) -> tuple[int, JsonObject]:
        sent, headers = BytesIO(json.dumps(body).encode()), {"Content-Type": "application/json"}
        async with ClientSession() as session, session.post(f"{self.url}/infer", data=sent, headers=headers) as answer:
            assert answer.content_type == "application/json"
            return answer.status, await answer.json()

    async def form(self, *files: tuple[str, bytes], **fields: str) -> tuple[int, JsonObject]:
        form = FormData(fields, default_to_multipart=True)
        for name, data in files:
            form.add_field(name, BytesIO(data), filename="/etc/passwd")
        async with ClientSession() as session, session.post(f"{self.url}/infer", data=form) as answer:
            return answer.status, await answer.json()


def coded(directory: Path) -> None:
    tiny.roberta(directory)
    config = directory / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "auto_map": {"AutoModel": "code.Model"}}))


def pickled(directory: Path) -> None:
    tiny.roberta(directory)
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return cached(
        tmp_path_factory.mktemp("home"),
        distilbert_base_uncased_finetuned_sst_2_english=tiny.distilbert,
        org__bert=tiny.bert("ForMaskedLM"),
        org__vit=tiny_senses.vit,
        org__layout=tiny.layoutlm,
        org__ears=tiny_senses.wav2vec2("CTC"),
        org__bart=tiny.bart,
        org__coded=coded,
        org__pickled=pickled,
    )


@pytest.fixture
async def door(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Door]:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    config = tmp_path / "switchboard.toml"
    config.write_text(CONFIG)
    settings = Settings(config=config, data=tmp_path, lx_device="cpu")
    registry = await asyncio.to_thread(load_registry, settings)
    async with serve_app(registry, data=tmp_path, max_body_mb=2, max_audio_mb=1) as url:
        yield Door(url)


async def test_any_model_of_the_hub_does_its_tasks(door: Door) -> None:
    status, body = await door.json(task="sentiment-analysis", model=SENTIMENT, inputs="I love this product!", params={})
    assert (status, list(body)) == (200, ["result"])
    (found,) = cast("list[JsonObject]", body["result"])
    assert found["label"] in ("POSITIVE", "NEGATIVE")
    status, body = await door.json(task="fill-mask", model="org/bert", inputs="emma [MASK]", params={"top_k": 2})
    assert (status, len(cast("list[Json]", body["result"]))) == (200, 2)
    status, body = await door.json(task="feature-extraction", model="org/bert", inputs=["emma", "box"])
    assert (status, len(cast("list[Json]", body["result"]))) == (200, 2)
    status, body = await door.json(task="summarization", model="org/bart", inputs="emma bought the box")
    assert (status, list(cast("list[JsonObject]", body["result"])[0])) == (200, ["summary_text"])


async def test_files_come_as_base64_and_in_forms(door: Door) -> None:
    picture = files.png()
    _, expected = await door.json(task="image-classification", model="org/vit", inputs=b64(picture))
    answers = [
        await door.json(task="image-classification", model="org/vit", inputs=f"data:image/png;base64,{b64(picture)}"),
        await door.form(("file", picture), task="image-classification", model="org/vit"),
        await door.form(("inputs2", picture), task="image-classification", model="org/vit"),
    ]
    assert answers[:2] == [(200, expected)] * 2
    assert answers[2][0] == 400
    twice = (("file", picture), ("file", picture))
    _, both = await door.form(*twice, task="image-classification", model="org/vit", params='{"top_k": 1}')
    assert len(cast("list[Json]", both["result"])) == 2
    words = json.dumps({"question": "who ?", "word_boxes": [["emma", [0, 0, 10, 10]]]})
    status, body = await door.form(
        ("image", picture), task="document-question-answering", model="org/layout", inputs=words
    )
    assert (status, "'answer': 'emma'" in str(body["result"])) == (200, True)
    status, body = await door.form(("file", files.sound()), task="automatic-speech-recognition", model="org/ears")
    assert (status, list(cast("JsonObject", body["result"]))) == (200, ["text"])


async def test_configured_models_serve_on_their_own_engines(door: Door) -> None:
    speech = (NANO / "samples" / "1_en-us.wav").read_bytes()
    for model in ("nano-whisper", ""):
        status, body = await door.form(
            ("file", speech), task="automatic-speech-recognition", model=model, params='{"return_timestamps": "word"}'
        )
        assert status == 200
        spoken = cast("JsonObject", body["result"])
        assert spoken["text"] == " Maria bought the yellow box at the hotel."
        assert cast("list[JsonObject]", spoken["chunks"])[0]["text"] == " Maria"
    params = {"max_new_tokens": 10}
    hello = [{"role": "user", "content": "Hello"}]
    status, body = await door.json(task="text-generation", model="nano-chat", inputs=hello, params=params)
    generated = cast("list[JsonObject]", body["result"])[0]["generated_text"]
    assert (status, cast("list[JsonObject]", generated)[-1]["content"]) == (200, "Hello! How can I help you?")
    status, body = await door.json(task="conversational", model="nano-chat", inputs=hello, params=params)
    assert (status, cast("JsonObject", body["result"])["generated_text"]) == (200, "Hello! How can I help you?")
    status, body = await door.json(task="translation_en_to_fr", model="nano-translate", inputs="Hello")
    assert (status, list(cast("list[JsonObject]", body["result"])[0])) == (200, ["translation_text"])


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({"task": "sing"}, 400, "There is no task `sing`"),
        ({"task": "fil-mask"}, 400, "Did you mean `fill-mask`"),
        ({"task": "fill-mask", "model": "/etc/passwd"}, 404, "does not exist"),
        ({"task": "fill-mask", "model": "a/b/c"}, 404, "does not exist"),
        ({"task": "fill-mask", "model": "org/not-here"}, 404, "org/not-here is neither in the hub's cache"),
        ({"task": "fill-mask", "model": "org/coded"}, 400, "code of its own"),
        ({"task": "fill-mask", "model": "org/pickled"}, 400, "no weights as safetensors"),
        ({"task": "fill-mask", "model": None}, 400, "`model` is missing"),
        ({"task": "fill-mask", "model": SENTIMENT}, 400, "It does: text-classification"),
        ({"task": "image-classification", "model": "org/bert", "inputs": "YQ=="}, 400, "cannot do `image-classification`"),
        ({"params": {"trust_remote_code": True}}, 400, "`params.trust_remote_code`"),
        ({"params": {"tokenizer": "/etc"}}, 400, "`params.tokenizer`"),
        ({"params": {"model_kwargs": {}}}, 400, "`params.model_kwargs`"),
        ({"params": {"top_k": "5"}}, 400, "`params.top_k`"),
        ({"params": {"nonsense": 1}}, 400, "`params.nonsense`"),
        ({"params": []}, 400, "`params`"),
        ({"inputs": {"a": 1}}, 400, "`inputs`"),
        ({"inputs": []}, 400, "`inputs`"),
        ({"inputs": None}, 400, "`inputs`"),
        ({"inputs": "no mask"}, 400, "No mask_token"),
        ({"inputs": "a " * 500 + "[MASK]"}, 400, "more tokens than the 64"),
        ({"inputs": "a" * 1_500_000}, 400, "1000000 are the most"),
        ({"inputs": "a" * 2_500_000}, 413, "larger than 2 MB"),
        ({"more": 1}, 400, "`more`"),
        ({"task": "image-classification", "model": "org/vit", "inputs": "/etc/passwd"}, 400, "Addresses and paths"),
        ({"task": "image-classification", "model": "org/vit", "inputs": "http://127.0.0.1:1/a"}, 400, "Addresses and paths"),
        ({"task": "image-classification", "model": "org/vit", "inputs": {"url": "http://127.0.0.1:1/a"}}, 400, "`inputs`"),
        ({"task": "image-classification", "model": "org/vit", "inputs": "YWJj"}, 400, "no image that can be read"),
        ({"task": "automatic-speech-recognition", "model": "org/ears", "inputs": "YWJj"}, 400, "`inputs`"),
        ({"task": "automatic-speech-recognition", "model": "nano-whisper", "inputs": "/etc/passwd"}, 400, "Addresses and paths"),
        ({"task": "table-question-answering", "inputs": {"table": {"a": ["/etc/passwd"]}, "query": "q"}}, 400, "pandas"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_told_and_never_a_failure(
    door: Door, body: dict[str, object], status: int, named: str
) -> None:
    good: dict[str, object] = {"task": "fill-mask", "model": "org/bert", "inputs": "emma [MASK]"}
    code, refusal = await door.json(**{**good, **body})
    assert (code, list(refusal)) == (status, ["detail"]), refusal
    assert named in str(refusal["detail"])


async def test_too_long_and_too_large_files(door: Door) -> None:
    code, refusal = await door.form(("file", bytes(1_100_000)), task="image-classification", model="org/vit")
    assert (code, list(refusal)) == (413, ["detail"])
    code, refusal = await door.form(("file", b"no image"), task="image-classification", model="org/vit")
    assert (code, list(refusal)) == (415, ["detail"])


@pytest.mark.parametrize(
    ("model", "status", "words"),
    [
        ("org/coded", 400, "code of its own"),
        ("org/pickled", 400, "no weights as safetensors"),
        ("org/bert", 400, "is a bert model, not Whisper"),
        ("org/not-here", 404, "org/not-here is neither in the hub's cache"),
    ],
)
async def test_whisper_is_told_what_is_wrong_with_the_model_that_was_chosen(
    door: Door, model: str, status: int, words: str
) -> None:
    form = FormData()
    form.add_field("file", BytesIO((NANO / "samples" / "1_en-us.wav").read_bytes()))
    async with ClientSession() as session, session.post(f"{door.url}/asr?model={model}", data=form) as answer:
        assert (answer.status, words in (await answer.json())["detail"]) == (status, True)


async def test_unlisted_names_do_not_fill_the_metrics(door: Door) -> None:
    for number in range(5):
        await door.json(task="fill-mask", model=f"org/none-{number}", inputs="a")
    await door.json(task="fill-mask", model="org/bert", inputs="[MASK]")
    await door.json(task="fill-mask", model="org/bert", inputs="[MASK]")
    async with ClientSession() as session, session.get(f"{door.url}/metrics") as answer:
        metrics = await answer.text()
    assert "none-" not in metrics
    assert 'model="(unlisted)"' in metrics
    assert 'model="org/bert"' in metrics


# --------------------------------------------------------------------------- a scripted engine


def infer(answer: Event | Exception) -> ScriptedBackend:
    def script(request: Request) -> Iterable[Event | Exception]:
        return [answer]

    return ScriptedBackend(script)


async def test_the_engine_hears_the_whole_request_and_its_json_is_passed_on() -> None:
    backend = infer(Inferred(b'{"big":12345678901234567890123}'))
    async with (
        serve_app(one_model("m", "pipeline", kind="pipelines"), backend.create) as url,
        ClientSession() as session,
        session.post(
            f"{url}/infer", json={"task": "ner", "model": "m", "inputs": "a", "params": {"stride": 1}}
        ) as answer,
    ):
        assert await answer.read() == b'{"result":{"big":12345678901234567890123}}'
    assert backend.requests == [Infer(task="ner", inputs="a", params={"stride": 1})]


async def test_what_is_wrong_is_told_before_a_model_is_loaded() -> None:
    backend = infer(Unavailable("asked although it was wrong"))
    async with serve_app(one_model("m", "pipeline", kind="pipelines"), backend.create) as url:
        code, refusal = await Door(url).json(task="ner", model="m", inputs=5)
        assert (code, "`inputs`" in str(refusal["detail"])) == (400, True)
        code, refusal = await Door(url).json(task="ner", model="m", inputs="a")
        assert (code, refusal["detail"]) == (503, "asked although it was wrong")
    assert len(backend.requests) == 1


async def test_several_sounds_are_written_down_in_their_order() -> None:
    def script(request: Request) -> Iterable[Event | Exception]:
        assert isinstance(request, Transcribe)
        return (
            Speech("en", 1.0),
            Segment(
                id=0, seek=0, start=0, end=1, text=f" {request.audio.decode()}", tokens=(), temperature=0, avg_logprob=0,
                compression_ratio=1, no_speech_prob=0,
            ),
        )  # fmt: skip

    backend = ScriptedBackend(script)
    async with serve_app(one_model("w", "transcription"), backend.create) as url:
        sounds = [base64.b64encode(name).decode() for name in (b"one", b"two")]
        status, body = await Door(url).json(task="automatic-speech-recognition", model="w", inputs=sounds)
    assert (status, body) == (200, {"result": [{"text": " one"}, {"text": " two"}]})
