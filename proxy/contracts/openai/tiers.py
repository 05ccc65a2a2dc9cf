"""`service_tier`: OpenAI's word for how urgent a request is."""

from __future__ import annotations

from aiohttp import web

from backends.types import JsonObject
from proxy.caller import Priority
from proxy.errors import invalid
from proxy.http.auth import PRIORITY
from proxy.http.observe import CALL

TIERS: dict[object, Priority | None] = {
    None: None,
    "auto": None,
    "scale": None,
    "default": Priority.NORMAL,
    "flex": Priority.LOW,
    "priority": Priority.HIGH,
    "fast": Priority.HIGH,
}
"""None: as the key has it."""


def take_tier(request: web.Request, data: JsonObject) -> None:
    """Give the request the priority of its tier, or the highest its key may have; the door's own header goes before.

    OpenAI serves a tier below the one asked for in the same way where the account does not have it. Raises INVALID.
    """
    tier = data.get("service_tier")
    if isinstance(tier, (dict, list)) or tier not in TIERS:
        words = ", ".join(str(word) for word in TIERS if word is not None)
        raise invalid("service_tier", f"{str(tier)[:40]!r} is none of {words}")
    priority = TIERS[tier]
    if priority is not None and PRIORITY not in request.headers:
        call = request[CALL]
        call.caller = call.caller.asking(priority)
