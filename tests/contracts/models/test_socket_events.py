"""Contract 3, WebSocket Events: each example as it is printed, told by the socket."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.events.values import Event, LoadCompleted, LoadFailed, LoadProgress, LoadStarted
from proxy.keys import EVENTS
from tests.contracts.schema import conforms
from tests.proxy.contracts.models.socket_client import world

PRINTED = Path(__file__).parent / "printed"
TINY = "openai/whisper-tiny.en"
SUGGESTIONS = ("Use CPU instead of GPU", "Try int8 quantization", "Use a smaller model variant")
EXAMPLES: list[Event] = [
    LoadStarted(model_id=TINY, model_type="asr", estimated_load_time_ms=5000, memory_required_mb=200),
    LoadProgress(model_id=TINY, progress=65, stage="loading_weights", memory_used_mb=130),
    LoadCompleted(model_id=TINY, model_type="asr", load_time_ms=4750, memory_usage_mb=195),
    LoadFailed(
        model_id=TINY,
        error_code="INSUFFICIENT_MEMORY",
        error_message="Insufficient GPU memory to load model",
        required_mb=1024,
        available_mb=512,
        suggestions=SUGGESTIONS,
    ),
]


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.kind)
async def test_an_event_is_told_as_printed(event: Event) -> None:
    printed: dict[str, Any] = json.loads((PRINTED / f"{event.kind}.json").read_text())
    async with world() as door:
        sid = await door.session()
        async with door.greeted(sid) as client:
            door.app[EVENTS].publish(event)
            told = await client.next()
    assert {name: told[name] for name in printed} == {**printed, "sid": sid}
    conforms("models", f"ws/{event.kind}", told)


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.kind)
def test_the_schemas_hold_what_is_printed(event: Event) -> None:
    printed = json.loads((PRINTED / f"{event.kind}.json").read_text())
    envelope = {"id": "evt_1", "seq": 1, "corr": None, "t_wall": "2026-01-01T00:00:00.000Z", "t_mono_ns": 1}
    conforms("models", f"ws/{event.kind}", {**printed, **envelope})
    with pytest.raises(AssertionError):
        conforms("models", f"ws/{event.kind}", {**printed, **envelope, "data": {}})
