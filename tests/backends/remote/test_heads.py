from __future__ import annotations

import pytest

from backends.errors import Invalid
from backends.remote.headers import fixed_fields, forwarded, request_head, retry_after
from backends.remote.heads import ProtocolError, parse_head


def test_a_head_is_read() -> None:
    parsed = parse_head(
        b"HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\nX-A:  b \r\nTransfer-Encoding: chunked"
    )
    assert (parsed.status, parsed.chunked, parsed.length, parsed.keep_alive) == (200, True, None, True)
    assert parsed.is_event_stream
    assert parsed.get("x-a") == "b"
    assert parse_head(b"HTTP/1.1 204").length is None
    assert not parse_head(b"HTTP/1.1 200 OK\r\nConnection: Close").keep_alive
    assert not parse_head(b"HTTP/1.0 200 OK").keep_alive


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"HTTP/2 200 OK",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 200 OK\r\nno colon",
        b"HTTP/1.1 200 OK\r\n: empty",
        b"HTTP/1.1 200 OK\r\nA : b",
        b"HTTP/1.1 200 OK\r\nA: b\nC: d",
        b"HTTP/1.1 200 OK\r\nA: \x00",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1",
        b"HTTP/1.1 200 OK\r\nContent-Length: +1",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked",
    ],
)
def test_a_head_that_two_readers_could_read_differently_is_refused(block: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_head(block)


def test_headers_with_control_bytes_are_not_forwarded() -> None:
    parsed = parse_head(b"HTTP/1.1 200 OK\r\nX-A: a\x1b[31m\r\nX-B: b\r\nX-Accel-Buffering: yes")
    assert forwarded(parsed, stream=False) == [("x-b", "b"), ("x-accel-buffering", "yes")]
    assert forwarded(parsed, stream=True) == [("x-b", "b"), ("X-Accel-Buffering", "no"), ("Cache-Control", "no-cache")]


@pytest.mark.parametrize(
    "header", [("X-A", "b\r\nHost: evil"), ("X-A\r\nHost", "evil"), ("X A", "b"), ("X-A", "\x00"), ("", "b")]
)
def test_no_header_breaks_out_of_its_line(header: tuple[str, str]) -> None:
    with pytest.raises(Invalid):
        request_head("POST", "/v1", fixed_fields("h", None), [header], 0, keyed=False)


@pytest.mark.parametrize("target", ["", "v1", "/v1 HTTP/1.1\r\nA: b", "/ü", "/\x00"])
def test_no_path_breaks_out_of_its_line(target: str) -> None:
    with pytest.raises(Invalid):
        request_head("POST", target, fixed_fields("h", None), (), 0, keyed=False)


def test_a_key_with_a_line_break_is_refused_at_start() -> None:
    with pytest.raises(ValueError, match="control"):
        fixed_fields("h", "secret\n")


def test_the_callers_authorization_passes_only_where_there_is_no_key() -> None:
    headers = (("Authorization", "Bearer theirs"), ("Content-Length", "9"), ("Host", "x"))
    assert b"theirs" in request_head("GET", "/", fixed_fields("h", None), headers, 0, keyed=False)
    assert request_head("GET", "/", fixed_fields("h", "k"), headers, 0, keyed=True) == (
        b"GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: identity\r\nAuthorization: Bearer k\r\n\r\n"
    )


def test_retry_after_in_seconds_only() -> None:
    assert retry_after([("retry-after", "30")]) == 30
    assert retry_after([("retry-after", "Sat, 21 Nov 2026 12:00:00 GMT")]) is None
    assert retry_after([]) is None
