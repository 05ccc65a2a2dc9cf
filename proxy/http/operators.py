"""Who may run the door: operators, by keys of their own, and no page of a web site on their behalf."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from proxy.address import is_loopback
from proxy.errors import ApiError, ErrorCode
from proxy.http.auth import Keys
from proxy.http.origins import is_own

# What pages can send to other sites without these being asked.
FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})


class Operators:
    """The accepted operators' keys. Without any, whoever is on this machine is one if `alone`, and else nobody is.

    alone: only this machine reaches the door, and no keys are asked for there.
    """

    def __init__(self, keys: Iterable[str], *, alone: bool) -> None:
        keys = tuple(keys)
        self._keys = Keys(keys) if keys else None
        self._alone = alone

    def check(self, request: web.Request, authorization: str | None) -> None:
        """Let an operator pass. Raises UNAUTHORIZED, FORBIDDEN or MEDIA_TYPE."""
        if self._keys is not None:
            if self._keys.find(authorization) is None:
                raise _unknown(authorization)
        elif not self._alone:
            raise ApiError(ErrorCode.FORBIDDEN, "Operators need keys of their own here: set SWITCHBOARD_ADMIN_KEYS.")
        elif not is_loopback(_hostname(request.host)):
            # A name that someone else owns may point to this machine: pages of theirs are of the same origin then.
            message = f"Ask for this as localhost, not as {request.host[:200]}; or set SWITCHBOARD_ADMIN_KEYS."
            raise ApiError(ErrorCode.FORBIDDEN, message)
        _refuse_pages(request)


def _unknown(authorization: str | None) -> ApiError:
    problem = "This is no operator's key" if authorization else "No key was sent"
    message = f"{problem}. Send one of SWITCHBOARD_ADMIN_KEYS as `Authorization: Bearer KEY`."
    return ApiError(ErrorCode.UNAUTHORIZED, message, headers={"WWW-Authenticate": "Bearer"})


def _refuse_pages(request: web.Request) -> None:
    """Browsers tell whose page it was; the content of a form is nothing that an operator sends."""
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is not None and not is_own(origin, request.host):
        raise ApiError(ErrorCode.FORBIDDEN, f"Pages of `{origin[:200]}` may not do this.")
    if request.content_type in FORMS:
        message = f"Content-Type `{request.content_type}` is not accepted here; send no body."
        raise ApiError(ErrorCode.MEDIA_TYPE, message)


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
