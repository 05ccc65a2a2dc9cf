"""What a stream of captions asks of models: each utterance is counted as a request, and not the hours of its socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp import web

from backends.errors import BackendError
from backends.types import Event, Request
from proxy.errors import ApiError, from_backend
from proxy.http.observe import CALL
from proxy.keys import DISPATCHER, METRICS
from proxy.observability.call import CLIENT_GONE, Call
from proxy.registry.models import ModelEntry


async def counted(request: web.Request, entry: ModelEntry, asked: Request) -> AsyncGenerator[Event, None]:
    """A model's events. Raises BackendError, ApiError. A look that is given up counts as if its client had left."""
    socket = request[CALL]
    call = Call(socket.request_id, socket.method, socket.path, contract=socket.contract, status=500)
    call.model, call.engine = entry.name, entry.engine
    try:
        async with aclosing(request.app[DISPATCHER].run(entry, asked, call)) as events:
            async for event in events:
                call.first_byte()
                yield event
        call.status = 200
    except BackendError as error:
        call.status = from_backend(error).status
        raise
    except ApiError as error:
        call.status = error.status
        raise
    except (asyncio.CancelledError, GeneratorExit):
        call.status = CLIENT_GONE
        raise
    finally:
        request.app[METRICS].record(call)
