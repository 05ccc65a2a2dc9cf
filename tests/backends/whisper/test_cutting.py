from hypothesis import given
from hypothesis import strategies as st

from backends.whisper.cutting import Piece, cut

ZERO = 1000  # the token of time 0


def at(seconds: float) -> int:
    return ZERO + round(seconds * 50)


@given(st.lists(st.one_of(st.integers(0, 9), st.integers(ZERO, ZERO + 1500)), max_size=40), st.integers(1, 3000))
def test_every_window_is_settled_by_a_frame_at_least_and_no_text_is_lost(tokens: list[int], frames: int) -> None:
    found = cut(tokens, first_stamp=ZERO, frames=frames)
    assert 0 < found.frames <= frames
    kept = [token for piece in found.pieces for token in piece.tokens]
    assert kept == tokens[: len(kept)]
    if found.frames == frames:
        assert kept == tokens


def test_two_times_in_a_row_part_segments() -> None:
    found = cut([at(0), 1, 2, at(1), at(1.5), 3, at(2.5)], first_stamp=ZERO, frames=300)
    assert found.pieces == (Piece(0.0, 1.0, (at(0), 1, 2, at(1))), Piece(1.5, 2.5, (at(1.5), 3, at(2.5))))
    assert (found.frames, found.finished) == (300, True)


def test_what_is_begun_only_is_left_to_the_next_window() -> None:
    found = cut([at(0), 1, at(1), at(1.5), 3, 4], first_stamp=ZERO, frames=300)
    assert found.pieces == (Piece(0.0, 1.0, (at(0), 1, at(1))),)
    assert (found.frames, found.finished) == (100, False)


def test_what_would_be_begun_again_for_ever_is_kept_as_it_is() -> None:
    found = cut([at(0), at(0), 3, 4], first_stamp=ZERO, frames=300)
    assert found.pieces[-1] == Piece(0.0, 3.0, (at(0), 3, 4))
    assert found.frames == 300


def test_one_segment_has_the_times_at_its_ends_where_they_are_told() -> None:
    assert cut([at(0.5), 1, at(2)], first_stamp=ZERO, frames=300).pieces == (Piece(0.5, 2.0, (at(0.5), 1, at(2))),)
    assert cut([at(0.5), 1], first_stamp=ZERO, frames=300).pieces == (Piece(0.5, 3.0, (at(0.5), 1)),)
    assert cut([1, 2], first_stamp=ZERO, frames=300).pieces == (Piece(0.0, 3.0, (1, 2)),)
