"""The backend with the shipped model: exact, in order, every option honoured, stopped when nobody listens."""

from __future__ import annotations

import asyncio
import csv
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from backends.base import EngineSpec, ModelSpec, Progress
from backends.errors import Invalid, Overloaded, Unavailable, Unsupported
from backends.inprocess.conversion import converted
from backends.translation.backend import TranslationBackend, placement
from backends.translation.decoding import Decoding
from backends.translation.engine import CTranslate2Engine
from backends.translation.family import Framed
from backends.types import Chat, Translate, Translated
from tests.backends.translation.conftest import Make, Translator

Heldout = dict[tuple[str, str], list[tuple[str, str]]]

# Out of the model's domain: it is unsure there, so that every option of the search shows.
ODD = (
    "a queen who walks with seven ships",
    "the parliament approved the new budget yesterday evening",
    "where did you put all of my favourite things",
    "nobody knows the trouble I have seen",
)


@pytest.fixture(scope="session")
def heldout() -> Heldout:
    """Sentences that the model was not trained on, with their translations, by direction."""
    directions: Heldout = {}
    with Path(__file__).with_name("heldout.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            directions.setdefault((row["source"], row["target"]), []).append((row["text"], row["reference"]))
    return directions


async def _accepted(backend: TranslationBackend) -> None:
    async with asyncio.timeout(10):
        while not backend.queued_characters:  # noqa: ASYNC110 - a count that announces nothing
            await asyncio.sleep(0)


def _texts(translated: list[Translated]) -> list[str]:
    return [item.text for item in translated]


@pytest.mark.parametrize("beam_size", [None, 4])
async def test_heldout_sentences_are_exact(beam_size: int | None, translate: Translator, heldout: Heldout) -> None:
    assert len(heldout) == 12
    for (source, target), rows in heldout.items():
        texts, references = zip(*rows, strict=True)
        got = await translate(*texts, source=source, target=target, beam_size=beam_size)
        assert _texts(got) == list(references)


@pytest.fixture(params=[("en", "fr"), ("de", "es")], ids="-".join)
def direction(request: pytest.FixtureRequest) -> tuple[str, str]:
    source, target = request.param
    return source, target


@pytest.fixture
def by_transformers(nano: Path, direction: tuple[str, str], heldout: Heldout) -> dict[str, str]:
    """What transformers itself makes of the held-out sentences of one direction."""
    tokenizer = AutoTokenizer.from_pretrained(nano, src_lang=direction[0])
    model = AutoModelForSeq2SeqLM.from_pretrained(nano, dtype=torch.float32)
    texts = [text for text, _ in heldout[direction]]
    inputs = tokenizer(texts, return_tensors="pt", padding=True)
    answers = model.generate(**inputs, forced_bos_token_id=tokenizer.get_lang_id(direction[1]))
    return dict(zip(texts, tokenizer.batch_decode(answers, skip_special_tokens=True), strict=True))


async def test_same_as_transformers(
    direction: tuple[str, str], by_transformers: dict[str, str], translate: Translator
) -> None:
    got = await translate(*by_transformers, source=direction[0], target=direction[1])
    assert _texts(got) == list(by_transformers.values())


async def test_a_document_keeps_its_shape(translate: Translator) -> None:
    got = await translate(
        "Good morning. My dog sleeps.\n\n  I see the red house.\n42", "", " \n", "12:30", target="fr-CA"
    )
    assert got == [
        Translated(0, "Bonjour. Mon chien dort.\n\n  Je vois la maison rouge.\n42", "en", "fr"),
        Translated(1, "", "en", "fr"),
        Translated(2, " \n", "en", "fr"),
        Translated(3, "12:30", "en", "fr"),
    ]


async def test_long_texts_are_translated_whole(translate: Translator) -> None:
    (sentences,) = await translate("The cat drinks water. " * 600)
    assert sentences.text == "Le chat boit l'eau. " * 600


async def test_many_texts_come_in_order(translate: Translator) -> None:
    texts = ("The cat drinks water.", "My dog sleeps.") * 300
    got = await translate(*texts)
    assert [item.index for item in got] == list(range(600))
    assert _texts(got) == ["Le chat boit l'eau.", "Mon chien dort."] * 300


@pytest.mark.parametrize(
    "option",
    [{"beam_size": 1}, {"length_penalty": -2.0}, {"no_repeat_ngram_size": 1}, {"early_stopping": False}],
    ids=lambda option: next(iter(option)),
)
async def test_options_of_the_search_are_honoured(option: dict[str, float], translate: Translator) -> None:
    usual = await translate(*ODD, target="de", beam_size=4)
    assert _texts(await translate(*ODD, target="de", **{"beam_size": 4, **option})) != _texts(usual)


async def test_no_word_twice(translate: Translator) -> None:
    assert _texts(await translate("My dog sees my dog.")) == ["Mon chien voit mon chien."]
    (once,) = await translate("My dog sees my dog.", no_repeat_ngram_size=1)
    assert once.text.count("chien") == 1


async def test_max_new_tokens_cuts_each_sentence(translate: Translator) -> None:
    (whole,), (cut,) = (
        await translate("I see the red house."),
        await translate("I see the red house.", max_new_tokens=2),
    )
    assert whole.text.startswith(cut.text)
    assert 0 < len(cut.text) < len(whole.text)


async def test_max_input_length_cuts_each_text(translate: Translator) -> None:
    text = "The cat drinks water. My dog sleeps."
    results = [(await translate(text, max_input_length=length))[0].text for length in range(1, 16)]
    assert "Le chat boit l'eau. " in results or "Le chat boit l'eau." in results
    assert results[-1] == "Le chat boit l'eau. Mon chien dort."
    assert results[0] not in results[-1]


async def test_languages_are_refused_before_anything_runs(translate: Translator) -> None:
    with pytest.raises(Invalid, match="source is needed") as refused:
        await translate("Hello", source=None)
    assert refused.value.param == "source"
    with pytest.raises(Invalid, match="'klingon'") as refused:
        await translate("Hello", target="klingon")
    assert refused.value.param == "target"


async def test_only_translation_is_served(backend: TranslationBackend, nano: Path) -> None:
    with pytest.raises(Unsupported):
        await anext(backend.run(ModelSpec(source=str(nano)), Chat(messages=())))


class Batches(list[int]):
    """The sizes of the batches that the engine began."""

    def __init__(self) -> None:
        super().__init__()
        self._first = threading.Event()

    def begin(self, size: int) -> None:
        self.append(size)
        self._first.set()

    async def first(self) -> None:
        assert await asyncio.to_thread(self._first.wait, 5.0)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Batches:
    sizes = Batches()
    search = CTranslate2Engine.search

    def counted(self: CTranslate2Engine, sentences: Sequence[Framed], decoding: Decoding) -> list[list[str]]:
        sizes.begin(len(sentences))
        return search(self, sentences, decoding)

    monkeypatch.setattr(CTranslate2Engine, "search", counted)
    return sizes


LONG = "The cat drinks water. " * 20_000


async def test_a_reader_who_leaves_stops_the_work(
    translate: Translator, backend: TranslationBackend, nano: Path, batches: Batches
) -> None:
    request = Translate(texts=("My dog sleeps.",) * 256 + (LONG,), source="en", target="fr")
    async with aclosing(backend.run(ModelSpec(source=str(nano)), request)) as events:
        assert isinstance(await anext(events), Translated)
    assert _texts(await translate("My dog sleeps.")) == ["Mon chien dort."]
    assert batches[-1] == 1
    assert len(batches) <= 3


async def test_who_is_cancelled_within_a_long_text_stops_the_work(translate: Translator, batches: Batches) -> None:
    listener = asyncio.ensure_future(translate(LONG))
    await batches.first()
    listener.cancel()
    await asyncio.wait([listener])
    so_far = len(batches)
    assert _texts(await translate("My dog sleeps.")) == ["Mon chien dort."]
    assert len(batches) <= so_far + 2


async def test_a_small_request_waits_for_a_batch_or_two_of_a_large_one(translate: Translator, batches: Batches) -> None:
    large = asyncio.ensure_future(translate(LONG))
    await batches.first()
    so_far = len(batches)
    assert _texts(await translate("My dog sleeps.")) == ["Mon chien dort."]
    assert len(batches) - so_far <= 4
    assert not large.done()
    large.cancel()
    await asyncio.wait([large])


async def test_heldout_sentences_are_exact_for_32_requests_at_once(translate: Translator, heldout: Heldout) -> None:
    sentences = deque((direction, row) for direction, rows in heldout.items() for row in rows)

    async def client() -> None:
        while sentences:
            (source, target), (text, reference) = sentences.popleft()
            assert _texts(await translate(text, source=source, target=target)) == [reference]

    await asyncio.gather(*(client() for _ in range(32)))


async def test_unload_lets_running_requests_end(translate: Translator, backend: TranslationBackend, nano: Path) -> None:
    running = asyncio.create_task(translate(*["My dog sleeps."] * 200))
    await _accepted(backend)
    unloading = asyncio.create_task(backend.unload(ModelSpec(source=str(nano))))
    assert _texts(await running) == ["Mon chien dort."] * 200
    await unloading
    with pytest.raises(Unavailable, match="not loaded"):
        await translate("My dog sleeps.")


@pytest.mark.parametrize("texts", [1, 500])
async def test_a_slow_reader_holds_up_neither_unloading_nor_others(
    texts: int, translate: Translator, backend: TranslationBackend, nano: Path
) -> None:
    model = ModelSpec(source=str(nano))
    request = Translate(texts=("My dog sleeps.",) * texts, source="en", target="fr")
    async with aclosing(backend.run(model, request)) as events:
        assert isinstance(await anext(events), Translated)
        async with asyncio.timeout(10):
            await backend.unload(model)
        assert backend.queued_characters == 0
        assert len([event async for event in events]) == texts - 1


async def test_close_ends_running_requests(translate: Translator, backend: TranslationBackend) -> None:
    running = asyncio.create_task(translate("My dog sleeps. " * 20_000))
    await _accepted(backend)
    await backend.close()
    with pytest.raises(Unavailable):
        await running


async def test_too_much_text_is_refused_until_there_is_room(translate: Translator, backend: TranslationBackend) -> None:
    limit = EngineSpec(name="mt", kind="translation").max_queued_characters
    running = asyncio.create_task(translate("My dog sleeps. " * (limit // 15)))
    await _accepted(backend)
    with pytest.raises(Overloaded, match="characters waiting") as refused:
        await translate("My dog sleeps.")
    assert refused.value.retry_after
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (backend.queued_characters, backend.waiting) == (0, 0)
    assert _texts(await translate("My dog sleeps.")) == ["Mon chien dort."]


async def test_load_converts_once_and_unload_forgets(nano: Path, tmp_path: Path) -> None:
    backend = TranslationBackend(EngineSpec(name="mt", kind="translation", device="cpu", data=tmp_path))
    model, stages = ModelSpec(source=str(nano)), list[Progress]()
    await backend.load(model, stages.append)
    assert [progress.stage for progress in stages] == ["convert", "convert", "load"]
    await backend.unload(model)
    await backend.unload(model)
    with pytest.raises(Unavailable, match="not loaded"):
        await anext(backend.run(model, Translate(texts=("a",), source="en", target="fr")))
    stages.clear()
    await backend.load(model, stages.append)
    assert [progress.stage for progress in stages] == ["load"]
    await backend.close()


@pytest.fixture
def in_ctranslate2s_format(nano: Path, tmp_path: Path) -> Path:
    kept = converted(nano, store=tmp_path, quantization="int8", copy=["sentencepiece.bpe.model"], report=lambda _: None)
    assert not (kept / "model.safetensors").exists()
    return kept


async def test_a_model_in_ctranslate2s_own_format(in_ctranslate2s_format: Path, backend: TranslationBackend) -> None:
    model = ModelSpec(source=str(in_ctranslate2s_format))
    await backend.load(model, lambda _: None)
    request = Translate(texts=("My dog sleeps.",), source="en", target="es")
    assert [event async for event in backend.run(model, request)] == [Translated(0, "Mi perro duerme.", "en", "es")]


async def test_other_models_are_refused(nano: Path, backend: TranslationBackend) -> None:
    with pytest.raises(Unavailable, match="translation"):
        await backend.load(ModelSpec(source=str(nano.parent / "chat")), lambda _: None)


@pytest.fixture(params=["config.json", "model.safetensors", "sentencepiece.bpe.model"])
def damaged(request: pytest.FixtureRequest, nano: Path, tmp_path: Path) -> Path:
    """The shipped model with one file cut off."""
    for file in nano.iterdir():
        content = file.read_bytes()
        (tmp_path / file.name).write_bytes(content[:200] if file.name == request.param else content)
    return tmp_path


async def test_damaged_files_are_refused(damaged: Path, backend: TranslationBackend) -> None:
    with pytest.raises(Unavailable, match=r"cannot be opened|is damaged"):
        await backend.load(ModelSpec(source=str(damaged)), lambda _: None)


def test_placement() -> None:
    def spec(device: str, compute_type: str = "default") -> EngineSpec:
        return EngineSpec(name="mt", kind="translation", device=device, compute_type=compute_type)

    assert placement(spec("cpu")) == ("cpu", "int8")
    assert placement(spec("cpu", "float32")) == ("cpu", "float32")
    with pytest.raises(Unavailable, match=r"compute types that do: .*int8"):
        placement(spec("cpu", "int3"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
async def test_cuda_that_is_not_there() -> None:
    backend = TranslationBackend(EngineSpec(name="mt", kind="translation", device="cuda"))
    health = await backend.health()
    assert (health.ok, "no CUDA device" in health.reason) == (False, True)
    await backend.close()


async def test_a_single_pair_need_not_be_named_but_never_wrongly(tiny: Make, backend: TranslationBackend) -> None:
    model = ModelSpec(source=str(tiny("marian").directory))
    await backend.load(model, lambda _: None)
    for source, target in ((None, None), ("eng", None), ("en-GB", "fra_Latn")):
        request = Translate(texts=("hello",), max_new_tokens=4, source=source, target=target)
        (event,) = [event async for event in backend.run(model, request)]
        assert isinstance(event, Translated)
        assert (event.source, event.target) == ("en", "fr")
    with pytest.raises(Invalid, match="it has fr") as refused:
        await anext(backend.run(model, Translate(texts=("hello",), target="de")))
    assert refused.value.param == "target"


async def test_several_targets_have_to_be_named(tiny: Make, backend: TranslationBackend) -> None:
    model = ModelSpec(source=str(tiny("marian_to_many").directory))
    await backend.load(model, lambda _: None)
    with pytest.raises(Invalid, match="target is needed"):
        await anext(backend.run(model, Translate(texts=("hello",))))
