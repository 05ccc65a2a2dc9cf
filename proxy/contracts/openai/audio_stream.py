"""A transcript as it grows: OpenAI's events, one delta for each stretch of speech."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from backends.errors import Broken
from backends.types import Event, Segment, Speech, TokenLogprob
from proxy.contracts.openai.diarized import diarized_segment, segment_id
from proxy.contracts.openai.transcripts import Style, spoken_languages, token_logprobs
from proxy.http.sse import DONE, data_event


async def transcript_frames(events: AsyncGenerator[Event, None], style: Style) -> AsyncGenerator[bytes, None]:
    """Server-sent events, `[DONE]` last. Raises Broken when the events tell of no audio.

    The deltas join to the text of `transcript.text.done`, which is that of the whole answer.
    """
    growing = _Growing()
    logprobs: list[TokenLogprob] = []
    speech: Speech | None = None
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Speech):
                speech = event
            elif isinstance(event, Segment):
                delta = growing.add(event.text)
                logprobs += event.logprobs
                if delta or (style.logprobs and event.logprobs):
                    yield data_event({**_delta(delta, event, style), **_logprobs(event.logprobs, style)})
                if style.format == "diarized_json":
                    yield data_event(diarized_segment(event))
    if speech is None:
        raise Broken("The engine ended without a transcript.")
    languages = {"languages": spoken_languages(speech)} if style.languages else {}
    done = {"type": "transcript.text.done", "text": growing.text, **languages, **_logprobs(logprobs, style)}
    yield data_event(done)
    yield DONE


class _Growing:
    """Text whose pieces join to a whole without space around it: space waits for what comes after it."""

    def __init__(self) -> None:
        self.text = ""
        self._space = ""

    def add(self, piece: str) -> str:
        """What a piece adds to the text; "" when it is nothing but space."""
        shown = self._space + piece if self.text else piece.lstrip()
        delta = shown.rstrip()
        self._space = shown[len(delta) :]
        self.text += delta
        return delta


def _delta(delta: str, segment: Segment, style: Style) -> dict[str, object]:
    belongs = {"segment_id": segment_id(segment)} if style.format == "diarized_json" else {}
    return {"type": "transcript.text.delta", "delta": delta, **belongs}


def _logprobs(tokens: list[TokenLogprob] | tuple[TokenLogprob, ...], style: Style) -> dict[str, object]:
    return {"logprobs": token_logprobs(tokens)} if style.logprobs else {}
