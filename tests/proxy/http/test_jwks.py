"""An issuer's public keys: which are taken, when they are fetched, and what happens while they cannot be."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from proxy.errors import ApiError, ErrorCode
from proxy.http import jwks
from proxy.http.jwks import FRESH_SECONDS, MAX_BYTES, RETRY_SECONDS, STALE_SECONDS, Jwks, fetch_url, parse_jwks
from tests.support import serve_running

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
RSA_JWK = json.loads(RSAAlgorithm.to_jwk(RSA_KEY.public_key()))
WEAK_JWK = json.loads(RSAAlgorithm.to_jwk(rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()))
EC_JWK = json.loads(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key()))
OTHER_CURVE = json.loads(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()).public_key()))


def document(*keys: object) -> bytes:
    return json.dumps({"keys": keys}).encode()


def named(*kids: str) -> bytes:
    return document(*({**RSA_JWK, "kid": kid} for kid in kids))


def test_keys_for_signatures_are_taken_by_their_ids() -> None:
    keys = parse_jwks(
        document({**RSA_JWK, "kid": "r", "use": "sig", "alg": "RS256"}, {**EC_JWK, "kid": "e"}, {**EC_JWK, "kid": "r"})
    )
    assert {kid: key.algorithm for kid, key in keys.items()} == {"r": "RS256", "e": "ES256"}


PASSED_OVER = {
    "a secret": {"kty": "oct", "k": "c2VjcmV0"},
    "for encryption": {**RSA_JWK, "use": "enc"},
    "of another algorithm": {**RSA_JWK, "alg": "RS512"},
    "an RSA key said to be a secret": {**RSA_JWK, "alg": "HS256"},
    "private": json.loads(RSAAlgorithm.to_jwk(RSA_KEY)),
    "too weak": WEAK_JWK,
    "on another curve": OTHER_CURVE,
    "off its curve": {**EC_JWK, "y": EC_JWK["x"]},
    "incomplete": {"kty": "RSA"},
    "of wrong types": {"kty": "RSA", "n": 1, "e": []},
    "named by a number": {**RSA_JWK, "kid": 1},
    "of an unknown kind": {"kty": ["RSA"]},
    "no key": "RSA",
}


@pytest.mark.parametrize("key", PASSED_OVER.values(), ids=PASSED_OVER.keys())
def test_other_keys_are_passed_over(key: object) -> None:
    assert list(parse_jwks(document(key, {**EC_JWK, "kid": "e"}))) == ["e"]
    with pytest.raises(ValueError, match="no public"):
        parse_jwks(document(key))


@pytest.mark.parametrize("data", [b"", b"<html>", b"[]", b"null", b"{}", b'{"keys": {}}', b'{"keys": []}', b"\xff"])
def test_what_is_no_key_set_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="key set"):
        parse_jwks(data)


@dataclass
class Issuer:
    """Whoever publishes the keys, and a clock. answer: the document, or the failure."""

    answer: bytes | Exception
    now: float = 1000.0
    fetched: int = 0
    hold: asyncio.Event | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    found: Jwks = field(init=False)

    def __post_init__(self) -> None:
        self.found = Jwks(self.fetch, clock=lambda: self.now)

    async def fetch(self) -> bytes:
        self.fetched += 1
        self.asked.set()
        if self.hold is not None:
            await self.hold.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def knows(self, kid: str | None) -> bool:
        return await self.found.find(kid) is not None


async def test_keys_are_fetched_once_for_all_who_ask() -> None:
    issuer = Issuer(named("a"), hold=asyncio.Event())
    asking = [asyncio.create_task(issuer.knows("a")) for _ in range(20)]
    await issuer.asked.wait()
    asking[0].cancel()
    assert issuer.hold is not None
    issuer.hold.set()
    assert all(await asyncio.gather(*asking[1:]))
    assert await issuer.knows("a")
    assert issuer.fetched == 1


async def test_a_key_needs_no_name_where_there_is_one() -> None:
    issuer = Issuer(document(EC_JWK))
    assert await issuer.knows(None)
    issuer = Issuer(named("a", "b"))
    assert not await issuer.knows(None)


async def test_a_new_key_is_found_at_once_but_strangers_do_not_cause_a_flood() -> None:
    issuer = Issuer(named("old"))
    assert await issuer.knows("old")
    issuer.answer = named("old", "new")
    issuer.now += RETRY_SECONDS
    assert await issuer.knows("new")
    assert not any([await issuer.knows(f"made up {number}") for number in range(50)])
    assert issuer.fetched == 2
    issuer.now += RETRY_SECONDS
    assert not await issuer.knows("made up")
    assert issuer.fetched == 3


async def test_a_withdrawn_key_is_forgotten_while_nobody_waits() -> None:
    issuer = Issuer(named("old"))
    assert await issuer.knows("old")
    issuer.answer, issuer.hold = named("new"), asyncio.Event()
    issuer.asked.clear()
    issuer.now += FRESH_SECONDS + 1
    assert await issuer.knows("old"), "the fetch goes on behind"
    await issuer.asked.wait()
    issuer.hold.set()
    assert issuer.found._fetching is not None
    await issuer.found._fetching
    assert not await issuer.knows("old")
    assert await issuer.knows("new")


@pytest.mark.parametrize("failure", [OSError("no route"), aiohttp.ClientError("reset"), b"<html>", ValueError("502")])
async def test_old_keys_serve_while_new_ones_cannot_be_had_but_not_for_ever(failure: bytes | Exception) -> None:
    issuer = Issuer(named("a"))
    assert await issuer.knows("a")
    issuer.answer = failure
    issuer.now += STALE_SECONDS
    assert await issuer.knows("a")
    issuer.now += RETRY_SECONDS
    with pytest.raises(ApiError) as caught:
        await issuer.knows("a")
    assert caught.value.code is ErrorCode.UNAVAILABLE, "the user did nothing wrong"
    assert caught.value.retry_after == RETRY_SECONDS
    issuer.answer = named("a")
    issuer.now += RETRY_SECONDS
    assert await issuer.knows("a")


async def test_a_fetch_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "FETCH_SECONDS", 0.05)
    issuer = Issuer(named("a"), hold=asyncio.Event())
    with pytest.raises(ApiError) as caught:
        await issuer.knows("a")
    assert caught.value.code is ErrorCode.UNAVAILABLE


async def test_closing_stops_a_fetch() -> None:
    issuer = Issuer(named("a"), hold=asyncio.Event())
    asking = asyncio.create_task(issuer.knows("a"))
    await issuer.asked.wait()
    await issuer.found.close()
    with pytest.raises(ApiError):
        await asking


async def _serve(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.Application:
    app = web.Application()
    app.router.add_get("/jwks", answer)
    return app


async def test_a_url_is_read() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=named("a"))

    async with serve_running(await _serve(answer)) as url:
        assert await fetch_url(f"{url}/jwks") == named("a")


async def _redirect(_: web.Request) -> web.Response:
    raise web.HTTPFound("http://127.0.0.1:9/elsewhere")


async def _large(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(100):
        await response.write(bytes(MAX_BYTES // 10))
    return response


async def _broken(_: web.Request) -> web.Response:
    return web.Response(status=503, body=named("a"))


@pytest.mark.parametrize(
    ("answer", "why"), [(_redirect, "answered 302"), (_large, "larger than"), (_broken, "answered 503")]
)
async def test_a_url_that_answers_anything_else_is_not_believed(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]], why: str
) -> None:
    async with serve_running(await _serve(answer)) as url:
        with pytest.raises(ValueError, match=why):
            await fetch_url(f"{url}/jwks")


def _self_signed(directory: Path) -> ssl.SSLContext:
    """A server's side of TLS, with a certificate for 127.0.0.1 that nobody has vouched for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, SHA256())
    )
    pem = directory / "server.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    return context


async def test_a_url_whose_server_nobody_vouches_for_is_not_believed(tmp_path: Path) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    context = await asyncio.to_thread(_self_signed, tmp_path)
    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await fetch_url(f"https://127.0.0.1:{port}/jwks")
