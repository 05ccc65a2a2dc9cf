"""Two vLLM serve one model, and one is killed under its streams: nothing is lost in silence, and nothing goes on to fail."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai import AsyncOpenAI

from tests.engines.conftest import ALIAS, config_for
from tests.engines.proxy_process import proxy_process
from tests.engines.real_vllm import SLOTS, RealVllm, real_vllm
from tests.engines.sdk_checks import Door

pytestmark = [pytest.mark.engines, pytest.mark.timeout(600)]

STREAMS = 20
TOKENS = 600


@pytest.fixture
def doomed(vllm_python: str, tmp_path: Path) -> Iterator[RealVllm]:
    with real_vllm(vllm_python, tmp_path / "vllm.log") as engine:
        yield engine


class Stream:
    """A completion of TOKENS tokens. ending: "whole", or the error that its client was told."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.text = ""
        self.ending: str | openai.APIError = "unknown"

    async def run(self, sdk: AsyncOpenAI) -> None:
        """Read it to its end."""
        try:
            stream = await sdk.completions.create(
                model=ALIAS,
                prompt="Once upon a time",
                max_tokens=TOKENS,
                temperature=0,
                stream=True,
                extra_body={"ignore_eos": True},
            )
            async for chunk in stream:
                self.text += chunk.choices[0].text
                self.begun.set()
                if chunk.choices[0].finish_reason == "length":
                    self.ending = "whole"
        except openai.APIError as error:
            self.ending = error
        finally:
            self.begun.set()


async def test_one_of_two_is_killed_under_twenty_streams(vllm: RealVllm, doomed: RealVllm, tmp_path: Path) -> None:
    config = config_for(vllm).replace(f'url = "{vllm.url}/v1"', f'urls = ["{vllm.url}/v1", "{doomed.url}/v1"]')
    with proxy_process(config, tmp_path) as url:
        async with Door(base_url=f"{url}/v1", model=ALIAS).client() as sdk:
            streams = [Stream() for _ in range(STREAMS)]
            async with asyncio.TaskGroup() as tasks:
                for stream in streams:
                    tasks.create_task(stream.run(sdk))
                # Each engine runs so many at once; the others wait inside it.
                async with asyncio.timeout(120):
                    while sum(stream.begun.is_set() for stream in streams) < 2 * SLOTS:  # noqa: ASYNC110 - each has an event of its own
                        await asyncio.sleep(0.02)
                on_the_doomed = int(doomed.gauge("num_requests_running") + doomed.gauge("num_requests_waiting"))
                doomed.kill()
            after = [await sdk.completions.create(model=ALIAS, prompt="And then", max_tokens=5) for _ in range(10)]

    whole = [stream for stream in streams if stream.ending == "whole"]
    told = [stream for stream in streams if isinstance(stream.ending, openai.APIError)]
    assert len(whole) + len(told) == STREAMS, "every stream ended, one way or the other, and said which"
    assert len(told) == on_the_doomed > 0
    assert len({stream.text for stream in whole}) == 1, "what the survivor says is whole, and the same to everybody"
    for stream in told:
        assert whole[0].text.startswith(stream.text), "what the dead one said is the beginning of it"
        assert not stream.text or type(stream.ending) is openai.APIError, (
            "an event of the stream, not a broken connection"
        )
    assert all(answer.choices[0].text for answer in after), "new requests go on"
