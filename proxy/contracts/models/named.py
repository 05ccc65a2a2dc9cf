"""The model that a path of the models API names, and errors that name it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from backends.errors import BackendError, NoDevice
from proxy.errors import ApiError, ErrorCode, from_backend
from proxy.http.body import read_json
from proxy.keys import CATALOG, DISPATCHER, LIFECYCLE
from proxy.lifecycle.states import State
from proxy.registry.catalog import SpeechFacts
from proxy.registry.models import ModelEntry

MAX_SHOWN = 200
GONE = (State.NOT_LOADED, State.ERROR)
"""Nobody but whoever asked for it said that such a model exists, if it is in no list."""


async def named_model(request: web.Request) -> ModelEntry:
    """The model of the path: one that is configured, or one of the catalog that could be,
    or any that is in memory. Raises MODEL_NOT_FOUND."""
    name = request.match_info["model_id"]
    router = request.app[DISPATCHER].router
    if not router.lists(name):
        facts = (await request.app[CATALOG].open()).find(name)
        if facts is not None and not facts.shipped:
            return router.any(name, "transcription" if isinstance(facts, SpeechFacts) else "translation")
        places = request.app[LIFECYCLE].places()
        here = next((place for place in places if place.entry.name == name and place.state not in GONE), None)
        if here is not None and here.entry.task in ("transcription", "translation"):
            return router.any(name, here.entry.task)
    with telling(name):
        return router.find(name)


async def refuse_options(request: web.Request) -> None:
    """For what takes no options: a body may be left out, or be empty. Raises INVALID naming what it says."""
    data = (await read_json(request))[1] if request.can_read_body else {}
    for name in data:
        raise ApiError(ErrorCode.INVALID, f"`{name[:100]}` is not known here; leave it out.", param=name[:100])


@contextmanager
def telling(name: str, *, device_asked_for: bool = False) -> Iterator[None]:
    """Errors of the block say which model they are about. device_asked_for: one that is not there is the request's fault."""
    try:
        yield
    except BackendError as error:
        told = from_backend(error)
        if isinstance(error, NoDevice) and device_asked_for:
            told = ApiError(ErrorCode.UNSUPPORTED_DEVICE, error.message, param="compute_config", status=400)
        raise _about(name, told) from error
    except ApiError as error:
        raise _about(name, error) from error


def _about(name: str, error: ApiError) -> ApiError:
    return ApiError(
        error.code,
        error.message,
        param=error.param if error.param != "model" else None,
        retry_after=error.retry_after,
        status=error.status,
        headers=error.headers,
        details={"model_id": name[:MAX_SHOWN], **error.details},
    )
