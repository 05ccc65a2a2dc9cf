"""A TGI double and the backend in front of it, and short ways to ask and to look at what came."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from backends.base import EngineSpec, Timeouts
from backends.tgi.backend import TgiBackend
from tests.engines.tgi_double import TgiDouble


@pytest.fixture
async def tgi() -> AsyncIterator[TgiDouble]:
    async with TgiDouble() as double:
        yield double


@pytest.fixture
async def backend(tgi: TgiDouble) -> AsyncIterator[TgiBackend]:
    backend = TgiBackend(
        EngineSpec(name="texts", kind="tgi", urls=(tgi.url,), timeouts=Timeouts(connect=2, first_byte=2, idle=2))
    )
    yield backend
    await backend.close()
