"""A real vLLM for the session, and the proxy in front of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.proxy_process import proxy_process
from tests.engines.real_vllm import SERVED_AS, RealVllm, real_vllm
from tests.engines.sdk_checks import Door

ALIAS = "team/chat"


@pytest.fixture(scope="session")
def vllm_python() -> str:
    """The interpreter of vLLM's environment, which `make test-engines` builds and names."""
    named = os.environ.get("VLLM_PYTHON")
    if named is None:
        pytest.skip("needs a real vLLM: run `make test-engines`, or set VLLM_PYTHON to its interpreter")
    # Not resolved: a virtual environment's interpreter is a link, and must be called by the link's name.
    return str(Path(named).absolute())


@pytest.fixture(scope="session")
def vllm(vllm_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealVllm]:
    """vLLM with nano-chat. Tests leave it as they found it: nothing running."""
    with real_vllm(vllm_python, tmp_path_factory.mktemp("vllm") / "vllm.log") as engine:
        yield engine


@pytest.fixture(scope="session")
def door(vllm: RealVllm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """The proxy in front of it, which serves the model by another name and an alias."""
    with proxy_process(config_for(vllm), tmp_path_factory.mktemp("proxy")) as url:
        yield Door(base_url=f"{url}/v1", model=ALIAS)


def config_for(engine: RealVllm) -> str:
    """A proxy's configuration for this engine."""
    return f"""
[[engines]]
name = "vllm"
kind = "vllm"
url = "{engine.url}/v1"
timeouts = {{ connect = 2, first_byte = 120, idle = 30 }}

[[models]]
name = "chat"
engine = "vllm"
served_as = "{SERVED_AS}"
aliases = ["{ALIAS}"]
"""
