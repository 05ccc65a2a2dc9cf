from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backends.transformers.stopping import StopStrings

STOPS = st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3)
PIECES = st.lists(st.text("ab\n", max_size=4), max_size=12)


def expected(text: str, stops: list[str]) -> tuple[str, bool]:
    """The definition: the first character at which a stop string is complete, the longest of those."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            return text[: end - max(map(len, complete))], True
    return text, False


@given(STOPS, PIECES)
def test_borders_of_pieces_do_not_matter(stops: list[str], pieces: list[str]) -> None:
    guard = StopStrings(stops)
    out = ""
    for piece in pieces:
        out += guard.push(piece)
        if guard.hit:
            break

    assert (out + guard.flush(), guard.hit) == expected("".join(pieces), stops)


@given(STOPS, PIECES)
def test_only_what_may_begin_a_stop_string_waits(stops: list[str], pieces: list[str]) -> None:
    guard = StopStrings(stops)
    text = out = ""
    for piece in pieces:
        text += piece
        out += guard.push(piece)
        if guard.hit:
            return
        waiting = text.removeprefix(out)
        assert text == out + waiting
        assert not waiting or any(stop.startswith(waiting) for stop in stops)


def test_nothing_follows_a_stop_string() -> None:
    guard = StopStrings(["END"])

    assert [guard.push(piece) for piece in ("one E", "N", "D two")] == ["one ", "", ""]
    assert guard.hit
    assert guard.flush() == ""
