"""The ways in which a request names its session, and what of a configuration reaches it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from tests.contracts.models.session_door import Body, Client, upload

Ask: TypeAlias = Callable[..., Awaitable[Body]]


async def asr_header(client: Client, sid: str, status: int = 200) -> Body:
    return await client.call("POST", "/asr", status, data=upload(), headers={"X-Session-Id": sid})


async def asr_query(client: Client, sid: str, status: int = 200) -> Body:
    return await client.call("POST", f"/asr?session_id={sid}", status, data=upload())


async def transcriptions_header(client: Client, sid: str, status: int = 200) -> Body:
    return await client.call("POST", "/v1/audio/transcriptions", status, data=upload(), headers={"X-Session-Id": sid})


async def transcriptions_query(client: Client, sid: str, status: int = 200) -> Body:
    return await client.call("POST", f"/v1/audio/transcriptions?session_id={sid}", status, data=upload())


async def transcriptions_form(client: Client, sid: str, status: int = 200) -> Body:
    return await client.call("POST", "/v1/audio/transcriptions", status, data=upload(session_id=sid))


async def translations_form(client: Client, sid: str, status: int = 200) -> Body:
    return await client.call("POST", "/v1/audio/translations", status, data=upload(session_id=sid))


async def infer_header(client: Client, sid: str, status: int = 200) -> Body:
    body = {"task": "translation", "inputs": "hello"}
    return await client.call("POST", "/infer", status, json=body, headers={"X-Session-Id": sid})


async def infer_query(client: Client, sid: str, status: int = 200) -> Body:
    return await client.call(
        "POST", f"/infer?session_id={sid}", status, json={"task": "translation", "inputs": "hello"}
    )


async def infer_body(client: Client, sid: str, status: int = 200) -> Body:
    return await client.call(
        "POST", "/infer", status, json={"task": "translation", "inputs": "hello", "session_id": sid}
    )


SPEECH: list[Ask] = [
    asr_header,
    asr_query,
    transcriptions_header,
    transcriptions_query,
    transcriptions_form,
    translations_form,
]


OPENAI = SPEECH[2:]


TEXT: list[Ask] = [infer_header, infer_query, infer_body]


# Path -> (value, the request's field, its value there).
OF_SPEECH: dict[str, tuple[object, str, object]] = {
    "language": ("de", "language", "de"),
    "parameters.beam_size": (2, "beam_size", 2),
    "parameters.best_of": (3, "best_of", 3),
    "parameters.temperature": (0.5, "temperatures", (0.5, 0.7, 0.9)),
    "parameters.compression_ratio_threshold": (1.5, "compression_ratio_threshold", 1.5),
    "parameters.logprob_threshold": (-0.5, "logprob_threshold", -0.5),
    "parameters.no_speech_threshold": (0.25, "no_speech_threshold", 0.25),
    "parameters.condition_on_previous_text": (True, "condition_on_previous_text", True),
    "parameters.initial_prompt": ("Emma", "prompt", "Emma"),
}


OF_TEXT: dict[str, tuple[object, str, object]] = {
    "source_language": ("en", "source", "en"),
    "target_language": ("fr", "target", "fr"),
    "parameters.beam_size": (2, "beam_size", 2),
    "parameters.length_penalty": (0.5, "length_penalty", 0.5),
    "parameters.no_repeat_ngram_size": (3, "no_repeat_ngram_size", 3),
    "parameters.max_input_length": (10, "max_input_length", 10),
    "parameters.max_new_tokens": (20, "max_new_tokens", 20),
    "parameters.early_stopping": (False, "early_stopping", False),
    "compute_config.batch_size": (4, "batch_size", 4),
}
