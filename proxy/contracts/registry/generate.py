"""Section 2.1: generate text with whatever engine serves the model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from aiohttp import web

from backends.errors import Broken, Invalid
from backends.types import Chat, Complete, Delta, Event, Finish, Json, JsonObject, Sampling
from proxy.contracts.registry.errors import error_object
from proxy.contracts.registry.finding import need_libraries, usable
from proxy.contracts.registry.models import answer
from proxy.contracts.registry.options import MOST_TOKENS, NAMES, in_force, sampling
from proxy.contracts.registry.requests import Generation, read_generation
from proxy.contracts.registry.shapes import model_info
from proxy.errors import ApiError, from_backend
from proxy.http.body import read_json
from proxy.http.observe import CALL
from proxy.http.sse import DONE, data_event
from proxy.http.stream import stream_sse
from proxy.keys import DISPATCHER, REGISTRY
from proxy.registry.models import ModelEntry
from proxy.registry.rows import Model
from proxy.tasks.telling import told_absent


async def generate(request: web.Request) -> web.StreamResponse:
    """`POST /generate`. With `stream: true`, an extension, events with the text as it comes, the whole answer, and `[DONE]`."""
    _, data = await read_json(request)
    asked = read_generation(data)
    model = await usable(request, asked.model_id)
    entry = request.app[DISPATCHER].resolve(asked.model_id, "text", request[CALL])
    await need_libraries(request, entry)
    writing = _Writing(request, asked, model, entry)
    if asked.stream:
        return await stream_sse(request, writing.frames(), _error_frame)
    async with aclosing(writing.pieces()) as pieces:
        async for _ in pieces:
            pass
    request[CALL].first_byte()
    return answer(await writing.ended())


class _Writing:
    """One answer being written."""

    def __init__(self, request: web.Request, asked: Generation, model: Model, entry: ModelEntry) -> None:
        self._request = request
        self._asked = asked
        self._model = model
        self._entry = entry
        self._options = in_force(asked.options, model.parameters)
        self._said = dict(self._options)  # to the engine
        self._text: list[str] = []

    async def pieces(self) -> AsyncGenerator[str, None]:
        """The text as it comes. Raises BackendError, Broken when the engine stops before the end, ApiError."""
        ended = False
        async with aclosing(self._events()) as events:
            async for event in events:
                if isinstance(event, Delta) and event.text:
                    self._text.append(event.text)
                    yield event.text
                ended = ended or isinstance(event, Finish)
        if not ended:
            raise Broken(f"The engine behind `{self._entry.name}` stopped before its answer's end.")

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """The same as server-sent events."""
        async with aclosing(self.pieces()) as pieces:
            async for text in pieces:
                yield data_event({"text": text})
        yield data_event({"success": True, **await self.ended()})
        yield DONE

    async def ended(self) -> JsonObject:
        """The answer, counted as a use of its model."""
        await self._request.app[REGISTRY].used(self._model.model_id)
        return {
            "response": "".join(self._text),
            "model_used": self._asked.model_id,
            "prompt": self._asked.prompt,
            # Fewer tokens than the default have room: at most so many it is all the same.
            "parameters": {name: self._options[name] for name in self._options if name in {*self._said, MOST_TOKENS}},
            "model_info": model_info(self._model),
        }

    async def _events(self) -> AsyncGenerator[Event, None]:
        """The engine's events. An engine that cannot do what only a default asks for is asked again without it."""
        dispatcher, call = self._request.app[DISPATCHER], self._request[CALL]
        chosen = {**self._model.parameters, **self._asked.options}
        while True:
            question = _question(self._asked.prompt, self._model.model_type, sampling(self._said))
            try:
                with told_absent():
                    async with aclosing(dispatcher.run(self._entry, question, call)) as events:
                        async for event in events:
                            yield event
            except Invalid as error:
                if not _drop(self._said, error.param, chosen):
                    raise _in_our_words(error) from error
            else:
                return


def _question(prompt: str, model_type: str, how: Sampling) -> Chat | Complete:
    """Models for dialogue are told the prompt as a message; others continue it."""
    if model_type == "conversational":
        return Chat(messages=({"role": "user", "content": prompt},), sampling=how)
    return Complete(prompts=(prompt,), sampling=how)


def _drop(options: JsonObject, param: str | None, chosen: Mapping[str, Json]) -> bool:
    """Take out the option that an engine refused, if nobody chose it."""
    name = NAMES.get(param or "")
    if name is None or name in chosen or name not in options:
        return False
    del options[name]
    return True


def _in_our_words(error: Invalid) -> ApiError:
    """The same error, with the contract's name of the option."""
    told = from_backend(error)
    name = NAMES.get(told.param or "", told.param)
    message = told.message.replace("max_tokens", "max_new_tokens")
    return ApiError(told.code, message, param=name, status=told.status)


def _error_frame(error: ApiError) -> bytes:
    return data_event(error_object(error))
