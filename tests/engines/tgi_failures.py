"""What the double of TGI does wrong when it is told to."""

from __future__ import annotations

import asyncio
from typing import Final, Literal, TypeAlias

from aiohttp import web

from tests.engines.tgi_validation import Refused

Failure: TypeAlias = Literal[
    "overloaded",
    "generation",
    "incomplete",
    "unhealthy",
    "bad_gateway",
    "cut",
    "hang",
    "no_done",
    "unfinished",
    "garbage",
]

REFUSALS: Final = {
    "overloaded": Refused(429, "Model is overloaded", "overloaded"),
    "generation": Refused(424, "Request failed during generation: CUDA out of memory", "generation"),
    "incomplete": Refused(500, "Incomplete generation stream", "incomplete_generation_stream"),
}


async def fail_whole(failure: Failure | None, *, crowded: bool) -> None:
    """Fail an answer that is no stream. crowded: more is being served than TGI takes."""
    if failure in REFUSALS:
        raise REFUSALS[failure]
    fail_head(failure)
    if failure == "hang":
        await asyncio.Event().wait()
    if crowded:
        raise REFUSALS["overloaded"]


def fail_head(failure: Failure | None) -> None:
    """Fail before there is a head."""
    if failure == "bad_gateway":
        raise web.HTTPBadGateway(text="<html>502</html>", content_type="text/html")


async def fail_stream(failure: Failure, request: web.Request, response: web.StreamResponse) -> bool:
    """Fail in the middle of a stream; returns whether the answer is over."""
    match failure:
        case "overloaded" | "generation" | "incomplete":
            raise REFUSALS[failure]
        case "cut":
            if request.transport is not None:
                request.transport.close()
            return True
        case "hang":
            await asyncio.Event().wait()
        case "unfinished":
            await response.write_eof()
            return True
        case "garbage":
            await response.write(b"data: <html>\n\n")
        case _:
            pass
    return False
