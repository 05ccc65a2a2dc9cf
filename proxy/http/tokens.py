"""JSON Web Tokens (RFC 7519), checked with a shared secret or with the public keys of whoever issues them.

Imported only where the settings ask for tokens. A key decides by which algorithm it is used; what a token's header says of
keys and algorithms is never followed (RFC 8725, sections 3.1 and 3.2).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol

import jwt

from proxy.http.jwks import Jwks, VerificationKey, fetch_url
from proxy.http.users import unauthorized
from proxy.settings import Settings

LEEWAY_SECONDS = 30
"""How far the clocks of issuer and proxy may be apart."""
MAX_USER = 255

# Beside PyJWT's own: what the JSON inside a token can do to those who read it.
_UNREADABLE = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)
_WHY: tuple[tuple[type[Exception], str], ...] = (
    (jwt.ExpiredSignatureError, "it has expired"),
    (jwt.ImmatureSignatureError, "it is not valid yet"),
    (jwt.InvalidAudienceError, "it is not for this server's audience"),
    (jwt.InvalidIssuerError, "it is not of this server's issuer"),
    (jwt.exceptions.InvalidSubjectError, "its `sub` is not a string"),
    (jwt.InvalidAlgorithmError, "its algorithm is not accepted here"),
    (jwt.InvalidSignatureError, "its signature is wrong"),
)


class KeySource(Protocol):
    """Where the keys come from that tokens are checked with."""

    async def find(self, kid: str | None) -> VerificationKey | None:
        """The key of this id (None: the only one), or None. Raises UNAVAILABLE when keys cannot be had now."""

    async def close(self) -> None:
        """Stop what goes on in the background."""


class Secret:
    """One secret that issuer and proxy share."""

    def __init__(self, secret: str) -> None:
        self._key = VerificationKey("HS256", secret.encode())

    async def find(self, kid: str | None) -> VerificationKey:
        """The secret, whatever the token calls it."""
        return self._key

    async def close(self) -> None:
        """Nothing goes on."""


class Tokens:
    """Tells the user of a token: its `sub`. audience, issuer: None = not asked for."""

    def __init__(self, keys: KeySource, *, audience: str | None = None, issuer: str | None = None) -> None:
        self._keys = keys
        self._audience = audience
        self._issuer = issuer

    async def user(self, token: str) -> str:
        """The user whom this token names. Raises UNAUTHORIZED, or UNAVAILABLE when its key cannot be had now."""
        try:
            kid = jwt.get_unverified_header(token).get("kid")
        except _UNREADABLE:
            raise unauthorized("The token is not a JSON Web Token; get a new one.") from None
        key = await self._keys.find(kid)
        if key is None:
            raise unauthorized("The token was refused: no key of this server fits it. Get a new one.")
        try:
            user = self._claims(token, key)["sub"]
        except _UNREADABLE as error:
            raise unauthorized(f"The token was refused: {_why(error)}. Get a new one.") from None
        if not (isinstance(user, str) and 0 < len(user) <= MAX_USER and user.isprintable()):
            raise unauthorized(f"The token was refused: its `sub` must be 1 to {MAX_USER} printable characters.")
        return user

    async def close(self) -> None:
        """Stop what goes on in the background."""
        await self._keys.close()

    def _claims(self, token: str, key: VerificationKey) -> dict[str, object]:
        required = ["exp", "sub"]
        required += ["aud"] if self._audience is not None else []
        required += ["iss"] if self._issuer is not None else []
        claims: dict[str, object] = jwt.decode(
            token,
            key.key,
            algorithms=[key.algorithm],
            audience=self._audience,
            issuer=self._issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": required, "verify_aud": self._audience is not None},
        )
        return claims


def make_tokens(settings: Settings) -> Tokens:
    """The checker that the settings describe: `jwt_secret`, or else `jwt_jwks`, is set."""
    keys: KeySource
    if settings.jwt_secret is not None:
        keys = Secret(settings.jwt_secret.get_secret_value())
    else:
        source = settings.jwt_jwks or ""
        keys = Jwks(lambda: fetch_url(source) if "://" in source else asyncio.to_thread(Path(source).read_bytes))
    return Tokens(keys, audience=settings.jwt_audience, issuer=settings.jwt_issuer)


def _why(error: Exception) -> str:
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"it has no `{error.claim}`"
    return next((why for kind, why in _WHY if isinstance(error, kind)), "it is malformed")
