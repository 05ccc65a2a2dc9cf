from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.errors import ApiError, ErrorCode
from proxy.http.multipart import MAX_HEAD_BYTES, MAX_PARTS, FormParser, Part, compose

BOUNDARY = "b0undary"
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters='"\\'), min_size=1).map(
    str.strip
)


def form(parts: Iterable[Part], *, preamble: bytes = b"", epilogue: bytes = b"\r\n") -> bytes:
    written = b"".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{part.name}"\r\n\r\n'.encode() + part.data + b"\r\n"
        for part in parts
    )
    return preamble + written + f"--{BOUNDARY}--".encode() + epilogue


def with_head(head: bytes, data: bytes = b"x") -> bytes:
    return b"--b0undary\r\n" + head + b"\r\n\r\n" + data + b"\r\n--b0undary--\r\n"


def parse(body: bytes, cuts: Iterable[int] = ()) -> list[Part]:
    parser = FormParser(BOUNDARY)
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    for start, end in pairwise(edges):
        parser.feed(body[start:end])
    return parser.finish()


def refusal(body: bytes) -> str:
    with pytest.raises(ApiError) as caught:
        parse(body)
    assert caught.value.code is ErrorCode.INVALID
    return caught.value.message


@given(
    st.lists(
        st.builds(
            Part, NAMES.filter(bool), st.binary().filter(lambda data: b"--b0undary" not in b"\r\n" + data + b"\r\n")
        ),
        max_size=5,
    ),
    st.lists(st.integers(0, 600)),
)
@example([Part("file", b"\r\n--b0undar\r\n--"), Part("model", b"")], [60, 61, 62, 63, 64, 65, 70, 75, 80, 90, 100])
def test_a_form_reads_the_same_however_it_is_cut(parts: list[Part], cuts: list[int]) -> None:
    assert parse(form(parts), cuts) == parts


@given(st.binary(max_size=300), st.lists(st.integers(0, 300)))
def test_any_bytes_are_read_or_refused(body: bytes, cuts: list[int]) -> None:
    try:
        parse(with_head(body[: len(body) // 2], body[len(body) // 2 :]), cuts)
    except ApiError as error:
        assert error.code is ErrorCode.INVALID


PIECES = st.sampled_from(
    ["name", "file", "*", "0", "=", '"', ";", "\\", " ", "\r\n", "\r", "utf-8''", "%e2", "é", "\0"]
)


@given(st.lists(PIECES, max_size=20).map("".join))
def test_any_head_is_read_or_refused(rest: str) -> None:
    try:
        parse(with_head(f"Content-Disposition: form-data; {rest}".encode()))
    except ApiError as error:
        assert error.code is ErrorCode.INVALID


def test_what_stands_around_the_form_is_left_out() -> None:
    parts = [Part("file", b"RIFF")]
    assert parse(form(parts, preamble=b"hello\r\n", epilogue=b"\r\nbye\r\n--b0undary\r\n")) == parts
    assert parse(form(parts, epilogue=b"")) == parts


def test_each_byte_alone() -> None:
    parts = [Part("file", bytes(range(256))), Part("model", b"")]
    body = form(parts)
    assert parse(body, range(len(body))) == parts


@pytest.mark.parametrize(
    "head",
    [
        b'Content-Disposition: form-data; name="file"; filename="../../etc/passwd"\r\nContent-Type: audio/wav',
        b'content-disposition: form-data; filename="a; name=\\"model\\".wav"; name=file',
        b"Content-Disposition: form-data; name=\"file\"; filename*=UTF-8''%e2%82%ac.wav",
        b'X-Other: 1\r\nContent-Disposition: form-data; name="file"\r\nContent-Transfer-Encoding: binary',
    ],
)
def test_the_name_is_found_whatever_a_file_is_called(head: bytes) -> None:
    assert parse(with_head(head)) == [Part("file", b"x")]


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"Content-Type: text/plain", "no `Content-Disposition"),
        (b"Content-Disposition: form-data", "no `Content-Disposition"),
        (b'Content-Disposition: attachment; name="file"', "no `Content-Disposition"),
        (b'Content-Disposition: form-data; name="file"\r\nContent-Transfer-Encoding: base64', "encoded as base64"),
        (b'Content-Disposition: form-data; name="file"; name="model"', "has `name` twice"),
        (b'Content-Disposition: form-data; name="file" model', "not written as RFC 7578 says"),
        (b'Content-Disposition: form-data; name="file', "not written as RFC 7578 says"),
        (b"Content-Disposition: form-data; name*; name*0", "not written as RFC 7578 says"),
        (b"X: " + b"x" * MAX_HEAD_BYTES, f"larger than {MAX_HEAD_BYTES} bytes"),
    ],
)
def test_heads_that_are_refused(head: bytes, reason: str) -> None:
    assert reason in refusal(with_head(head))


@pytest.mark.parametrize("body", [b"", b"nothing like a form", b"--b0undary", form([Part("file", b"abc")])[:-6]])
def test_a_form_without_its_end_is_refused(body: bytes) -> None:
    assert "its end is missing" in refusal(body)


def test_a_delimiter_that_only_begins_like_one_is_refused() -> None:
    assert "something else than a line break" in refusal(
        with_head(b'Content-Disposition: form-data; name="a"').replace(b"b0undary--", b"b0undary2\r\nx\r\n\r\n")
    )


def test_endless_heads_and_endless_parts_are_refused() -> None:
    assert "larger than" in refusal(b"--b0undary\r\n" + b"x" * MAX_HEAD_BYTES)
    assert len(parse(form([Part("a", b"")] * MAX_PARTS))) == MAX_PARTS
    assert f"more than {MAX_PARTS} parts" in refusal(form([Part("a", b"")] * (MAX_PARTS + 1)))


@given(
    st.lists(
        st.builds(
            Part, NAMES.filter(bool), st.binary(max_size=40).filter(lambda data: b"--b0undary" not in b"\r\n" + data)
        ),
        max_size=4,
    )
)
def test_a_form_is_composed_of_the_very_bytes_it_came_in(parts: list[Part]) -> None:
    body = form(parts)
    assert compose(parse(body), BOUNDARY) == body


def test_odd_heads_are_kept_and_a_new_part_gets_one() -> None:
    head = b'  \r\ncontent-DISPOSITION: form-data ; filename="a.wav"; name=file\r\nX-More: \xff'
    body = b"--b0undary" + head + b"\r\n\r\nRIFF\r\n--b0undary--\r\n"
    (part,) = parse(body)
    assert compose([part], BOUNDARY) == body
    assert parse(compose([replace(part, data=b"new"), Part("model", b"w")], BOUNDARY)) == [
        Part("file", b"new"),
        Part("model", b"w"),
    ]
    assert head in compose([replace(part, data=b"new")], BOUNDARY)
