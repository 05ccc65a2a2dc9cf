"""What aiohttp's server logs by itself, without what clients sent."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from aiohttp import web
from aiohttp.log import server_logger


class ServerLog(logging.LoggerAdapter[logging.Logger]):
    """aiohttp's log, in which bodies that are not framed as HTTP says have no words: errors quote the client's bytes."""

    def __init__(self) -> None:
        super().__init__(server_logger)

    def process(self, msg: object, kwargs: MutableMapping[str, Any]) -> tuple[object, MutableMapping[str, Any]]:
        """The line with its traceback, or for a malformed body the kind of mistake alone."""
        error = kwargs.get("exc_info")
        if isinstance(error, web.RequestPayloadError):
            return f"{msg}: {type(error).__name__}", {**kwargs, "exc_info": None}
        return msg, kwargs
