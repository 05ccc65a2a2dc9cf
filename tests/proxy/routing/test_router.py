"""Names mean models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from backends.base import EngineSpec, ModelSpec
from backends.types import Task
from proxy.errors import ApiError, ErrorCode
from proxy.registry.models import ModelEntry, Registry
from proxy.routing.router import Router

LLAMA = ModelEntry(name="org/llama", engine="e", spec=ModelSpec(source="l"), task="text", aliases=("gpt-4o",))
EARS = ModelEntry(name="ears", engine="e", spec=ModelSpec(source="w"), task="transcription")
ANY = ModelEntry(name="any", engine="e", spec=ModelSpec(source="a"), task="text", aliases=("*",))


def router(*models: ModelEntry) -> Router:
    engine = EngineSpec(name="e", kind="vllm", urls=("http://x",))
    return Router(Registry(engines={"e": engine}, models=models, defaults={"transcription": "ears"}))


def test_names_and_aliases() -> None:
    assert router(LLAMA, EARS).resolve("org/llama", "text") is LLAMA
    assert router(LLAMA, EARS).resolve("gpt-4o", "text") is LLAMA


@pytest.mark.parametrize("nothing", [None, ""])
def test_no_name_means_the_default_of_the_task(nothing: str | None) -> None:
    assert router(LLAMA, EARS).resolve(nothing, "transcription") is EARS
    with pytest.raises(ApiError, match=r"there is no default for text. Available: `org/llama`") as refused:
        router(LLAMA, EARS).resolve(nothing, "text")
    assert (refused.value.code, refused.value.param) == (ErrorCode.INVALID, "model")


def test_a_retired_model_serves_no_more_by_any_way() -> None:
    """As the default, under its name, or as what a wildcard or the hub has under it."""
    registry = replace(router(ANY, LLAMA).registry, retired=frozenset({"ears", "old"}))
    kept = Router(registry)
    asked: tuple[Callable[[], ModelEntry], ...] = (
        lambda: kept.resolve(None, "transcription"),
        lambda: kept.resolve("old", "text"),
        lambda: kept.any("ears", "transcription"),
        lambda: kept.pipeline("automatic-speech-recognition", None),
        lambda: kept.pipeline("fill-mask", "old"),
    )
    for ask in asked:
        with pytest.raises(ApiError, match="is retired and serves no more") as refused:
            ask()
        assert refused.value.status == 404


def test_an_unknown_name_is_not_found_with_a_hint() -> None:
    with pytest.raises(ApiError, match=r"The model `org/lama` does not exist. Did you mean `org/llama`\?") as refused:
        router(LLAMA, EARS).resolve("org/lama", "text")
    assert (refused.value.status, refused.value.param) == (404, "model")


def test_the_wrong_task_says_what_would_do() -> None:
    with pytest.raises(ApiError, match=r"does transcription, not text. Available: `org/llama`"):
        router(LLAMA, EARS).resolve("ears", "text")


def test_models_that_read_and_then_write_do_so_on_the_engine_for_text() -> None:
    here = {name: EngineSpec(name=name, kind=kind) for name, kind in (("p", "pipelines"), ("t", "transformers"))}
    models = [
        ModelEntry(name=task, engine="p", spec=ModelSpec(source="s", task=task), task="pipeline")
        for task in ("summarization", "text2text-generation", "fill-mask")
    ]
    registry = Registry(engines=here, models=tuple(models))
    for name in ("summarization", "text2text-generation"):
        entry = Router(registry).resolve(name, "text")
        assert (entry.name, entry.engine, entry.task, entry.spec) == (name, "t", "text", ModelSpec(source="s"))
    with pytest.raises(ApiError, match="does fill-mask, not text"):
        Router(registry).resolve("fill-mask", "text")
    with pytest.raises(ApiError, match="does summarization, not text"):
        Router(replace(registry, engines={"p": here["p"]})).resolve("summarization", "text")


def test_the_wildcard_takes_what_nobody_else_does_but_is_no_name() -> None:
    assert router(LLAMA, ANY).resolve("whatever", "text") is ANY
    assert router(LLAMA, ANY).resolve("gpt-4o", "text") is LLAMA
    with pytest.raises(ApiError, match="does not exist"):
        router(LLAMA, ANY).find("*")


def test_an_endless_name_is_refused_without_being_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    def compared(*_: object, **__: object) -> list[str]:
        raise AssertionError("seconds of the event loop's time")

    monkeypatch.setattr("difflib.get_close_matches", compared)
    with pytest.raises(ApiError, match="does not exist") as refused:
        router(LLAMA).resolve("a" * 1_000_000, "text")
    assert len(refused.value.message) < 400


# --------------------------------------------------------------------------- Hugging Face tasks

ENGINES = {
    name: EngineSpec(name=name, kind=kind, urls=("http://x",) if kind == "vllm" else ())
    for name, kind in {
        "e": "vllm",
        "speech": "whisper",
        "words": "translation",
        "lm": "transformers",
        "any": "pipelines",
    }.items()
}
SPEECH = ModelEntry(name="speech-1", engine="speech", spec=ModelSpec(source="/w"), task="transcription")
WORDS = ModelEntry(name="words-1", engine="words", spec=ModelSpec(source="/t"), task="translation")
CHAT = ModelEntry(name="chat-1", engine="lm", spec=ModelSpec(source="/c", revision="r"), task="text", aliases=("c",))
TAGGER = ModelEntry(
    name="tagger", engine="any", spec=ModelSpec(source="/n", task="token-classification"), task="pipeline"
)
DEFAULTS: dict[Task, str] = {"transcription": "speech-1", "translation": "words-1"}


def tasks(*models: ModelEntry, engines: dict[str, EngineSpec] = ENGINES) -> Router:
    return Router(Registry(engines=engines, models=(SPEECH, WORDS, *models), defaults=DEFAULTS))


def test_models_of_engines_made_for_a_task_stay_there() -> None:
    assert tasks().pipeline("automatic-speech-recognition", "speech-1") is SPEECH
    assert tasks().pipeline("automatic-speech-recognition", None) is SPEECH
    assert tasks().pipeline("translation", "words-1") is WORDS
    assert tasks().pipeline("translation", "") is WORDS


def test_other_models_of_this_process_become_pipelines_of_the_same_files() -> None:
    entry = tasks(CHAT).pipeline("text-generation", "c")
    assert (entry.name, entry.engine, entry.task) == ("chat-1", "any", "pipeline")
    assert entry.spec == ModelSpec(source="/c", revision="r", task="text-generation")
    assert tasks().pipeline("feature-extraction", "speech-1").engine == "any"
    assert tasks(TAGGER).pipeline("token-classification", "tagger") == TAGGER
    assert tasks(TAGGER).pipeline("feature-extraction", "tagger").spec.task == "feature-extraction"


def test_any_model_of_the_hub_is_a_pipeline_without_being_configured() -> None:
    entry = tasks().pipeline("fill-mask", "google-bert/bert-base-uncased")
    assert (entry.engine, entry.task, entry.spec.source) == ("any", "pipeline", "google-bert/bert-base-uncased")
    assert entry.spec.task == "fill-mask"


@pytest.mark.parametrize("name", ["/etc", "./x", "../x", "a/b/c", "*", "a b", "~", "C:\\x", "http://x/y", "a" * 300])
def test_what_is_no_id_is_not_found(name: str) -> None:
    with pytest.raises(ApiError, match="does not exist") as refused:
        tasks(ANY).pipeline("fill-mask", name)
    assert (refused.value.status, refused.value.param) == (404, "model")


def test_who_cannot_serve_a_task_says_so() -> None:
    with pytest.raises(ApiError, match="`model` is missing"):
        tasks().pipeline("fill-mask", None)
    with pytest.raises(ApiError, match="served by another engine"):
        tasks(LLAMA).pipeline("text-generation", "org/llama")
    without = {name: engine for name, engine in ENGINES.items() if engine.kind != "pipelines"}
    with pytest.raises(ApiError, match="no engine of kind pipelines"):
        tasks(engines=without).pipeline("fill-mask", "org/bert")


def test_an_engine_made_for_a_task_takes_any_model_of_the_hub_where_it_may() -> None:
    entry = tasks().any("openai/whisper-small", "transcription")
    assert (entry.engine, entry.task, entry.spec) == (
        "speech",
        "transcription",
        ModelSpec(source="openai/whisper-small", name="openai/whisper-small"),
    )
    assert tasks().any("speech-1", "transcription") is SPEECH
    assert tasks().any(None, "transcription") is SPEECH
    assert tasks().any("org/opus", "translation").engine == "words"
    for name in ("/etc/passwd", "words-1"):
        with pytest.raises(ApiError):
            tasks().any(name, "transcription")
    with pytest.raises(ApiError, match="does not exist"):
        tasks().any("org/llama", "text")
