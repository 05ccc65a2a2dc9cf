"""An engine that says what a test tells it to."""

from __future__ import annotations

import pytest

from tests.proxy.contracts.chat.talk import Engine


@pytest.fixture
def engine() -> Engine:
    """An engine that waits to be told what to say."""
    return Engine(lambda _: [])
