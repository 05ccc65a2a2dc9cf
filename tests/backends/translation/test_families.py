"""Every family, converted and run, says what transformers itself says."""

from __future__ import annotations

import pytest

from backends.base import ModelSpec
from backends.translation.backend import TranslationBackend
from backends.types import Translate, Translated
from tests.backends.translation.conftest import Make
from tests.backends.translation.tiny_models import MAKERS, SENTENCES, Random, reference


async def _run(backend: TranslationBackend, model: Random, request: Translate) -> list[Translated]:
    spec = ModelSpec(source=str(model.directory))
    await backend.load(spec, lambda _: None)
    return [event async for event in backend.run(spec, request) if isinstance(event, Translated)]


@pytest.mark.parametrize("family", MAKERS)
async def test_same_as_transformers(family: str, exact: TranslationBackend, tiny: Make) -> None:
    model = tiny(family)
    wanted = [reference(model, text) for text in SENTENCES]
    got = await _run(
        exact,
        model,
        Translate(texts=SENTENCES, source=model.source, target=model.target, max_new_tokens=12, beam_size=1),
    )
    print(wanted)
    assert [item.text for item in got] == wanted
    assert len(set(wanted)) == len(wanted), "a model that says the same to everything tests nothing"
    assert {(item.source, item.target) for item in got} == {(model.source, model.target)}
