"""Who is asking: the user that stands behind a bearer token, for contracts that keep something for each of them."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from importlib import import_module
from typing import Protocol, cast

from proxy.caller import Priority
from proxy.errors import ApiError, ErrorCode
from proxy.http.auth import PRIORITY, Keys
from proxy.observability.call import Call
from proxy.settings import Settings

LOCAL_USER = ""
"""Everyone who comes in by an open door; no token can name this user."""


class Users(Protocol):
    """How bearer tokens become users."""

    async def user(self, token: str) -> str:
        """The user whom this token names. Raises UNAUTHORIZED, or UNAVAILABLE when it cannot be checked now."""

    async def close(self) -> None:
        """Stop what goes on in the background."""


def make_users(settings: Settings, keys: Keys) -> Users:
    """What the settings say: JSON Web Tokens, else API keys where there are any, else, on loopback alone, anyone."""
    if settings.jwt_secret is not None or settings.jwt_jwks is not None:
        # PyJWT with its cryptography takes 10 MB: only who is asked for tokens pays that.
        return cast("Users", import_module("proxy.http.tokens").make_tokens(settings))
    if keys:
        return KeyHolders(keys)
    return Anyone() if settings.loopback else Nobody()


def bearer(authorization: str | None) -> str:
    """The token in an `Authorization` header. Raises UNAUTHORIZED."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise unauthorized("No token provided. Send one as `Authorization: Bearer TOKEN`.", challenge="Bearer")
    return token.strip()


def note_user(call: Call, user: str) -> None:
    """Whoever came by a token is a caller with a share of their own, of normal priority at most. Raises FORBIDDEN."""
    if call.caller.key or user == LOCAL_USER:
        return
    if call.caller.priority < Priority.NORMAL:
        raise ApiError(ErrorCode.FORBIDDEN, "Users may ask for `normal` at most, and this for `high`.", param=PRIORITY)
    name = sha256(user.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    call.caller = replace(call.caller, key=f"user-{name}", highest=Priority.NORMAL)


def unauthorized(message: str, *, challenge: str = 'Bearer error="invalid_token"') -> ApiError:
    """The error for a token that is not accepted (RFC 6750, section 3)."""
    return ApiError(ErrorCode.UNAUTHORIZED, message, headers={"WWW-Authenticate": challenge})


class KeyHolders:
    """Where there are API keys and no tokens, each key is a user."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def user(self, token: str) -> str:
        """The holder of this key. Raises UNAUTHORIZED."""
        self._keys.check(f"Bearer {token}")
        # No token's user has a tab in it: whoever goes over to tokens later cannot become a key's holder.
        return f"key\t{sha256(token.encode('utf-8', 'surrogateescape')).hexdigest()}"

    async def close(self) -> None:
        """Nothing goes on."""


class Anyone:
    """The open door of one's own machine: any token will do, and all of them are one user."""

    async def user(self, token: str) -> str:
        """The local user."""
        return LOCAL_USER

    async def close(self) -> None:
        """Nothing goes on."""


class Nobody:
    """An open door that other machines reach: there is no telling its users apart."""

    async def user(self, token: str) -> str:
        """Raises UNAUTHORIZED."""
        raise unauthorized(
            "This server has no way to check tokens: set SWITCHBOARD_JWT_SECRET or SWITCHBOARD_JWT_JWKS."
        )

    async def close(self) -> None:
        """Nothing goes on."""
