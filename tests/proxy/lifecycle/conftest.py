"""Rigs that are closed at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from tests.proxy.lifecycle.rig import Rig, make_rig


@pytest.fixture
async def rigged() -> AsyncIterator[Callable[..., Rig]]:
    """make_rig, whose rigs end with the test."""
    made: list[Rig] = []

    def make(*args: object, **options: object) -> Rig:
        made.append(make_rig(*args, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for rig in made:
        await rig.manager.close()
