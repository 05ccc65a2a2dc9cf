"""Tokens that name a user, and all the ways of passing for one."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import example, given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from proxy.errors import ApiError, ErrorCode
from proxy.http.auth import Keys
from proxy.http.tokens import Tokens, make_tokens
from proxy.http.users import LOCAL_USER, bearer, make_users
from proxy.settings import Settings

SECRET = "correct horse battery staple, more or less"
AUDIENCE, ISSUER = "switchboard", "https://login.example"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
RSA_PEM = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
Claims = Mapping[str, object]


def claims(**changed: object) -> dict[str, object]:
    """What a good token says; None leaves a claim out."""
    now = int(time.time())
    said = {"sub": "ann", "exp": now + 60, "aud": AUDIENCE, "iss": ISSUER, **changed}
    return {name: value for name, value in said.items() if value is not None}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def handmade(header: object, payload: object, key: bytes = SECRET.encode()) -> str:
    """A token of any shape, with the signature that HS256 would give it."""
    signed = ".".join(b64(part if isinstance(part, bytes) else json.dumps(part).encode()) for part in (header, payload))
    return f"{signed}.{b64(hmac.digest(key, signed.encode(), sha256))}"


def unsigned(header: Claims, signature: bytes) -> str:
    return ".".join((b64(json.dumps(header).encode()), b64(json.dumps(claims()).encode()), b64(signature)))


def resaid(token: str, said: Claims) -> str:
    """The same header and signature around other claims."""
    header, _, signature = token.split(".")
    return f"{header}.{b64(json.dumps(said).encode())}.{signature}"


def by_secret() -> Tokens:
    return make_tokens(Settings.model_validate({"jwt_secret": SECRET, "jwt_audience": AUDIENCE, "jwt_issuer": ISSUER}))


def by_keys(directory: Path) -> Tokens:
    """A checker with the RSA key `r` and the EC key `e`, in a file."""
    keys = [
        {**json.loads(RSAAlgorithm.to_jwk(RSA_KEY.public_key())), "kid": "r"},
        {**json.loads(ECAlgorithm.to_jwk(EC_KEY.public_key())), "kid": "e"},
    ]
    path = directory / "jwks.json"
    path.write_text(json.dumps({"keys": keys}))
    return make_tokens(Settings.model_validate({"jwt_jwks": str(path), "jwt_audience": AUDIENCE, "jwt_issuer": ISSUER}))


async def refusal(tokens: Tokens, token: str) -> str:
    with pytest.raises(ApiError) as caught:
        await tokens.user(token)
    assert caught.value.code is ErrorCode.UNAUTHORIZED
    assert caught.value.headers == {"WWW-Authenticate": 'Bearer error="invalid_token"'}
    return caught.value.message


def hs256(**changed: object) -> str:
    return jwt.encode(claims(**changed), SECRET)


GOOD: dict[str, Callable[[], str]] = {
    "plain": hs256,
    "expired within the leeway": lambda: hs256(exp=int(time.time()) - 20),
    "begins within the leeway": lambda: hs256(nbf=int(time.time()) + 20, iat=int(time.time()) + 20),
    "several audiences": lambda: hs256(aud=["other", AUDIENCE]),
    "names a key": lambda: jwt.encode(claims(), SECRET, headers={"kid": "any"}),
}


@pytest.mark.parametrize("token", GOOD.values(), ids=GOOD.keys())
async def test_a_good_token_names_its_user(token: Callable[[], str]) -> None:
    assert await by_secret().user(token()) == "ann"


REFUSED: dict[str, tuple[Callable[[], str], str]] = {
    "expired": (lambda: hs256(exp=int(time.time()) - 31), "expired"),
    "never expires": (lambda: hs256(exp=None), "no `exp`"),
    "expires at infinity": (lambda: handmade({"alg": "HS256"}, claims(exp=float("inf"))), "malformed"),
    "expires some day": (lambda: hs256(exp="some day"), "malformed"),
    "expires never": (lambda: handmade({"alg": "HS256"}, {**claims(), "exp": None}), "exp"),
    "begins later": (lambda: hs256(nbf=int(time.time()) + 60), "not valid yet"),
    "made later": (lambda: hs256(iat=int(time.time()) + 60), "not valid yet"),
    "other audience": (lambda: hs256(aud="other"), "audience"),
    "no audience": (lambda: hs256(aud=None), "no `aud`"),
    "audience of another type": (lambda: handmade({"alg": "HS256"}, claims(aud={"switchboard": 1})), "refused"),
    "other issuer": (lambda: hs256(iss="https://login.example/"), "issuer"),
    "no issuer": (lambda: hs256(iss=None), "no `iss`"),
    "nobody": (lambda: hs256(sub=None), "no `sub`"),
    "empty user": (lambda: hs256(sub=""), "`sub`"),
    "user of another type": (lambda: handmade({"alg": "HS256"}, claims(sub=7)), "`sub`"),
    "user of controls": (lambda: hs256(sub="ann\x00"), "`sub`"),
    "long user": (lambda: hs256(sub="a" * 256), "`sub`"),
    "other secret": (lambda: jwt.encode(claims(), SECRET + "!"), "signature"),
    "no algorithm": (lambda: jwt.encode(claims(), "", algorithm="none"), "algorithm"),
    "no algorithm, cased": (lambda: handmade({"alg": "nOnE"}, claims(), b""), "algorithm"),
    "no algorithm, no signature": (lambda: unsigned({"alg": "none"}, b""), "algorithm"),
    "other hash": (lambda: jwt.encode(claims(), SECRET * 2, algorithm="HS512"), "algorithm"),
    "asymmetric where a secret is set": (lambda: jwt.encode(claims(), RSA_KEY, algorithm="RS256"), "algorithm"),
    "algorithm of another type": (lambda: handmade({"alg": ["HS256"]}, claims()), "refused"),
    "critical extension": (lambda: handmade({"alg": "HS256", "crit": ["x"], "x": 1}, claims()), "refused"),
    "payload unsigned": (lambda: resaid(hs256(), claims(sub="eve")), "signature"),
    "payload no object": (lambda: handmade({"alg": "HS256"}, ["ann"]), "malformed"),
    "payload no JSON": (lambda: handmade({"alg": "HS256"}, b"ann"), "malformed"),
    "header no object": (lambda: handmade(["HS256"], claims()), "not a JSON Web Token"),
    "header too deep": (lambda: handmade(b"[" * 50_000, claims()), "not a JSON Web Token"),
    "payload too deep": (lambda: handmade({"alg": "HS256"}, b"[" * 50_000), "malformed"),
    "key id of another type": (lambda: handmade({"alg": "HS256", "kid": {"a": 1}}, claims()), "not a JSON Web Token"),
    "garbage": (lambda: "garbage", "not a JSON Web Token"),
    "two parts": (lambda: "e30.e30", "not a JSON Web Token"),
    "four parts": (lambda: hs256() + ".e30", "refused"),
    "empty parts": (lambda: "..", "not a JSON Web Token"),
    "no base64": (lambda: "é.é.é", "not a JSON Web Token"),
    "encrypted": (lambda: "e30.e30.e30.e30.e30", "not a JSON Web Token"),
    "huge": (lambda: jwt.encode(claims(more="x" * 1_000_000), SECRET + "!"), "signature"),
}  # fmt: skip


@pytest.mark.parametrize(("token", "why"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_bad_token_is_refused_and_told_why(token: Callable[[], str], why: str) -> None:
    message = await refusal(by_secret(), token())
    assert why in message or (why == "refused" and "not a JSON Web Token" in message), message


@pytest.mark.parametrize(("kid", "key", "algorithm"), [("r", RSA_KEY, "RS256"), ("e", EC_KEY, "ES256")])
async def test_an_issuers_keys_are_used_each_by_its_own_algorithm(
    tmp_path: Path, kid: str, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, algorithm: str
) -> None:
    token = jwt.encode(claims(), key, algorithm=algorithm, headers={"kid": kid})
    assert await by_keys(tmp_path).user(token) == "ann"


STRANGER_JWK = json.loads(RSAAlgorithm.to_jwk(STRANGER.public_key()))
FORGED: dict[str, Callable[[], str]] = {
    "the public key taken for a secret": lambda: handmade({"alg": "HS256", "kid": "r"}, claims(), RSA_PEM),
    "the public key's JSON taken for a secret": lambda: handmade(
        {"alg": "HS256", "kid": "r"}, claims(), json.dumps(json.loads(RSAAlgorithm.to_jwk(RSA_KEY.public_key()))).encode()
    ),
    "no algorithm": lambda: jwt.encode(claims(), "", algorithm="none", headers={"kid": "r"}),
    "a stranger's key under a known id": lambda: jwt.encode(claims(), STRANGER, algorithm="RS256", headers={"kid": "r"}),
    "the other key's id": lambda: jwt.encode(claims(), EC_KEY, algorithm="ES256", headers={"kid": "r"}),
    "another algorithm of the same key": lambda: jwt.encode(claims(), RSA_KEY, algorithm="PS256", headers={"kid": "r"}),
    "an unknown id": lambda: jwt.encode(claims(), RSA_KEY, algorithm="RS256", headers={"kid": "x"}),
    "no id where there are two keys": lambda: jwt.encode(claims(), RSA_KEY, algorithm="RS256"),
    "an id that is a path": lambda: jwt.encode(claims(), STRANGER, algorithm="RS256", headers={"kid": "../../dev/null"}),
    "an id that is a statement": lambda: jwt.encode(claims(), STRANGER, algorithm="RS256", headers={"kid": "' OR 1=1"}),
    "a key of its own (jwk)": lambda: jwt.encode(
        claims(), STRANGER, algorithm="RS256", headers={"kid": "r", "jwk": STRANGER_JWK}
    ),
    "a key elsewhere (jku, x5u)": lambda: jwt.encode(
        claims(),
        STRANGER,
        algorithm="RS256",
        headers={"kid": "x", "jku": "http://127.0.0.1:9/jwks", "x5u": "http://127.0.0.1:9/x5u"},
    ),
    "an all-zero signature": lambda: unsigned({"alg": "ES256", "kid": "e"}, bytes(64)),
}  # fmt: skip


@pytest.mark.parametrize("token", FORGED.values(), ids=FORGED.keys())
async def test_nobody_passes_for_the_issuer(tmp_path: Path, token: Callable[[], str]) -> None:
    await refusal(by_keys(tmp_path), token())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(
    header=st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "zip"]), JSON),
    payload=st.dictionaries(st.sampled_from(["sub", "exp", "nbf", "iat", "aud", "iss", "jti"]), JSON),
)
@example(header={}, payload={"exp": float("-inf"), "iat": float("nan")})
async def test_whatever_is_signed_is_a_user_or_refused(header: dict[str, object], payload: dict[str, object]) -> None:
    try:
        user = await by_secret().user(handmade({"alg": "HS256", **header}, {**claims(), **payload}))
    except ApiError as error:
        assert error.code is ErrorCode.UNAUTHORIZED
    else:
        assert user.isprintable()


@given(st.text())
async def test_whatever_is_sent_is_refused(text: str) -> None:
    await refusal(by_secret(), text)


async def test_without_audience_and_issuer_none_is_asked_for() -> None:
    tokens = make_tokens(Settings.model_validate({"jwt_secret": SECRET}))
    assert await tokens.user(hs256()) == "ann"
    assert await tokens.user(hs256(aud=None, iss=None)) == "ann"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer  ", "Basic YW5uOg==", "token"])
def test_no_bearer_no_token(header: str | None) -> None:
    with pytest.raises(ApiError) as caught:
        bearer(header)
    assert caught.value.headers == {"WWW-Authenticate": "Bearer"}


def test_the_scheme_is_read_in_any_case() -> None:
    assert bearer("bearer  abc ") == "abc"


async def test_without_tokens_the_door_decides() -> None:
    anyone = make_users(Settings(), Keys(()))
    assert await anyone.user("your-token-here") == LOCAL_USER
    holders = make_users(Settings(), Keys(("one", "two")))
    named = {await holders.user("one"), await holders.user("two"), LOCAL_USER}
    assert len(named) == 3
    for user in named:
        assert "`sub`" in await refusal(by_secret(), hs256(sub=user)), "no token makes anyone one of them"
    nobody = make_users(Settings.model_validate({"listen": "0.0.0.0:8080", "open_without_keys": True}), Keys(()))
    for users, token in ((holders, "three"), (nobody, "one")):
        with pytest.raises(ApiError) as caught:
            await users.user(token)
        assert caught.value.code is ErrorCode.UNAUTHORIZED
