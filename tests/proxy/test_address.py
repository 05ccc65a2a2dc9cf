"""Addresses to listen on: read as they are written, written as they are read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.address import Address


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, True),
        ("0.0.0.0:0", "0.0.0.0", 0, False),
        ("[::1]:65535", "::1", 65535, True),
        ("[::]:80", "::", 80, False),
        ("[fe80::1%eth0]:80", "fe80::1%eth0", 80, False),
        ("localhost:8080", "localhost", 8080, True),
        ("gpu-box.example:1", "gpu-box.example", 1, False),
    ],
)
def test_what_an_address_says(text: str, host: str, port: int, loopback: bool) -> None:
    address = Address.read(text)
    assert (address.host, address.port, address.loopback, str(address)) == (host, port, loopback, text)


@pytest.mark.parametrize(
    "text",
    [
        "", "8080", ":8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:http", "::1:80",
        "[::1]", "[::1]80", "[]:80", "[127.0.0.1]:80", "[host]:80", "256.0.0.1:80", "1.2.3:80", "a b:80", "*:80",
        "http://127.0.0.1:80", "127.0.0.1:80/", " 127.0.0.1:80", "127.0.0.1:８０",
    ],
)  # fmt: skip
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError):
        Address.read(text)


@given(st.ip_addresses(), st.integers(0, 65535))
def test_any_address_is_read_as_it_is_written(host: object, port: int) -> None:
    address = Address(str(host), port)
    assert Address.read(str(address)) == address
