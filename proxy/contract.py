"""What a contract is: one HTTP dialect, its routes, and how it says that something went wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from aiohttp import web

from proxy.errors import ApiError
from proxy.operation import Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """A dialect. prefixes: paths whose 404 and 405 it answers; paths: the same, without those below them; public: paths
    that need no key; operators: beginnings of paths that need an operator's.

    own_users: it asks for tokens of its users by itself (proxy.http.users), so that no path of it needs a key.
    render_error: an error -> the JSON body (bytes) of this dialect; operations: what each route does, for the OpenAPI document.
    """

    name: str
    routes: Callable[[], Iterable[web.RouteDef]]
    render_error: Callable[[ApiError], bytes]
    prefixes: tuple[str, ...]
    paths: frozenset[str] = frozenset()
    public: frozenset[str] = frozenset()
    operators: tuple[str, ...] = ()
    own_users: bool = False
    operations: Callable[[], Iterable[Operation]] = tuple


def contract_of(path: str, contracts: Sequence[Contract]) -> Contract:
    """The contract that has just this path, or else the longest prefix of it; one of them owns the prefix `/`."""
    named = next((contract for contract in contracts if path in contract.paths), None)
    return named or max(
        contracts,
        key=lambda contract: max((len(p) for p in contract.prefixes if _covers(p, path)), default=-1),
    )


def _covers(prefix: str, path: str) -> bool:
    return prefix in ("/", path) or path.startswith(f"{prefix}/")
