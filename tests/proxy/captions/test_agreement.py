"""What of a caption stays while it grows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.captions.agreement import Agreement
from proxy.captions.pacing import INTERVAL_SECONDS, look_in

TEXTS = st.lists(st.text(alphabet="aA b.,日本", max_size=12), max_size=12)


@given(TEXTS)
def test_what_is_stable_stays_and_the_text_begins_with_it(texts: list[str]) -> None:
    agreement, before = Agreement(), ""
    for text in texts:
        shown = agreement.look(text)
        assert shown.startswith(agreement.stable)
        assert agreement.stable.startswith(before)
        before = agreement.stable


@given(st.text(alphabet="aA b.,日本"))
def test_a_text_seen_twice_is_stable_and_unchanged(text: str) -> None:
    agreement = Agreement()
    assert agreement.look(text) == text.strip()
    assert agreement.look(text) == agreement.stable


def test_words_become_stable_when_two_looks_agree() -> None:
    agreement = Agreement()
    assert (agreement.look("What is"), agreement.stable) == ("What is", "")
    assert (agreement.look("What is, the whether"), agreement.stable) == ("What is, the whether", "What is,")
    assert (agreement.look("Watt is the weather in"), agreement.stable) == ("What is, the weather in", "What is, the")
    assert (agreement.look("What"), agreement.stable) == ("What is, the", "What is, the")


def test_without_spaces_characters_count() -> None:
    agreement = Agreement()
    agreement.look("今日は晴")
    assert agreement.look("今日は雨です") == "今日は雨です"
    assert agreement.stable == "今日は"


@given(st.floats(0, 60), st.floats(0, 60), st.floats(0, 60))
def test_a_look_is_never_more_often_than_twice_a_second(voiced: float, grown: float, since: float) -> None:
    wait = look_in(voiced, grown, since)
    assert wait is None or (0 <= wait <= INTERVAL_SECONDS <= since + wait + 1e-9)
    assert INTERVAL_SECONDS >= 0.5
