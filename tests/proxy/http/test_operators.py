"""Who is an operator, and whose page is none."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from proxy.errors import ApiError
from proxy.http.operators import Operators
from proxy.http.origins import is_own

ALONE = Operators((), alone=True)
KEYED = Operators(("boss",), alone=False)


def refused(operators: Operators, authorization: str | None = None, **headers: str) -> int | None:
    """The status of the refusal; None = none."""
    named = {name.replace("_", "-"): value for name, value in {"Host": "localhost:8080", **headers}.items()}
    try:
        operators.check(make_mocked_request("POST", "/admin/reload", named), authorization)
    except ApiError as error:
        return error.status
    return None


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:1", "127.9.9.9", "[::1]:8080"])
def test_who_is_on_this_machine_alone_may(host: str) -> None:
    assert refused(ALONE, Host=host) is None
    assert refused(ALONE, Host=host, Origin=f"http://{host}") is None


@pytest.mark.parametrize(
    "host", ["door.example", "10.0.0.1:8080", "localhost.evil.example", "[::1", "", "127.0.0.1.nip.io"]
)
def test_names_that_may_point_anywhere_may_not(host: str) -> None:
    assert refused(ALONE, Host=host) == 403


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:81", "https://localhost:8080x", "["]
)
def test_pages_of_others_may_not_with_a_key_either(origin: str) -> None:
    assert refused(ALONE, Origin=origin) == 403
    assert refused(KEYED, "Bearer boss", Origin=origin) == 403


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"])
def test_forms_are_not_taken(kind: str) -> None:
    assert refused(ALONE, Content_Type=kind) == 415
    assert refused(ALONE, Content_Type="application/json") is None


@pytest.mark.parametrize(
    ("authorization", "status"),
    [("Bearer boss", None), ("bearer boss", None), (None, 401), ("Bearer bos", 401), ("boss", 401)],
)
def test_keys(authorization: str | None, status: int | None) -> None:
    assert refused(KEYED, authorization, Host="door.example") == status


def test_without_keys_nobody_is_one_where_others_come_in() -> None:
    assert refused(Operators((), alone=False)) == 403


@pytest.mark.parametrize(
    ("origin", "host", "own"),
    [
        ("https://door.example", "door.example", True),
        ("https://door.example", "door.example:443", True),
        ("http://door.example:8080", "door.example:8080", True),
        ("http://door.example", "door.example:8080", False),
        ("http://[::1]:1", "[::1]:1", True),
        ("http://door.example:99999", "door.example", False),
    ],
)
def test_own_pages(origin: str, host: str, own: bool) -> None:
    assert is_own(origin, host) is own
