"""The public keys of a token issuer (JSON Web Key Set, RFC 7517), fetched when needed and kept for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp
import jwt
import orjson
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from proxy.errors import ApiError, ErrorCode

FRESH_SECONDS = 300.0
"""After this long the keys are fetched again, while the old ones serve on."""
STALE_SECONDS = 3600.0
"""For this long the old keys serve when new ones cannot be had."""
RETRY_SECONDS = 10.0
"""The least time between two fetches, whatever tokens ask for."""
FETCH_SECONDS = 5.0
MAX_BYTES = 256 * 1024
MIN_RSA_BITS = 2048

ALGORITHMS = {"RSA": "RS256", "EC": "ES256"}


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A key, and the one algorithm that it is used with."""

    algorithm: str
    key: bytes | RSAPublicKey | EllipticCurvePublicKey


class Jwks:
    """The keys that `fetch` brings, by id. fetch: the document's bytes; raises OSError, ValueError or aiohttp's errors."""

    def __init__(self, fetch: Callable[[], Awaitable[bytes]], clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str | None, VerificationKey] = {}
        self._fetched = float("-inf")
        self._tried = float("-inf")
        self._fetching: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("tokens")

    async def find(self, kid: str | None) -> VerificationKey | None:
        """The key of this id (None: the only one), or None. Raises UNAVAILABLE when no keys could be had for long."""
        key = self._known(kid)
        if key is None or self._clock() - self._fetched > FRESH_SECONDS:
            fetching = self._fetch_soon()
            if key is None and fetching is not None:
                # Whoever waits may leave: the fetch is for the others too.
                await asyncio.wait({fetching})
                key = self._known(kid)
        if key is None and self._clock() - self._fetched > STALE_SECONDS:
            message = "The keys that tokens are checked with cannot be had now; try again."
            raise ApiError(ErrorCode.UNAVAILABLE, message, retry_after=RETRY_SECONDS)
        return key

    async def close(self) -> None:
        """Stop a fetch that is under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    def _known(self, kid: str | None) -> VerificationKey | None:
        if self._clock() - self._fetched > STALE_SECONDS:
            return None
        if kid is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(kid)

    def _fetch_soon(self) -> asyncio.Task[None] | None:
        """The fetch under way, a new one, or None: the last one was just now."""
        if self._fetching is not None and not self._fetching.done():
            return self._fetching
        if self._clock() - self._tried < RETRY_SECONDS:
            return None
        self._tried = self._clock()
        self._fetching = asyncio.create_task(self._renew(), name="fetch token keys")
        return self._fetching

    async def _renew(self) -> None:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                keys = parse_jwks(await self._fetch())
        except (OSError, ValueError, aiohttp.ClientError) as error:
            self._log.warning("token keys not fetched", error=f"{type(error).__name__}: {error}", kept=len(self._keys))
            return
        self._keys = keys
        self._fetched = self._clock()
        self._log.info("token keys fetched", keys=len(keys))


def parse_jwks(document: bytes) -> dict[str | None, VerificationKey]:
    """The keys for RS256 and ES256 in a key set, by their ids; others are passed over. Raises ValueError if none is left."""
    try:
        listed = orjson.loads(document)["keys"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise ValueError('this is not a key set (`{"keys": [...]}`)') from None
    keys: dict[str | None, VerificationKey] = {}
    for data in listed if isinstance(listed, list) else []:
        key = _verification_key(data) if isinstance(data, dict) else None
        if key is not None:
            keys.setdefault(data.get("kid"), key)
    if not keys:
        raise ValueError("the key set has no public RSA key (2048 bits or more) and no public P-256 key for signatures")
    return keys


def _verification_key(data: dict[str, object]) -> VerificationKey | None:
    """The key in a JWK, or None: for other algorithms or uses, private, too weak, or malformed."""
    algorithm = ALGORITHMS.get(str(data.get("kty")))
    if algorithm is None or data.get("alg", algorithm) != algorithm or data.get("use", "sig") != "sig":
        return None
    if not isinstance(data.get("kid", ""), str):
        return None
    try:
        key = jwt.PyJWK(data, algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    strong = isinstance(key, RSAPublicKey) and key.key_size >= MIN_RSA_BITS
    if strong or (isinstance(key, EllipticCurvePublicKey) and key.curve.name == "secp256r1"):
        return VerificationKey(algorithm, key)
    return None


async def fetch_url(url: str) -> bytes:
    """The document at a URL. Raises aiohttp.ClientError, or ValueError for more than MAX_BYTES and for any status but 200."""
    async with aiohttp.ClientSession() as session, session.get(url, allow_redirects=False) as answer:
        if answer.status != 200:
            raise ValueError(f"it answered {answer.status}")
        body = b""
        async for chunk in answer.content.iter_any():
            body += chunk
            if len(body) > MAX_BYTES:
                raise ValueError(f"it is larger than {MAX_BYTES} bytes")
        return body
