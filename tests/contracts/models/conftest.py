"""A client of a door that takes small bodies."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.contracts.models.session_door import Client, opened


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with opened(max_body_mb=0.1) as client:
        yield client
