"""TGI's clients talk to this door as to a TGI: before a double of TGI, and before a model in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import backends
from backends.base import EngineSpec, ModelSpec, Timeouts
from proxy.registry.models import ModelEntry, Registry
from tests.engines.tgi_checks import CHECKS, Check, Tgi, as_prompt
from tests.engines.tgi_double import TgiDouble
from tests.support import one_model, serve_app

NANO = Path(backends.__file__).parent / "nano" / "chat"

# text-generation 0.7 serialises its requests with pydantic 1's word for it.
pytestmark = pytest.mark.filterwarnings("ignore:The `dict` method is deprecated")


def remote(kind: str, url: str, served_as: str) -> Registry:
    """One model on one engine elsewhere, the default for text."""
    engine = EngineSpec(name=kind, kind=kind, urls=(url,), timeouts=Timeouts(connect=2, first_byte=5, idle=5))
    entry = ModelEntry(name="chat", engine=kind, spec=ModelSpec(source=served_as), task="text")
    return Registry(engines={kind: engine}, models=(entry,), defaults={"text": "chat"})


@pytest.fixture
async def before_tgi() -> AsyncIterator[Tgi]:
    async with TgiDouble() as engine, serve_app(remote("tgi", engine.url, "chat")) as url:
        yield Tgi(url, "one two three four five six seven")


@pytest.fixture
async def in_process() -> AsyncIterator[Tgi]:
    async with serve_app(one_model("nano-chat", "text", kind="transformers", source=str(NANO))) as url:
        yield Tgi(url, await as_prompt(url, "What is the capital of France?"))


@pytest.mark.parametrize("check", CHECKS, ids=[check.__name__ for check in CHECKS])
async def test_before_tgi(before_tgi: Tgi, check: Check) -> None:
    await check(before_tgi)


@pytest.mark.parametrize("check", CHECKS, ids=[check.__name__ for check in CHECKS])
async def test_in_process(in_process: Tgi, check: Check) -> None:
    await check(in_process)
