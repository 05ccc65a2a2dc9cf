"""Text and tokens, whichever comes first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backends.types import Delta, Finish, TokenLogprob
from proxy.contracts.tgi.aligned import Aligned, Token


def told(*tokens: str) -> tuple[TokenLogprob, ...]:
    return tuple(TokenLogprob(token, -0.5, (), number) for number, token in enumerate(tokens, start=7))


def texts(tokens: list[Token]) -> list[str]:
    return [token.text for token in tokens]


def test_a_token_waits_for_its_text() -> None:
    aligned = Aligned()
    assert aligned.feed(Delta(0, "", logprobs=told("one"))) == []
    assert texts(aligned.feed(Delta(0, "one", logprobs=told(" two")))) == ["one"]
    assert aligned.feed(Delta(0, " t")) == []
    assert texts(aligned.feed(Delta(0, "wo"))) == [" two"]


def test_parts_of_a_character_leave_their_text_to_the_last() -> None:
    aligned = Aligned()
    assert aligned.feed(Delta(0, "", logprobs=told("\ufffd"))) == []
    assert texts(aligned.feed(Delta(0, "é", logprobs=told("\ufffd")))) == ["", "é"]


def test_the_token_that_a_stop_sequence_ends_is_whole() -> None:
    aligned = Aligned()
    assert aligned.feed(Delta(0, " ", logprobs=told(" test"))) == []
    assert aligned.finish(Finish(0, "stop", "test")) == [Token(" test", 7, -0.5)]


def test_a_stop_sequence_whose_tokens_were_not_told_is_a_token_without_id() -> None:
    assert Aligned().finish(Finish(0, "stop", "END")) == [Token("END")]


def test_an_end_token_that_was_told_is_special() -> None:
    aligned = Aligned()
    aligned.feed(Delta(0, "", logprobs=told("</s>")))
    assert aligned.finish(Finish(0, "stop")) == [Token("</s>", 7, -0.5, special=True)]


def test_an_end_token_that_was_not_told_has_no_text() -> None:
    assert Aligned().finish(Finish(0, "stop")) == [Token("", special=True)]
    assert Aligned().finish(Finish(0, "length")) == []


@given(
    st.lists(st.tuples(st.text("ab\ufffd", max_size=4), st.lists(st.text("ab\ufffd", max_size=3), max_size=3))),
    st.sampled_from([Finish(0, "length"), Finish(0, "stop"), Finish(0, "stop", "b")]),
)
def test_the_tokens_are_always_the_text(pieces: list[tuple[str, list[str]]], end: Finish) -> None:
    aligned = Aligned()
    deltas = [Delta(0, text, logprobs=told(*tokens)) for text, tokens in pieces]
    tokens = [token for delta in deltas for token in aligned.feed(delta)] + aligned.finish(end)
    shown = "".join(token.text for token in tokens if not token.special)
    assert shown == "".join(delta.text for delta in deltas) + (end.stopped_by or "")
    assert len([token for token in tokens if token.id >= 0]) == sum(len(delta.logprobs) for delta in deltas)
