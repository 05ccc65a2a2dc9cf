"""However a text comes in pieces, what is shown is the text without its stop sequence, and as early as can be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backends.tgi.stops import StopFilter
from backends.types import Delta, TokenLogprob

ABC = st.text(alphabet="abc", max_size=6)


def shown(pieces: list[str], stops: tuple[str, ...], *, stopped: bool) -> str:
    filter_ = StopFilter(stops)
    out = [delta for piece in pieces for delta in filter_.feed(Delta(0, text=piece))]
    return "".join(delta.text for delta in out + filter_.finish(stopped=stopped))


@given(st.lists(ABC), st.lists(st.text(alphabet="abc", min_size=1, max_size=4), max_size=3))
def test_without_a_stop_nothing_is_lost(pieces: list[str], stops: list[str]) -> None:
    assert shown(pieces, tuple(stops), stopped=False) == "".join(pieces)


@given(st.lists(ABC), st.text(alphabet="abc", min_size=1, max_size=4), st.integers(0, 4))
def test_a_stop_at_the_end_is_cut_wherever_the_pieces_part(pieces: list[str], stop: str, parting: int) -> None:
    assert shown([*pieces, stop[:parting], stop[parting:]], (stop,), stopped=True) == "".join(pieces)


@given(st.lists(ABC), st.text(alphabet="abc", min_size=1, max_size=4))
def test_no_more_is_held_back_than_may_belong_to_the_stop(pieces: list[str], stop: str) -> None:
    filter_ = StopFilter((stop,))
    out = "".join(delta.text for piece in pieces for delta in filter_.feed(Delta(0, text=piece)))
    text = "".join(pieces)
    held = text[len(out) :]
    assert text.startswith(out)
    assert not held or any(text.endswith(stop[:size]) for size in range(1, len(stop) + 1))


def test_logprobs_of_a_cut_token_go_with_it() -> None:
    filter_ = StopFilter(("xy",))
    kept, cut = (Delta(0, text=text, logprobs=(TokenLogprob(text, -1.0),)) for text in ("a", "xy"))
    assert filter_.feed(kept) + filter_.feed(cut) + filter_.finish(stopped=True) == [kept]
