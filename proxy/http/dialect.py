"""What the edge needs to know of a contract: its name, its open paths, and how it renders an error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from aiohttp import web

from proxy.errors import ApiError

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Dialect(Protocol):
    """A contract as the edge sees it."""

    @property
    def name(self) -> str:
        """For logs and metrics."""

    @property
    def public(self) -> frozenset[str]:
        """Paths that need no key."""

    @property
    def operators(self) -> tuple[str, ...]:
        """Beginnings of paths that need an operator's key."""

    @property
    def own_users(self) -> bool:
        """Whether it asks for its users' tokens by itself: no path of it needs a key."""

    @property
    def render_error(self) -> Callable[[ApiError], bytes]:
        """An error -> the JSON body of this dialect."""


DialectOf: TypeAlias = Callable[[str], Dialect]
