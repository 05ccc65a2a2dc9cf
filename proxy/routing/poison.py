"""Requests that kill the engines they are sent to: known by what they ask, and not sent to a third."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import TypeAlias

from backends.inprocess.suspects import Suspects
from backends.types import Request
from proxy.errors import ApiError, ErrorCode

Asked: TypeAlias = bytes | tuple[str, Request]
"""What a request asks: its body, or what it was read as, and of which model: another one need not die of it."""

WITHIN = 10.0  # seconds between the end of a request and the finding that nobody is there any more
FORGOTTEN = (
    600.0  # seconds after the last death: engines are mended, and prompts that many send may have been there by chance
)
MOST = 256  # requests remembered for each replica


class Poison:
    """Times are of any one clock. active: whether an engine has died of late; as long as none has, a request costs no look."""

    def __init__(self) -> None:
        self.active = False
        self._suspects = Suspects()
        self._broken: dict[str, OrderedDict[str, float]] = {}
        self._last = 0.0

    def refuse(self, request: Asked, now: float) -> None:
        """Raises INVALID (422) for one that was there when two engines died."""
        if self.active and now - self._last > FORGOTTEN:
            self.active, self._suspects = False, Suspects()
        if self.active and self._suspects.convicted(_key(request)):
            minutes = max(1, round((self._last + FORGOTTEN - now) / 60))
            message = (
                "Two engines died while they served this very request, and it is not sent to another. "
                f"It is taken again in {minutes} minutes."
            )
            raise ApiError(ErrorCode.INVALID, message, status=422)

    def broke(self, replica: str, request: Asked, now: float) -> None:
        """A request broke off, or was answered with a failure: what an engine that dies does with all that it has."""
        broken = self._broken.setdefault(replica, OrderedDict())
        broken[_key(request)] = now
        broken.move_to_end(_key(request))
        while len(broken) > MOST:
            broken.popitem(last=False)

    def awaits(self, replica: str, now: float) -> bool:
        """Whether a request broke off there so lately that the engine may be found dead of it."""
        broken = self._broken.get(replica)
        if not broken:
            return False
        if now - next(reversed(broken.values())) > WITHIN:
            del self._broken[replica]
            return False
        return True

    def died(self, replica: str, now: float) -> None:
        """Nothing accepts connections there."""
        there = [key for key, at in self._broken.pop(replica, {}).items() if now - at <= WITHIN]
        if there:
            self._suspects.died(there)
            self.active, self._last = True, now

    def cleared(self, request: Asked) -> None:
        """It ended, and its engine lives."""
        self._suspects.cleared(_key(request))


def _key(request: Asked) -> str:
    said = request if isinstance(request, bytes) else repr(request).encode("utf-8", "surrogatepass")
    return blake2b(said, digest_size=16).hexdigest()
