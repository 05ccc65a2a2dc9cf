"""What a session's configuration means for a request: the values that hold where the request says nothing."""

from __future__ import annotations

from collections.abc import Mapping

from backends.types import Json, Transcribe, Translate
from proxy.errors import ApiError, ErrorCode
from proxy.sessions.config import Asr, AsrCompute, AsrParameters, Mt, said_at

HOTTEST = 1.0
STEP = 0.2

# What an engine elsewhere can be told of a session, by the names of OpenAI's fields.
RELAYED = {
    "asr.language": "language",
    "asr.parameters.initial_prompt": "prompt",
    "asr.parameters.temperature": "temperature",
}
_NOT_RELAYED = [
    path
    for path in (
        *(f"asr.parameters.{name}" for name in AsrParameters.model_fields),
        *(f"asr.compute_config.{name}" for name in AsrCompute.model_fields),
    )
    if path not in RELAYED
]


def transcribe_defaults(asr: Asr) -> Transcribe:
    """A transcription as the session wants it, its audio still to come."""
    parameters = asr.parameters
    return Transcribe(
        audio=b"",
        task=asr.task,
        language=asr.language,
        prompt=parameters.initial_prompt,
        temperatures=temperatures(parameters.temperature),
        beam_size=parameters.beam_size,
        best_of=parameters.best_of,
        compression_ratio_threshold=parameters.compression_ratio_threshold,
        logprob_threshold=parameters.logprob_threshold,
        no_speech_threshold=parameters.no_speech_threshold,
        condition_on_previous_text=parameters.condition_on_previous_text,
    )


def translate_defaults(mt: Mt) -> Translate:
    """A translation as the session wants it, its texts still to come."""
    parameters = mt.parameters
    return Translate(
        texts=(),
        source=mt.source_language,
        target=mt.target_language or None,
        beam_size=parameters.beam_size,
        length_penalty=parameters.length_penalty,
        no_repeat_ngram_size=parameters.no_repeat_ngram_size,
        max_input_length=parameters.max_input_length,
        max_new_tokens=parameters.max_new_tokens,
        early_stopping=parameters.early_stopping,
        batch_size=mt.compute_config.batch_size,
    )


def temperatures(first: float) -> tuple[float, ...]:
    """Those to try in turn, the first of them given.

    >>> temperatures(0.5)
    (0.5, 0.7, 0.9)
    """
    count = int((HOTTEST - first) / STEP + 1e-9) + 1
    return tuple(round(first + STEP * number, 6) for number in range(count))


def relayed_fields(said: Mapping[str, Json]) -> dict[str, str]:
    """The fields of an audio form that tell an engine elsewhere what the session says. Raises UNSUPPORTED for what none can."""
    for path in _NOT_RELAYED:
        if said_at(said, path) is not None:
            message = f"The session's `{path}` is for models of this process; an engine elsewhere cannot be told it."
            raise ApiError(ErrorCode.UNSUPPORTED, message, param=path)
    values = {name: said_at(said, path) for path, name in RELAYED.items()}
    return {name: str(value) for name, value in values.items() if value is not None}
