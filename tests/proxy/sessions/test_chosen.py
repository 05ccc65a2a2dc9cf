"""The models that sessions choose: defaults of the engines they run on, what cannot be had, what has to be loaded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backends.base import EngineSpec
from backends.types import Json, JsonObject
from proxy.errors import ApiError, ErrorCode
from proxy.registry.models import Registry
from proxy.sessions.chosen import Restart, Service, Surroundings
from proxy.sessions.config import said_at
from proxy.sessions.limits import SENTENCES
from proxy.sessions.placing import Compute, compute_of, computed_in, place
from tests.proxy.sessions.test_config import at
from tests.proxy.sessions.world import GPU, LAPTOP, REGISTRY, Loaded, chosen

EARS, _, _, WORDS, _ = REGISTRY.models
WHISPER, TRANSLATION = REGISTRY.engines["whisper"], REGISTRY.engines["translation"]


def shown(
    path: str, said: JsonObject | None = None, here: Surroundings = LAPTOP, registry: Registry = REGISTRY
) -> Json:
    return said_at(chosen(registry=registry).config(said or {}, here).as_json(), path)


# --------------------------------------------------------------------------- defaults


def test_the_default_models_are_the_doors() -> None:
    assert (shown("asr.model_id"), shown("mt.model_id")) == ("ears", "words")
    none = replace(REGISTRY, defaults={})
    assert (shown("asr.model_id", registry=none), shown("mt.model_id", registry=none)) == ("", "")


@pytest.mark.parametrize(
    ("path", "said", "on_cpu", "on_gpu"),
    [
        ("asr.compute_config.device", {}, "auto", "auto"),
        ("asr.compute_config.compute_type", {}, "float32", "float16"),
        ("mt.compute_config.compute_type", {}, "int8", "float16"),
        ("mt.compute_config.compute_type", at("mt.compute_config.device", "cpu"), "int8", "int8"),
        ("asr.compute_config.compute_type", at("asr.compute_config.device", "cpu"), "float32", "float32"),
        ("mt.compute_config.device", at("mt.model_id", "words-2"), "cpu", "cpu"),
        ("mt.compute_config.compute_type", at("mt.model_id", "words-2"), "float32", "float32"),
        ("mt.compute_config.batch_size", {}, SENTENCES, SENTENCES),
        ("mt.compute_config.batch_size", at("mt.model_id", "words-2"), 4, 4),
        ("asr.compute_config.device", at("asr.model_id", "ears-away"), "auto", "auto"),
    ],
)
def test_what_is_computed_by_default_is_what_the_engine_does(
    path: str, said: JsonObject, on_cpu: Json, on_gpu: Json
) -> None:
    assert (shown(path, said), shown(path, said, GPU)) == (on_cpu, on_gpu)


def test_as_many_sentences_as_the_engine_takes_by_itself() -> None:
    from backends.translation.backend import MAX_BATCH  # noqa: PLC0415 - a heavy import, for this test alone

    assert SENTENCES == MAX_BATCH


@pytest.mark.parametrize(
    ("compute_type", "name"),
    [("int8_float16", "int8"), ("int8_bfloat16", "int8"), ("bfloat16", "float16"), ("float32", "float32")],
)
def test_other_arithmetic_goes_by_the_contracts_nearest_name(compute_type: str, name: str) -> None:
    assert computed_in(replace(WHISPER, compute_type=compute_type), cuda=True) == name


def test_a_model_that_is_gone_leaves_its_session_readable() -> None:
    assert shown("asr.model_id", {"asr": {"model_id": "gone"}}) == "gone"
    assert shown("asr.compute_config.compute_type", {"asr": {"model_id": "gone"}}) == "float32"
    assert shown("mt.compute_config.compute_type", registry=Registry()) == "int8"


# --------------------------------------------------------------------------- what cannot be had


@pytest.mark.parametrize(
    ("said", "here", "path", "code"),
    [
        (at("asr.model_id", "nothing"), GPU, "asr.model_id", ErrorCode.MODEL_NOT_FOUND),
        (at("asr.model_id", "words"), GPU, "asr.model_id", ErrorCode.INVALID),
        (at("asr.model_id", "facebook/m2m100_418M"), GPU, "asr.model_id", ErrorCode.MODEL_NOT_FOUND),
        (at("mt.model_id", "openai/whisper-small"), GPU, "mt.model_id", ErrorCode.MODEL_NOT_FOUND),
        (
            {"asr": {"model_id": "openai/whisper-tiny.en", "language": "de"}},
            GPU,
            "asr.language",
            ErrorCode.INVALID,
        ),
        (
            {"asr": {"model_id": "openai/whisper-small", "language": "tlh"}},
            GPU,
            "asr.language",
            ErrorCode.INVALID,
        ),
        (
            {"asr": {"model_id": "openai/whisper-tiny.en", "task": "translate"}},
            GPU,
            "asr.task",
            ErrorCode.INVALID,
        ),
        (at("mt.model_id", "ears"), GPU, "mt.model_id", ErrorCode.INVALID),
        (
            {"mt": {"model_id": "facebook/m2m100_418M", "target_language": "klingon"}},
            GPU,
            "mt.target_language",
            ErrorCode.INVALID,
        ),
        (
            {"mt": {"model_id": "Helsinki-NLP/opus-mt-en-de", "source_language": "de"}},
            GPU,
            "mt.source_language",
            ErrorCode.INVALID,
        ),
        (at("asr.compute_config.device", "cuda"), LAPTOP, "asr.compute_config.device", ErrorCode.UNSUPPORTED_DEVICE),
        (at("mt.compute_config.device", "cuda"), LAPTOP, "mt.compute_config.device", ErrorCode.UNSUPPORTED_DEVICE),
        (
            at("asr.compute_config.compute_type", "float16"),
            LAPTOP,
            "asr.compute_config.compute_type",
            ErrorCode.UNSUPPORTED_DEVICE,
        ),
        (
            {"mt": {"compute_config": {"compute_type": "float16", "device": "cpu"}}},
            GPU,
            "mt.compute_config.compute_type",
            ErrorCode.UNSUPPORTED_DEVICE,
        ),
        (at("asr.compute_config.cpu_threads", 5), LAPTOP, "asr.compute_config.cpu_threads", ErrorCode.INVALID),
        (at("asr.compute_config.cpu_threads", 1), GPU, "asr.compute_config.cpu_threads", ErrorCode.UNSUPPORTED),
        (
            at("asr.compute_config.gpu_memory_fraction", 0.5),
            GPU,
            "asr.compute_config.gpu_memory_fraction",
            ErrorCode.UNSUPPORTED,
        ),
        (at("mt.compute_config.batch_size", 33), GPU, "mt.compute_config.batch_size", ErrorCode.INVALID),
        (
            {"mt": {"model_id": "words-2", "compute_config": {"batch_size": 5}}},
            GPU,
            "mt.compute_config.batch_size",
            ErrorCode.INVALID,
        ),
        (
            {"asr": {"model_id": "ears-away", "parameters": {"beam_size": 2}}},
            GPU,
            "asr.parameters.beam_size",
            ErrorCode.UNSUPPORTED,
        ),
        (
            {"asr": {"model_id": "ears-away", "compute_config": {"device": "cuda"}}},
            GPU,
            "asr.compute_config.device",
            ErrorCode.UNSUPPORTED,
        ),
    ],
)
def test_what_cannot_be_had_is_refused_by_its_path(
    said: JsonObject, here: Surroundings, path: str, code: ErrorCode
) -> None:
    service: Service = "asr" if "asr" in said else "mt"
    with pytest.raises(ApiError) as caught:
        chosen().check(service, said, here)
    assert (caught.value.param, caught.value.code) == (path, code)
    assert caught.value.status < 500


@pytest.mark.parametrize(
    ("said", "here"),
    [
        ({}, LAPTOP),
        (at("asr.model_id", "openai/whisper-tiny.en"), LAPTOP),
        ({"asr": {"model_id": "openai/whisper-small", "language": "de", "task": "translate"}}, LAPTOP),
        (at("mt.model_id", "facebook/nllb-200-distilled-600M"), LAPTOP),
        *(
            ({"mt": {"model_id": "facebook/nllb-200-distilled-600M", "target_language": code}}, LAPTOP)
            for code in ("fr", "fra_Latn", "zh-CN", "zho_Hant", "pt_XX", "")
        ),
        (
            {"mt": {"model_id": "Helsinki-NLP/opus-mt-en-de", "source_language": "eng", "target_language": "de_DE"}},
            LAPTOP,
        ),
        (at("asr.compute_config.device", "cuda"), GPU),
        ({"asr": {"compute_config": {"device": "cpu", "cpu_threads": 4}}}, GPU),
        (at("asr.compute_config.cpu_threads", 4), LAPTOP),
        (at("mt.compute_config.batch_size", 32), LAPTOP),
        ({"asr": {"model_id": "ears-away", "language": "de", "parameters": {"temperature": 0.5}}}, LAPTOP),
    ],
)
def test_what_can(said: JsonObject, here: Surroundings) -> None:
    chosen().check("asr", said, here)
    chosen().check("mt", said, here)


# --------------------------------------------------------------------------- placing


@pytest.mark.parametrize(
    ("engine", "wanted", "here"),
    [
        (WHISPER, Compute(), LAPTOP),
        (WHISPER, Compute(device="cpu"), LAPTOP),
        (WHISPER, Compute(device="auto", compute_type="float32"), LAPTOP),
        (WHISPER, Compute(device="cuda"), GPU),
        (TRANSLATION, Compute(compute_type="int8"), LAPTOP),
        (TRANSLATION, Compute(device="cuda", compute_type="float16"), GPU),
        (replace(WHISPER, cpu_threads=2), Compute(cpu_threads=2), LAPTOP),
    ],
)
def test_what_the_engine_does_anyway_is_no_other_load(engine: EngineSpec, wanted: Compute, here: Surroundings) -> None:
    assert place(EARS, engine, wanted, cuda=here.machine.cuda) is EARS


@pytest.mark.parametrize(
    ("engine", "wanted", "here", "variant", "compute_type"),
    [
        (WHISPER, Compute(compute_type="int8"), LAPTOP, "cpu-int8", "int8"),
        (WHISPER, Compute(cpu_threads=2), LAPTOP, "cpu-float32-2threads", "default"),
        (WHISPER, Compute(device="cpu"), GPU, "cpu-float32", "default"),
        (WHISPER, Compute(compute_type="float16"), GPU, "cuda-float16", "float16"),
        (TRANSLATION, Compute(device="cpu"), GPU, "cpu-int8", "default"),
        (TRANSLATION, Compute(compute_type="float32"), LAPTOP, "cpu-float32", "float32"),
        # What an engine is set to on a GPU does not exist on a CPU.
        (
            replace(WHISPER, device="cuda", compute_type="int8_float16"),
            Compute(device="cpu"),
            GPU,
            "cpu-float32",
            "default",
        ),
    ],
)
def test_what_it_does_not_is_a_load_beside_the_engines_own(
    engine: EngineSpec, wanted: Compute, here: Surroundings, variant: str, compute_type: str
) -> None:
    other = place(replace(EARS, preload=True), engine, wanted, cuda=here.machine.cuda)
    assert not other.preload
    assert (other.spec.variant, other.spec.compute_type) == (variant, compute_type)
    assert other.spec.device == (wanted.device or engine.device)
    assert other.spec.cpu_threads == wanted.cpu_threads
    assert (other.engine, other.task, other.spec.source) == (EARS.engine, EARS.task, EARS.spec.source)
    assert other.spec != EARS.spec


def test_what_counts_is_how_a_model_is_loaded() -> None:
    """An operator may have loaded it in another way than its engine's."""
    loaded = Loaded(ways={"ears": replace(EARS.spec, compute_type="int8")})
    config = chosen(loaded).config({}, LAPTOP)
    assert config.asr.compute_config.compute_type == "int8"
    assert chosen(loaded).place(EARS, Compute(compute_type="int8"), LAPTOP) is EARS
    assert chosen(loaded).place(EARS, Compute(compute_type="float32"), LAPTOP).spec.variant == "cpu-float32"


def test_what_runs_elsewhere_is_not_computed_as_a_session_wants() -> None:
    away = REGISTRY.models[2]
    assert chosen().place(away, Compute(), LAPTOP) is away
    with pytest.raises(ApiError) as caught:
        chosen().place(away, Compute(device="cpu"), LAPTOP)
    assert (caught.value.code, caught.value.param) == (ErrorCode.UNSUPPORTED, "asr.compute_config")


def test_what_a_session_says_of_computing() -> None:
    said: JsonObject = {"asr": {"compute_config": {"device": "cpu", "cpu_threads": 2}}, "mt": {}}
    assert compute_of("asr.compute_config", said) == Compute(device="cpu", cpu_threads=2)
    assert compute_of("mt.compute_config", said) == Compute()
    assert compute_of("mt.compute_config", {"mt": {"compute_config": {"batch_size": 2}}}) == Compute()


# --------------------------------------------------------------------------- restarts


@pytest.mark.parametrize(
    ("ready", "before", "after", "restart"),
    [
        ({"org/ears"}, {}, at("asr.model_id", "ears-2"), Restart(True, 1500)),
        ({"org/ears", "org/ears-2"}, {}, at("asr.model_id", "ears-2"), Restart(False)),
        (set(), {}, at("asr.model_id", "ears-2"), Restart(False)),
        ({"org/ears"}, {}, at("asr.compute_config.compute_type", "int8"), Restart(True, 250)),
        ({"org/ears"}, {}, at("asr.compute_config.compute_type", "float32"), Restart(False)),
        ({"org/ears"}, {}, at("asr.compute_config.cpu_threads", 2), Restart(True)),
        ({"org/ears"}, at("asr.compute_config.compute_type", "int8"), {}, Restart(False)),
        ({"org/ears cpu-int8"}, at("asr.compute_config.compute_type", "int8"), {}, Restart(True, 1000)),
        ({"org/ears"}, {}, at("asr.parameters.beam_size", 1), Restart(False)),
        ({"org/words"}, {}, at("mt.compute_config.batch_size", 1), Restart(False)),
        (
            {"org/ears", "org/words"},
            {},
            {"asr": {"model_id": "ears-2"}, "mt": {"model_id": "words-2"}},
            Restart(True, 2000),
        ),
        (
            {"org/ears", "org/words"},
            {},
            {"asr": {"compute_config": {"cpu_threads": 2}}, "mt": {"model_id": "words-2"}},
            Restart(True),
        ),
        ({"org/ears"}, at("asr.model_id", "gone"), {}, Restart(False)),
    ],
)
async def test_a_restart_is_a_model_that_runs_exchanged_for_one_that_does_not_yet(
    ready: set[str], before: JsonObject, after: JsonObject, restart: Restart
) -> None:
    seconds = {"org/ears": 1.0, "org/ears-2": 1.5, "org/ears cpu-int8": 0.25, "org/words-2": 0.5}
    assert chosen(Loaded(ready, seconds)).restart(before, after, LAPTOP) == restart
