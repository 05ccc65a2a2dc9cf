"""Models to translate with: the shipped one, and a tiny random one of every family."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from functools import cache
from pathlib import Path

import pytest

import backends
from backends.base import EngineSpec, ModelSpec
from backends.translation.backend import TranslationBackend
from backends.types import Translate, Translated
from tests.backends.translation.tiny_models import Random, make

Translator = Callable[..., Coroutine[None, None, list[Translated]]]
Make = Callable[[str], Random]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Make a model of a family, once."""
    return cache(lambda family: make(family, tmp_path_factory.mktemp(family)))


@pytest.fixture(scope="session")
def nano() -> Path:
    return Path(backends.__file__).parent / "nano" / "translate"


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
async def backend(store: Path) -> AsyncIterator[TranslationBackend]:
    backend = TranslationBackend(EngineSpec(name="mt", kind="translation", device="cpu", data=store))
    yield backend
    await backend.close()


@pytest.fixture
async def exact(store: Path) -> AsyncIterator[TranslationBackend]:
    """A backend that computes in full precision, to be compared with transformers."""
    spec = EngineSpec(name="mt", kind="translation", device="cpu", compute_type="float32", data=store)
    backend = TranslationBackend(spec)
    yield backend
    await backend.close()


@pytest.fixture
async def translate(backend: TranslationBackend, nano: Path) -> Translator:
    """Translate texts on the shipped model."""
    model = ModelSpec(source=str(nano))
    await backend.load(model, lambda _: None)

    async def run(
        *texts: str, source: str | None = "en", target: str | None = "fr", **options: object
    ) -> list[Translated]:
        request = Translate(texts=texts, source=source, target=target, **options)  # type: ignore[arg-type]
        return [event async for event in backend.run(model, request) if isinstance(event, Translated)]

    return run
