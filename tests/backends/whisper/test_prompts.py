from hypothesis import given
from hypothesis import strategies as st

from backends.whisper.prompts import ROOM, ROUND, previous
from tests.backends.whisper.scripted import TOKENIZER

tokens = st.lists(st.integers(0, 500), max_size=400)


@given(st.lists(st.integers(0, 500), max_size=ROOM), tokens, st.booleans())
def test_expected_words_come_whole_and_then_the_end_of_the_text_before(
    expected: list[int], history: list[int], rounded: bool
) -> None:
    before = previous(TOKENIZER, expected, history, rounded=rounded)
    assert len(before) <= ROOM + 1
    if not before:
        assert not expected
        assert not history or rounded
        return
    assert before[0] == TOKENIZER.sot_prev
    assert list(before[1 : len(expected) + 1]) == expected
    kept = list(before[len(expected) + 1 :])
    assert kept == history[len(history) - len(kept) :]
    lost = min(len(history), ROOM - len(expected)) - len(kept)
    assert 0 <= lost < ROUND if rounded else lost == 0


@given(tokens, tokens)
def test_rounded_texts_have_few_lengths_so_that_they_meet(one: list[int], other: list[int]) -> None:
    lengths = {len(previous(TOKENIZER, (), text, rounded=True)) - 1 for text in (one, other) if len(text) >= ROUND}
    assert all(length % ROUND == 0 for length in lengths)
