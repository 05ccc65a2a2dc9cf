"""Every family, converted and run, says what transformers itself says."""

from __future__ import annotations

import pytest

from backends.base import ModelSpec
from backends.translation.backend import TranslationBackend
from backends.types import Translate, Translated
from tests.backends.translation.conftest import Make
from tests.backends.translation.tiny_models import MAKERS, SENTENCES, Random, reference


@pytest.fixture(params=MAKERS)
def family(request: pytest.FixtureRequest, tiny: Make) -> Random:
    return tiny(request.param)


@pytest.fixture(params=[1, 4], ids=["greedy", "beams"])
def beams(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def wanted(family: Random, beams: int) -> list[str]:
    """What transformers itself answers to each of SENTENCES."""
    answers = [reference(family, text, beams) for text in SENTENCES]
    if beams == 1:
        assert len(set(answers)) == len(answers), "a model that says the same to everything tests nothing"
    return answers


async def test_same_as_transformers(exact: TranslationBackend, family: Random, beams: int, wanted: list[str]) -> None:
    model = ModelSpec(source=str(family.directory))
    await exact.load(model, lambda _: None)
    request = Translate(texts=SENTENCES, source=family.source, target=family.target, max_new_tokens=12, beam_size=beams)
    assert [event async for event in exact.run(model, request)] == [
        Translated(index, text, family.source, family.target) for index, text in enumerate(wanted)
    ]
