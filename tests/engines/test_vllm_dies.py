"""A vLLM that is killed under its clients: told in-band, then 503, never silence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.engines.conftest import ALIAS, config_for
from tests.engines.proxy_process import proxy_process
from tests.engines.real_vllm import RealVllm, real_vllm
from tests.engines.sdk_checks import Door

pytestmark = [pytest.mark.engines, pytest.mark.timeout(400)]


@pytest.fixture
def doomed(vllm_python: str, tmp_path: Path) -> Iterator[RealVllm]:
    with real_vllm(vllm_python, tmp_path / "vllm.log") as engine:
        yield engine


async def test_killed_in_the_middle_of_a_stream(doomed: RealVllm, tmp_path: Path) -> None:
    with proxy_process(config_for(doomed), tmp_path) as url:
        door = Door(base_url=f"{url}/v1", model=ALIAS)
        async with door.client() as sdk:
            stream = await sdk.completions.create(
                model=door.model, prompt="Hello", max_tokens=1900, stream=True, extra_body={"ignore_eos": True}
            )
            await anext(aiter(stream))
            doomed.kill()
            with pytest.raises(openai.APIError) as told:
                async for _ in stream:
                    pass
            assert type(told.value) is openai.APIError, "an event of the stream, not a broken connection"
            assert told.value.type == "server_error"

            with pytest.raises(openai.InternalServerError) as refused:
                await sdk.chat.completions.create(model=door.model, messages=door.messages)
    assert refused.value.status_code == 503
    assert int(refused.value.response.headers["Retry-After"]) >= 1
