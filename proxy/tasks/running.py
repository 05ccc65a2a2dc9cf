"""One Hugging Face task, run by whatever serves the model; the result is JSON, whichever that was."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import orjson

from backends.errors import Invalid
from backends.pipelines.tasks import Asked, check
from backends.types import Infer, Inferred, Json, Segment, Transcribe, Translate, Translated
from proxy.errors import ApiError, ErrorCode
from proxy.observability.call import Call
from proxy.registry.models import ModelEntry
from proxy.routing.dispatch import Dispatcher
from proxy.tasks import transcription, translation

# The engine's word for an option of a translation -> its name in `params`.
PARAMS = {"source": "src_lang", "target": "tgt_lang", "beam_size": "num_beams"}


class Tasks:
    """Runs tasks on the models that `Dispatcher.resolve_pipeline` found for them, for one call.

    transcribe, translate: what holds where a request for speech or translation says nothing.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        call: Call,
        *,
        transcribe: Transcribe | None = None,
        translate: Translate | None = None,
    ) -> None:
        self._dispatcher = dispatcher
        self._call = call
        self._transcribe = transcribe or Transcribe(audio=b"")
        self._translate = translate or Translate(texts=())

    async def run(self, entry: ModelEntry, request: Infer) -> bytes:
        """The result as transformers' pipeline would return it, as JSON; for another JSON, orjson.Fragment takes it.

        What is wrong with the request is told before its model is loaded. Raises ApiError, and BackendError.
        """
        match entry.task:
            case "translation":
                return orjson.dumps(await self._translated(entry, translation.translation(request, self._translate)))
            case "transcription":
                return orjson.dumps(await self._transcribed(entry, await asyncio.to_thread(check, request)))
            case _:
                await asyncio.to_thread(check, request)  # which looks at every item of what may be many megabytes
                return await self._inferred(entry, request)

    async def _translated(self, entry: ModelEntry, request: Translate) -> Json:
        try:
            async with aclosing(self._dispatcher.run(entry, request, self._call)) as events:
                return translation.result([event async for event in events if isinstance(event, Translated)])
        except Invalid as error:
            if error.param not in PARAMS:
                raise
            name = f"params.{PARAMS[error.param]}"
            raise ApiError(ErrorCode.INVALID, f"Invalid `{name}`: {error.message}", param=name) from error

    async def _transcribed(self, entry: ModelEntry, asked: Asked) -> Json:
        requests, chunks = await asyncio.to_thread(transcription.transcriptions, asked, self._transcribe)
        results: list[Json] = []
        for request in requests:
            async with aclosing(self._dispatcher.run(entry, request, self._call)) as events:
                segments = [event async for event in events if isinstance(event, Segment)]
            results.append(transcription.result(segments, chunks))
        return results if isinstance(asked.inputs, list) else results[0]

    async def _inferred(self, entry: ModelEntry, request: Infer) -> bytes:
        async with aclosing(self._dispatcher.run(entry, request, self._call)) as events:
            async for event in events:
                if isinstance(event, Inferred):
                    return event.json
        raise ApiError(ErrorCode.BAD_GATEWAY, f"The engine ended without a result for `{request.task}`.")
