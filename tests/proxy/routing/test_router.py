"""Names mean models."""

from __future__ import annotations

import pytest

from backends.base import EngineSpec, ModelSpec
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


def test_an_unknown_name_is_not_found_with_a_hint() -> None:
    with pytest.raises(ApiError, match=r"The model `org/lama` does not exist. Did you mean `org/llama`\?") as refused:
        router(LLAMA, EARS).resolve("org/lama", "text")
    assert (refused.value.status, refused.value.param) == (404, "model")


def test_the_wrong_task_says_what_would_do() -> None:
    with pytest.raises(ApiError, match=r"does transcription, not text. Available: `org/llama`"):
        router(LLAMA, EARS).resolve("ears", "text")


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
