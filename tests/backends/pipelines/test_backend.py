"""Pipelines as an engine: loaded by task, run one at a time, left, unloaded, out of memory, in a process of their own."""

from __future__ import annotations

import asyncio
import json
import threading
import weakref
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
import torch

import backends
from backends.base import Backend, EngineSpec, ModelSpec, Probing
from backends.errors import Broken, Invalid, MediaRefused, Overloaded, Unavailable, Unsupported
from backends.pipelines import backend as module
from backends.pipelines.backend import PipelinesBackend
from backends.pipelines.tasks import find
from backends.types import Chat, Infer, Inferred, Json
from tests.backends.pipelines import files, tiny, tiny_senses
from tests.backends.pipelines.conftest import Directory
from tests.backends.pipelines.files import b64
from tests.support import gone

SPEC = EngineSpec(name="any", kind="pipelines", device="cpu", max_audio_seconds=5)
MASKED = tiny.bert("ForMaskedLM")
FILL = Infer(task="fill-mask", inputs="emma [MASK]")
ENDLESS = Infer(
    task="text2text-generation", inputs="emma", params={"min_new_tokens": 100_000, "max_new_tokens": 100_000}
)
CTC = tiny_senses.wav2vec2("CTC")
SOUND = b64(files.sound())
LONG: dict[str, Json] = {"max_new_tokens": 200, "min_new_tokens": 200}
SHORTENED: dict[str, Json] = {"tokenizer_kwargs": {"truncation": "only_second", "max_length": 2}}
SECONDS = 30


@pytest.fixture
async def backend() -> AsyncIterator[PipelinesBackend]:
    backend = PipelinesBackend(SPEC)
    yield backend
    await backend.close()


def spec(directory: Directory, make: tiny.Make | Path, task: str) -> ModelSpec:
    return ModelSpec(source=str(directory(make)), task=task, name="org/tiny")


async def ask(backend: Backend, model: ModelSpec, request: Infer) -> Json:
    async with asyncio.timeout(SECONDS), aclosing(backend.run(model, request)) as events:
        (event,) = [event async for event in events]
    assert isinstance(event, Inferred)
    result: Json = json.loads(event.json)
    return result


async def endless(backend: PipelinesBackend, model: ModelSpec) -> asyncio.Task[Json]:
    """A request that computes and would for minutes."""
    began = asyncio.Event()
    loop = asyncio.get_running_loop()
    with backend._pipelines.used(model) as pipeline:
        network = pipeline.running._pipeline.model
    hook = network.register_forward_pre_hook(lambda *_: loop.call_soon_threadsafe(began.set))
    task = asyncio.create_task(ask(backend, model, ENDLESS))
    async with asyncio.timeout(SECONDS):
        await began.wait()
    hook.remove()
    return task


async def test_a_model_is_a_pipeline_for_each_of_its_tasks(backend: PipelinesBackend, directory: Directory) -> None:
    masks, features = spec(directory, MASKED, "fill-mask"), spec(directory, MASKED, "feature-extraction")
    assert (await backend.health()).ok
    with pytest.raises(Unavailable, match="org/tiny is not loaded"):
        await ask(backend, masks, FILL)
    for model in (masks, features, masks):
        await backend.load(model, lambda _: None)
    filled = await ask(backend, masks, FILL)
    assert isinstance(filled, list)
    assert len(filled) == 5
    assert isinstance(await ask(backend, features, Infer(task="feature-extraction", inputs="emma")), list)
    await backend.unload(masks)
    with pytest.raises(Unavailable):
        await ask(backend, masks, FILL)
    await ask(backend, features, Infer(task="feature-extraction", inputs="emma"))
    await backend.unload(masks)
    with pytest.raises(Unsupported, match="serves nothing else"):
        async for _ in backend.run(features, Chat(messages=({"role": "user", "content": "a"},))):
            pass


async def test_unloading_frees_the_network(backend: PipelinesBackend, directory: Directory) -> None:
    def network() -> weakref.ref[torch.nn.Module]:
        with backend._pipelines.used(model) as pipeline:
            return weakref.ref(pipeline.running._pipeline.model)

    model = spec(directory, MASKED, "fill-mask")
    await backend.load(model, lambda _: None)
    await ask(backend, model, FILL)
    loaded = network()
    assert loaded() is not None
    await backend.unload(model)
    await gone(loaded)


async def test_whoever_leaves_frees_the_model_at_its_next_pass(backend: PipelinesBackend, directory: Directory) -> None:
    model = spec(directory, tiny.t5, "text2text-generation")
    await backend.load(model, lambda _: None)
    running = await endless(backend, model)
    waiting = asyncio.create_task(ask(backend, model, ENDLESS))
    await asyncio.sleep(0)
    waiting.cancel()
    running.cancel()
    await asyncio.gather(running, waiting, return_exceptions=True)
    short = Infer(task="text2text-generation", inputs="emma", params={"max_new_tokens": 3})
    assert isinstance(await ask(backend, model, short), list)


async def test_nobody_waits_to_load_for_who_computes(backend: PipelinesBackend, directory: Directory) -> None:
    model = spec(directory, tiny.t5, "text2text-generation")
    await backend.load(model, lambda _: None)
    running = await endless(backend, model)
    async with asyncio.timeout(SECONDS):
        await backend.load(spec(directory, tiny.roberta, "text-classification"), lambda _: None)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_so_many_wait_and_no_more(
    backend: PipelinesBackend, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 1)
    model, other = spec(directory, tiny.t5, "text2text-generation"), spec(directory, MASKED, "fill-mask")
    for each in (model, other):
        await backend.load(each, lambda _: None)
    running = await endless(backend, model)
    with pytest.raises(Overloaded, match="1 requests waiting") as refused:
        await ask(backend, model, ENDLESS)
    assert refused.value.retry_after
    assert isinstance(await ask(backend, other, FILL), list)  # another pipeline has a thread of its own
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_unloading_waits_for_who_is_served(backend: PipelinesBackend, directory: Directory) -> None:
    model = spec(directory, tiny.t5, "text2text-generation")
    await backend.load(model, lambda _: None)
    running = await endless(backend, model)
    unloading = asyncio.create_task(backend.unload(model))
    await asyncio.sleep(0.05)
    assert not unloading.done()
    with pytest.raises(Unavailable):
        await ask(backend, model, ENDLESS)
    running.cancel()
    async with asyncio.timeout(SECONDS):
        await unloading
    await asyncio.gather(running, return_exceptions=True)


class Panic(BaseException):
    """As tokenizers raise it."""


@pytest.mark.parametrize(
    ("error", "told", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to"), Unavailable, "too little memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), Unavailable, "too little memory"),
        (RuntimeError("CUDA error: unspecified launch failure"), Broken, "log has the cause"),
        (ValueError("The widget at /home/me/x is wrong"), Invalid, "refuses these inputs or params for `fill-mask`."),
        (
            RuntimeError("The size of tensor a (3) must match"),
            Invalid,
            "`fill-mask`: The size of tensor a (3) must match.",
        ),
        (Panic("stride. And more."), Invalid, "`fill-mask`: stride."),
        (ValueError("The widget is wrong."), Invalid, "`fill-mask`: The widget is wrong."),
    ],
)
async def test_failures_are_told_in_the_callers_words(
    error: BaseException, told: type[Exception], words: str, backend: PipelinesBackend, directory: Directory
) -> None:
    def fail(*_: object) -> None:
        raise error

    model = spec(directory, MASKED, "fill-mask")
    await backend.load(model, lambda _: None)
    with backend._pipelines.used(model) as pipeline:
        pipeline.running._pipeline.model.register_forward_pre_hook(fail)
    with pytest.raises(told) as failed:
        await ask(backend, model, FILL)
    assert words in str(failed.value)
    assert "/home" not in str(failed.value)
    assert failed.value.__cause__ is error


async def test_a_result_that_json_cannot_hold_is_a_failure(
    backend: PipelinesBackend, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = spec(directory, MASKED, "fill-mask")
    await backend.load(model, lambda _: None)
    with backend._pipelines.used(model) as pipeline:
        monkeypatch.setattr(pipeline.running._pipeline, "postprocess", lambda *_: object())
    with pytest.raises(Broken, match="JSON cannot hold"):
        await ask(backend, model, FILL)


@pytest.mark.parametrize(
    ("make", "request_", "words"),
    [
        (MASKED, Infer(task="fill-mask", inputs="no mask here"), "No mask_token"),
        (MASKED, Infer(task="fill-mask", inputs="[MASK] " + "a " * 200), "more tokens than the 64"),
        (tiny.gpt2, Infer(task="text-generation", inputs="a " * 200), "more tokens than the 64"),
        (tiny.gpt2, Infer(task="text-generation", inputs="a", params={"max_new_tokens": 200}), "ask for fewer tokens"),
        (tiny.gpt2, Infer(task="text-generation", inputs="a"), "say how many tokens the answer may have"),
        (tiny.bart, Infer(task="summarization", inputs="a " * 200), "more tokens than the 64"),
        (tiny.t5, Infer(task="summarization", inputs="a " * 20_000), "more tokens than the 64"),
        (tiny.NANO / "chat", Infer(task="text-generation", inputs="a " * 3000), "more tokens than the 2048"),
        (tiny.NANO / "chat", Infer(task="conversational", inputs="a " * 3000), "more tokens than the 2048"),
        (tiny.bart, Infer(task="summarization", inputs="a", params=LONG), "ask for fewer tokens"),
        (tiny.bart, Infer(task="summarization", inputs="a", params={"generate_kwargs": LONG}), "ask for fewer tokens"),
        (tiny.gpt2, Infer(task="text-generation", inputs="a", params={"bad_words_ids": [[5000]]}), "tokens end at"),
        (tiny.gpt2, Infer(task="text-generation", inputs=[{"role": "user", "content": "a"}]), "chat template"),
        (tiny_senses.vits, Infer(task="text-to-speech", inputs="1"), ""),
        (MASKED, Infer(task="fill-mask", inputs="a [MASK]", params=SHORTENED), "refuses these inputs or params"),
        (tiny.bert("ForTokenClassification"), Infer(task="ner", inputs="a b " * 50, params={"stride": 62}), "stride"),
        (CTC, Infer(task="automatic-speech-recognition", inputs=SOUND, params={"return_timestamps": True}), "CTC"),
    ],
)  # fmt: skip
async def test_mistakes_of_callers_are_no_failures(
    make: tiny.Make | Path, request_: Infer, words: str, backend: PipelinesBackend, directory: Directory
) -> None:
    model = spec(directory, make, find(request_.task).name)
    await backend.load(model, lambda _: None)
    with pytest.raises(Invalid) as refused:
        await ask(backend, model, request_)
    assert words in refused.value.message


PROBED: list[tuple[str, tiny.Make]] = [
    ("fill-mask", MASKED),
    ("text-classification", tiny.roberta),
    ("zero-shot-classification", tiny.roberta),
    ("token-classification", tiny.bert("ForTokenClassification")),
    ("feature-extraction", MASKED),
    ("question-answering", tiny.bert("ForQuestionAnswering")),
    ("text-generation", tiny.gpt2),
    ("conversational", tiny.gpt2),
    ("text2text-generation", tiny.t5),
    ("summarization", tiny.bart),
    ("automatic-speech-recognition", CTC),
    ("audio-classification", tiny_senses.wav2vec2("SequenceClassification")),
    ("zero-shot-audio-classification", tiny_senses.clap),
    ("image-classification", tiny_senses.vit),
    ("image-feature-extraction", tiny_senses.vit),
    ("image-segmentation", tiny_senses.segformer),
    ("object-detection", tiny_senses.yolos),
    ("depth-estimation", tiny_senses.glpn),
    ("zero-shot-image-classification", tiny_senses.clip),
]


@pytest.mark.parametrize(("task", "make"), PROBED)
async def test_a_tiny_request_shows_that_a_pipeline_works(
    task: str, make: tiny.Make, backend: PipelinesBackend, directory: Directory
) -> None:
    model = spec(directory, make, task)
    await backend.load(model, lambda _: None)
    request = await backend.probe(model)
    assert isinstance(request, Infer)
    await ask(backend, model, request)


async def test_where_nothing_small_is_sure_to_be_right_there_is_no_probe(
    backend: PipelinesBackend, directory: Directory
) -> None:
    model = spec(directory, tiny.t5, "translation")
    assert isinstance(backend, Probing)
    await backend.load(model, lambda _: None)
    assert await backend.probe(model) is None


# --------------------------------------------------------------------------- in a process of their own


async def test_a_pipeline_in_a_process_of_its_own(directory: Directory) -> None:
    isolated = backends.create(EngineSpec(name="any", kind="pipelines", device="cpu", isolation="process"))
    model = spec(directory, tiny_senses.vit, "image-classification")
    try:
        await isolated.load(model, lambda _: None)
        pictures = {"file": (files.png(), files.png())}
        result = await ask(isolated, model, Infer(task="image-classification", files=pictures, params={"top_k": 1}))
        assert isinstance(result, list)
        assert len(result) == 2
        with pytest.raises(MediaRefused, match="no image that can be read"):
            await ask(isolated, model, Infer(task="image-classification", inputs=b64(b"x")))
        with pytest.raises(Unsupported, match="cannot do `fill-mask`"):
            await isolated.load(spec(directory, tiny_senses.vit, "fill-mask"), lambda _: None)
    finally:
        await isolated.close()


def test_the_engine_is_made_without_the_hub_or_the_network() -> None:
    before = set(threading.enumerate())
    assert isinstance(backends.create(SPEC), PipelinesBackend)
    assert set(threading.enumerate()) <= before
