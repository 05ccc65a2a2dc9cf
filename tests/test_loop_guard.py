"""The guard of conftest.py is no ornament: blocking package code is caught."""

from __future__ import annotations

import pytest
from blockbuster import BlockingError

from proxy.registry.config import read_registry
from proxy.settings import Settings


async def test_a_blocking_call_of_package_code_on_the_loop_fails(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("config") / "switchboard.toml"
    path.write_text("")
    with pytest.raises(BlockingError):
        read_registry(path, Settings())
