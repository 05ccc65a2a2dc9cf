"""What the SDK expects of any engine, of a model in this process; and what that engine cannot do is refused by name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest

import backends
from tests.engines.sdk_checks import CHECKS, Check, Door
from tests.support import one_model, serve_app

NANO = Path(backends.__file__).parent / "nano" / "chat"


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    registry = one_model("nano-chat", "text", kind="transformers", source=str(NANO))
    async with serve_app(registry) as url:
        yield Door(base_url=f"{url}/v1", model="nano-chat")


@pytest.mark.parametrize("check", CHECKS, ids=[check.__name__ for check in CHECKS])
async def test_it_does_what_sdks_expect(door: Door, check: Check) -> None:
    await check(door)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("response_format", {"type": "json_object"}, "response_format"),
        ("tools", [{"type": "function", "function": {"name": "f", "parameters": {}}}], "tools"),
        ("modalities", ["text", "audio"], "modalities.1"),
        ("audio", {"voice": "alloy", "format": "wav"}, "audio"),
        ("store", True, "store"),
        ("service_tier", "turbo", "service_tier"),
        ("functions", [{"name": "f"}], "functions"),
        ("x_made_up", 1, "x_made_up"),
        ("top_logprobs", 3, "top_logprobs"),
        ("temperature", 2.5, "temperature"),
        ("top_p", 0, "top_p"),
        ("n", 0, "n"),
        ("max_tokens", 100_000, "max_tokens"),
        ("stop", ["a"] * 17, "stop"),
        ("logit_bias", {"99999999": 1}, "logit_bias"),
        ("messages", [{"role": "nobody", "content": "x"}], "messages.0.role"),
        (
            "messages",
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y.png"}}]}],
            "messages.0.content.0.type",
        ),
        (
            "messages",
            [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]}],
            "messages",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_it_cannot_do_is_refused_by_name(
    door: Door, field: str, value: object, param: str, stream: bool
) -> None:
    async with door.client() as sdk:
        with pytest.raises(openai.BadRequestError) as refused:
            await sdk.chat.completions.create(
                model=door.model, messages=door.messages, stream=stream, extra_body={field: value}
            )
    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"


async def test_harmless_fields_are_taken(door: Door) -> None:
    async with door.client() as sdk:
        answer = await sdk.chat.completions.create(
            model=door.model,
            messages=door.messages,
            user="u-1",
            metadata={"job": "7"},
            store=False,
            service_tier="auto",
            modalities=["text"],
            response_format={"type": "text"},
        )
    assert answer.choices[0].message.content == door.answer
