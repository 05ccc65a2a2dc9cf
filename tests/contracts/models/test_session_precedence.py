"""What a request says itself wins over what its session says."""

from __future__ import annotations

from typing import cast

import pytest

from backends.types import Transcribe, Translate
from tests.contracts.models.session_asks import OF_SPEECH, OF_TEXT
from tests.contracts.models.session_door import Body, Client, upload


@pytest.mark.parametrize(
    ("name", "sent", "field", "wanted"),
    [
        ("language", "en", "language", "en"),
        ("beam_size", "7", "beam_size", 7),
        ("best_of", "7", "best_of", 7),
        ("compression_ratio_threshold", "7", "compression_ratio_threshold", 7),
        ("logprob_threshold", "-7", "logprob_threshold", -7),
        ("no_speech_threshold", "0.75", "no_speech_threshold", 0.75),
        ("condition_on_previous_text", "false", "condition_on_previous_text", False),
        ("prompt", "Maria", "prompt", "Maria"),
    ],
)
async def test_what_a_request_says_itself_about_speech_wins(
    client: Client, name: str, sent: str, field: str, wanted: object
) -> None:
    config: Body = {"parameters": {}}
    for path, (value, *_) in OF_SPEECH.items():
        group, _, last = path.rpartition(".")
        (config[group] if group else config)[last] = value
    sid = await client.session(asr=config)
    await client.call("POST", f"/asr?{name}={sent}", data=upload(), headers={"X-Session-Id": sid})
    await client.call("POST", "/v1/audio/transcriptions", data=upload(session_id=sid, **{name: sent}))
    others = {wanted_in: wanted for path, (_, wanted_in, wanted) in OF_SPEECH.items() if wanted_in != field}
    for request in client.spy.requests:
        assert getattr(request, field) == wanted
        assert {other: getattr(request, other) for other in others} == others


async def test_temperatures_and_candidates_of_a_request_win(client: Client) -> None:
    sid = await client.session(asr={"language": "de", "parameters": {"temperature": 0.5}})
    for form in ({"temperature": "0"}, {"temperature": "0.25"}, {"languages": "en"}):
        await client.call("POST", "/v1/audio/transcriptions", data=upload(session_id=sid, **form))
    zero, quarter, candidates = cast("list[Transcribe]", client.spy.requests)
    assert (zero.temperatures, quarter.temperatures) == (None, (0.25,))
    assert (candidates.languages, candidates.language) == (("en",), None)
    client.spy.requests.clear()
    for query in ("temperature=0", "languages=en", "task=transcribe"):
        await client.call("POST", f"/asr?{query}&session_id={sid}", data=upload())
    zero, candidates, _ = cast("list[Transcribe]", client.spy.requests)
    assert (zero.temperatures, candidates.languages, candidates.language) == ((0.0,), ("en",), None)


@pytest.mark.parametrize(
    ("name", "sent", "field"),
    [
        ("src_lang", "es", "source"),
        ("tgt_lang", "es", "target"),
        ("num_beams", 7, "beam_size"),
        ("length_penalty", 7.0, "length_penalty"),
        ("no_repeat_ngram_size", 7, "no_repeat_ngram_size"),
        ("max_new_tokens", 7, "max_new_tokens"),
        ("early_stopping", True, "early_stopping"),
    ],
)
async def test_what_a_request_says_itself_about_translation_wins(
    client: Client, name: str, sent: object, field: str
) -> None:
    config: Body = {"parameters": {}, "compute_config": {}}
    for path, (value, *_) in OF_TEXT.items():
        group, _, last = path.rpartition(".")
        (config[group] if group else config)[last] = value
    sid = await client.session(mt=config)
    body = {"task": "translation", "inputs": "hello", "session_id": sid, "params": {name: sent}}
    await client.call("POST", "/infer", json=body)
    (request,) = client.spy.requests
    others = {wanted_in: wanted for _, wanted_in, wanted in OF_TEXT.values() if wanted_in != field}
    assert getattr(request, field) == sent
    assert {other: getattr(request, other) for other in others} == others


async def test_a_task_that_names_its_languages_wins(client: Client) -> None:
    sid = await client.session(mt={"source_language": "de", "target_language": "es"})
    await client.call("POST", "/infer", json={"task": "translation_en_to_fr", "inputs": "hello", "session_id": sid})
    (request,) = cast("list[Translate]", client.spy.requests)
    assert (request.source, request.target) == ("en", "fr")


async def test_a_model_that_a_request_names_wins(client: Client) -> None:
    sid = await client.session(asr={"model_id": "ears-2"}, mt={"model_id": "words-2"})
    await client.call("POST", f"/asr?model=ears&session_id={sid}", data=upload())
    await client.call("POST", "/v1/audio/transcriptions", data=upload(session_id=sid, model="ears"))
    body = {"task": "translation", "model": "words", "inputs": "hello", "session_id": sid}
    await client.call("POST", "/infer", json=body)
    assert [model.source for model in client.spy.models] == ["org/ears", "org/ears", "org/words"]
