import pytest

from backends.whisper.decoding import Aligned
from backends.whisper.words import Timed, split, timed_words, usual_length, within
from tests.backends.whisper.scripted import TOKENIZER


def word(text: str, start: float, end: float, tokens: int = 1) -> Timed:
    return Timed(text, start, end, 0.9, tokens)


def aligned(*positions: int) -> Aligned:
    """Token n is heard from positions[n] on; the last is the end of the text."""
    pairs = [
        (number, position)
        for number, (first, after) in enumerate(zip(positions, [*positions[1:], positions[-1] + 5], strict=True))
        for position in range(first, after)
    ]
    return Aligned(tuple(pairs), tuple(1 / (number + 2) for number in range(len(positions) - 1)))


def test_words_take_the_times_and_the_mean_probability_of_their_tokens() -> None:
    tokens = [*TOKENIZER.encode(" My"), *TOKENIZER.encode(" is")]
    assert len(TOKENIZER.encode(" My")) == 2
    my, is_ = timed_words(TOKENIZER, tokens, aligned(0, 10, 25, 40))
    assert (my.text, my.start, my.end, my.tokens) == (" My", 0.0, 0.5, 2)
    assert my.probability == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert (is_.text, is_.start, is_.end) == (" is", 0.5, 0.8)


def test_punctuation_is_written_with_its_word_and_has_no_time_of_its_own() -> None:
    tokens = TOKENIZER.encode(" is.")
    assert len(tokens) == 2
    (found,) = timed_words(TOKENIZER, tokens, aligned(0, 10, 40))
    assert (found.text, found.start, found.end, found.tokens) == (" is.", 0.0, 0.2, 2)


def test_an_opening_mark_is_written_with_the_word_after_it() -> None:
    found = timed_words(Spelling([" (", "so", " it"]), [1, 2, 3], aligned(0, 10, 20, 30))
    assert [(one.text, one.start, one.tokens) for one in found] == [(" (so", 0.2, 2), (" it", 0.4, 1)]


class Spelling:
    """Stands for a tokenizer whose tokens are these words, one each."""

    eot = 0

    def __init__(self, words: list[str]) -> None:
        self.words = words

    def split_to_word_tokens(self, tokens: list[int]) -> tuple[list[str], list[list[int]]]:
        return [*self.words, ""], [[token] for token in tokens]


def test_no_text_has_no_words() -> None:
    assert timed_words(TOKENIZER, [], aligned(0)) == []


def test_words_are_split_among_segments_by_their_tokens() -> None:
    words = [word("a", 0, 1, 2), word("b", 1, 2, 1), word("c", 2, 3, 3)]
    assert split(words, [3, 3]) == [words[:2], words[2:]]
    assert split(words, [1, 0, 5]) == [words[:1], [], words[1:]]


def test_the_usual_length_is_the_median_of_what_has_one() -> None:
    assert usual_length([word("a", 0, 0), word("b", 0, 0.2), word("c", 0, 0.4), word("d", 0, 0.5)]) == 0.4
    assert usual_length([word("a", 0, 9)]) == 0.7
    assert usual_length([]) == 0.0


def test_a_segment_takes_the_times_of_its_words() -> None:
    words, start, end = within([word("a", 0.3, 0.5), word("b", 0.5, 0.9)], 0.0, 1.0, silent_until=0.0, usual=0.3)
    assert (start, end) == (0.3, 0.9)
    assert [(one.start, one.end) for one in words] == [(0.3, 0.5), (0.5, 0.9)]


def test_a_first_word_that_reaches_back_into_a_pause_is_cut_short() -> None:
    words, start, _ = within([word("a", 2.1, 5.0), word("b", 5.0, 5.3)], 3.0, 5.3, silent_until=0.0, usual=0.3)
    assert words[0].start == pytest.approx(4.4)
    assert start == words[0].start


def test_a_last_word_that_reaches_into_the_next_pause_is_cut_at_the_segments_end() -> None:
    words, _, end = within([word("a", 0.0, 0.3), word("b", 0.3, 2.0)], 0.0, 1.0, silent_until=0.0, usual=0.3)
    assert words[-1].end == end == 1.0


def test_words_heard_far_outside_of_their_segment_are_brought_back() -> None:
    words, start, end = within([word("a", 9.0, 9.5), word("b", 9.5, 22.0)], 3.0, 4.0, silent_until=0.0, usual=0.5)
    assert 2.0 <= start <= end <= 5.0
    assert all(2.0 <= one.start <= one.end <= 5.0 for one in words)
