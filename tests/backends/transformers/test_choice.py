from __future__ import annotations

from collections.abc import Sequence

import torch
from hypothesis import given
from hypothesis import strategies as st

from backends.transformers.choice import Choice
from backends.transformers.detokenize import Detokenizer
from backends.transformers.sampling import Rules, Sampler
from backends.transformers.stopping import StopStrings
from backends.types import Delta, Event, Finish

WORDS = ("", "a", "b", "ab", "ba", "c")  # the text of each token; token 0 ends


def decode(tokens: Sequence[int]) -> str:
    return "".join(WORDS[token] for token in tokens)


def answer(tokens: Sequence[int], *, stop: tuple[str, ...] = (), budget: int = 99) -> list[Event]:
    """What a choice says when the model insists on these tokens."""
    choice = Choice(
        3,
        sampler=Sampler(Rules(temperature=0.0), (), vocabulary=len(WORDS), seed=None, device="cpu"),
        detokenizer=Detokenizer(decode, ()),
        stops=StopStrings(stop),
        ends={0},
        budget=budget,
        top_logprobs=1,
        spell=WORDS.__getitem__,
    )
    events: list[Event] = []
    for token in tokens:
        events += choice.advance(torch.eye(len(WORDS))[token])
        if choice.done:
            break
    return events


def said(events: list[Event]) -> tuple[str, list[str]]:
    """The text, and the tokens whose logprobs came."""
    deltas = [event for event in events if isinstance(event, Delta)]
    return "".join(delta.text for delta in deltas), [one.token for delta in deltas for one in delta.logprobs]


def test_an_end_token_says_nothing_and_lets_everything_out() -> None:
    events = answer([1, 2, 0, 5], stop=("abc",))

    assert said(events) == ("ab", ["a", "b"])
    assert events[-1] == Finish(3, "stop")


def test_the_budget_ends_an_answer() -> None:
    events = answer([1, 2, 1, 2], budget=3)

    assert said(events) == ("aba", ["a", "b", "a"])
    assert events[-1] == Finish(3, "length")


def test_a_stop_string_over_tokens_leaves_nothing_of_itself() -> None:
    events = answer([5, 1, 2, 5, 1], stop=("abc",))

    assert said(events) == ("c", ["c"])
    assert events[-1] == Finish(3, "stop")


def test_a_token_that_is_cut_by_a_stop_string_keeps_its_logprob() -> None:
    assert said(answer([3, 5, 1], stop=("bc",))) == ("a", ["ab"])


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=10), st.lists(st.text("abc", min_size=1, max_size=3), max_size=2)
)
def test_logprobs_are_those_of_the_text(tokens: list[int], stop: list[str]) -> None:
    events = answer(tokens, stop=tuple(stop), budget=len(tokens))
    text, spelled = said(events)

    assert isinstance(events[-1], Finish)
    assert "".join(spelled).startswith(text)
    assert "".join(spelled[:-1]) == text[: len("".join(spelled[:-1]))]
    assert all(len("".join(spelled[:n])) < len(text) for n in range(len(spelled)))
    if events[-1].reason == "length":
        assert text == decode(tokens)
