"""Utterances, cut from whatever probabilities a detector may give."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from proxy.captions.endpoints import Endpointer, Rules, Span

SMALL = Rules(silence=3, shortest=2, longest=12, padding=2)
PROBABILITIES = st.lists(st.sampled_from([0.0, 0.1, 0.36, 0.49, 0.5, 0.9, 1.0]), max_size=120)
RULES = st.builds(
    Rules,
    silence=st.integers(1, 8),
    shortest=st.integers(1, 6),
    longest=st.integers(8, 30),
    padding=st.integers(0, 6),
)


def cut(probabilities: list[float], rules: Rules) -> list[Span]:
    endpointer = Endpointer(rules)
    return endpointer.feed(probabilities) + endpointer.finish()


@given(PROBABILITIES, RULES)
def test_utterances_are_in_order_apart_and_not_too_long(probabilities: list[float], rules: Rules) -> None:
    spans = cut(probabilities, rules)
    for span in spans:
        assert 0 <= span.start < span.end <= len(probabilities)
        assert span.end - span.start <= rules.longest + 2 * rules.padding
    assert all(before.end <= after.start for before, after in pairwise(spans))


@given(PROBABILITIES, RULES)
def test_speech_that_lasts_is_in_an_utterance(probabilities: list[float], rules: Rules) -> None:
    covered = {step for span in cut(probabilities, rules) for step in range(span.start, span.end)}
    run: list[int] = []
    for step, probability in enumerate([*probabilities, 0.0]):
        if probability >= rules.begins:
            run.append(step)
            continue
        if len(run) >= rules.longest:  # whatever it was cut into is long enough to count
            run = []
        if len(run) >= 2 * rules.shortest:
            assert len(set(run) - covered) <= rules.shortest
        run = []


@given(PROBABILITIES, RULES, st.lists(st.integers(0, 20), max_size=30))
def test_how_steps_are_handed_in_changes_nothing(probabilities: list[float], rules: Rules, sizes: list[int]) -> None:
    endpointer, spans, at = Endpointer(rules), [], 0
    for size in [*sizes, len(probabilities)]:
        spans += endpointer.feed(probabilities[at : at + size])
        at += size
    assert spans + endpointer.finish() == cut(probabilities, rules)


@given(PROBABILITIES, RULES)
def test_what_is_needed_still_is_never_given_up_and_bounded(probabilities: list[float], rules: Rules) -> None:
    endpointer, needed = Endpointer(rules), 0
    for probability in probabilities:
        for span in endpointer.feed([probability]):
            assert span.start >= needed
        assert needed <= endpointer.needed_from
        needed = endpointer.needed_from
        assert endpointer.heard - needed <= rules.longest + rules.padding
    assert all(span.start >= needed for span in endpointer.finish())


def test_an_utterance_has_quiet_on_both_sides_and_ends_when_it_has_been_quiet() -> None:
    endpointer = Endpointer(SMALL)
    assert endpointer.feed([0.0] * 5 + [0.9] * 4 + [0.1] * 2) == []
    assert endpointer.voiced == 4 and endpointer.needed_from == 3
    assert endpointer.feed([0.1]) == [Span(3, 11)]
    assert endpointer.voiced == 0


def test_a_moment_of_doubt_does_not_end_an_utterance_and_cannot_begin_one() -> None:
    assert cut([0.4] * 20, SMALL) == []
    assert cut([0.9, 0.9, *[0.4] * 8, 0.9], SMALL) == [Span(0, 11)]


def test_a_click_is_no_utterance() -> None:
    assert cut([0.0] * 4 + [0.9] + [0.0] * 9, SMALL) == []


def test_speech_without_a_pause_is_cut_where_it_is_quietest() -> None:
    assert cut([0.9] * 8 + [0.5] + [0.9] * 6, SMALL) == [Span(0, 8), Span(8, 15)]
