import asyncio

import pytest

from backends.base import ModelSpec
from backends.errors import Unavailable
from backends.inprocess.loaded import Loaded

MODEL = ModelSpec(source="there", name="there")


async def test_a_model_is_given_away_once_its_last_user_has_left() -> None:
    loaded = Loaded[str]()
    loaded.add(MODEL, "engine")
    assert MODEL in loaded
    with loaded.used(MODEL) as engine, loaded.used(MODEL):
        assert engine == "engine"
    with loaded.used(MODEL):
        with loaded.used(MODEL):
            removing = asyncio.create_task(loaded.removed(MODEL))
            await asyncio.sleep(0)
            assert MODEL not in loaded
            with pytest.raises(Unavailable, match="there is not loaded"), loaded.used(MODEL):
                pass
        await asyncio.sleep(0)
        assert not removing.done()
    assert await removing == "engine"
    assert await loaded.removed(MODEL) is None


async def test_all_are_forgotten_at_once() -> None:
    loaded = Loaded[str]()
    loaded.add(MODEL, "engine")
    with loaded.used(MODEL):
        assert list(loaded) == loaded.clear() == ["engine"]
    assert list(loaded) == []
