"""Sentences, sound and training windows of the speech model."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import islice, pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, WhisperFeatureExtractor, WhisperForConditionalGeneration

from backends.nano.train.common import IGNORED, SHIPPED
from backends.nano.train.whisper import espeak
from backends.nano.train.whisper.audio import RATE, log_mel, noise, resampled, scaled
from backends.nano.train.whisper.clips import NEVER_TRAINED, QUIET_SECONDS, VARIANTS_NEVER_TRAINED, quiet
from backends.nano.train.whisper.espeak import EspeakMissing
from backends.nano.train.whisper.forward import Attention, decode, encode
from backends.nano.train.whisper.mixing import FINE
from backends.nano.train.whisper.sentences import (
    corpus,
    expand,
    further_voice,
    grammar,
    number_words,
    sayings,
    sentence,
    voice,
)
from backends.nano.train.whisper.synthesize import Utterance, noises
from backends.nano.train.whisper.tokenizer import POSITIONS_PER_SECOND, special_ids, train_tokenizer
from backends.nano.train.whisper.utterances import FULL, Placed, part_of, prepare, spoken_tokens
from backends.nano.train.whisper.voices import INVENTED, Inventor, traits
from backends.nano.train.whisper.windows import LONG, SHORT, Batch, Windows, windows_of

Speak = Callable[[Sequence[str]], list[Utterance]]

TEXTS = ["Turn off the light.", "How are you today?", "Hello Anna.", "The number is sixty five forty two.", "Open it."]


@pytest.fixture(scope="module")
def tokenizer() -> object:
    return AutoTokenizer.from_pretrained(SHIPPED / "whisper")


@pytest.fixture
def windows(tokenizer: object, speak_in_tones: Speak) -> Windows:
    drawn, _ = windows_of(speak_in_tones(TEXTS), noises(0), tokenizer, seed=3)
    return drawn


@given(st.integers(0, 2**32))
def test_one_seed_one_sentence_and_voice(seed: int) -> None:
    assert sentence(Random(seed)) == sentence(Random(seed))
    assert voice(Random(seed)) == voice(Random(seed))


@given(st.integers(0, 2**32))
def test_sentences_are_clean_text(seed: int) -> None:
    text = sentence(Random(seed))
    assert text == " ".join(text.split())
    assert text[0].isupper()
    assert text[-1] in ".?!"
    assert not set("<>[]{}|") & set(text)


def test_choices_nest_and_may_be_empty() -> None:
    r = Random(0)
    assert {expand(r, "a[| [b|c]] d") for _ in range(60)} == {"a d", "a b d", "a c d"}


@pytest.mark.parametrize(("n", "words"), [(0, "zero"), (12, "twelve"), (20, "twenty"), (99, "ninety nine")])
def test_numbers_in_words(n: int, words: str) -> None:
    assert number_words(n) == words


def test_fine_tuning_speaks_in_more_voices_but_in_none_that_is_kept_for_evaluation() -> None:
    r = Random(0)
    variants = {name.partition("+")[2] for name in (further_voice(r) for _ in range(5000))}
    assert variants == {*grammar().variants, *grammar().further_variants}
    assert variants > {voice(r).partition("+")[2] for _ in range(2000)}
    assert not variants & set(VARIANTS_NEVER_TRAINED)


@given(st.integers(0, 2**32))
def test_an_invented_voice_is_numbers_within_what_espeak_takes(seed: int) -> None:
    for line in traits(Random(seed)):
        word, *numbers = line.split()
        assert word.isalpha()
        assert all(-100 <= int(number) <= 3000 for number in numbers)


def test_invented_voices_differ_and_none_that_is_kept_for_evaluation_is_ever_named(tmp_path: Path) -> None:
    try:
        inventor = Inventor(tmp_path)
    except EspeakMissing:
        pytest.skip("espeak-ng is not installed")
    r = Random(1)
    names = {inventor.voice(r) for _ in range(300)}
    assert {INVENTED} < {name.partition("+")[2] for name in names}
    assert not names & set(NEVER_TRAINED)
    heard = []
    for _ in range(2):
        voice = f"en-us+{inventor.invent(r)}"
        heard.append(inventor.espeak.say("How are you today?", voice).samples)
    plain = inventor.espeak.say("How are you today?", "en-us").samples
    lengths = {len(samples) for samples in (*heard, plain)}
    assert len(lengths) > 1 or not np.allclose(heard[0], heard[1], atol=0.05)


def test_quiet_clips_are_silence_or_noise_of_different_loudness() -> None:
    clips = quiet()
    assert {clip.text for clip in clips} == {""}
    assert all(not clip.samples.any() for clip in clips[: len(QUIET_SECONDS)])
    loudness = [float(clip.samples.std()) for clip in clips[len(QUIET_SECONDS) :]]
    assert 0 < min(loudness) < 0.01 < max(loudness)


def test_the_corpus_never_holds_a_held_out_sentence_however_large() -> None:
    small, held_out = corpus(50)
    large, same = corpus(500)
    assert held_out == same
    assert len(held_out) == 600
    assert large[:50] == small
    assert not set(large) & set(held_out)
    samples = [line for file in (SHIPPED / "samples").glob("*.txt") for line in file.read_text().splitlines()]
    assert set(samples) <= set(held_out)


@given(st.floats(100, 6000))
def test_resampling_keeps_a_tone(frequency: float) -> None:
    tone = np.sin(2 * np.pi * frequency * np.arange(22050) / 22050).astype(np.float32)
    wanted = np.sin(2 * np.pi * frequency * np.arange(RATE) / RATE)
    got = resampled(tone, 22050)
    assert got.shape == wanted.shape
    assert np.abs(got - wanted)[200:-200].max() < 0.02


def test_frames_are_what_whisper_s_own_extractor_computes() -> None:
    samples = noise(np.random.RandomState(0), 30 * RATE, 1) * 0.1
    wanted = WhisperFeatureExtractor()(samples, sampling_rate=RATE, return_tensors="np").input_features[0]
    np.testing.assert_allclose(scaled(log_mel(samples)), wanted, atol=1e-4)


def test_a_missing_synthesizer_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(espeak, "LIBRARY", "libespeak-ng.so.none")
    with pytest.raises(espeak.EspeakMissing, match="install espeak-ng"):
        espeak.Espeak()


def test_words_without_a_mark_stand_before_the_next_one() -> None:
    marks = {0: 0.0, 14: 0.5}
    timed = espeak.timed_words("what is it to you", marks, [("w", 0.0), ("_:", 0.7), ("j", 0.8)], end=1.0)
    assert [word.text for word in timed] == ["what", "is", "it", "to", "you"]
    assert timed[0].start == 0.0
    assert timed[-1] == espeak.Word("you", 0.5, 0.7)
    for word, following in pairwise(timed):
        assert word.start <= word.end <= following.start


def test_tokens_of_a_word_share_its_time(tokenizer: object, speak_in_tones: Speak) -> None:
    (prepared,), _ = prepare(speak_in_tones(["Turn off the light."]), tokenizer)
    assert prepared.pieces[0].start == 0.0
    for piece, following in pairwise(prepared.pieces):
        assert piece.start < piece.end <= piece.word_end
        assert piece.end == pytest.approx(following.start)
    assert prepared.speech_end == pytest.approx(120)


def test_an_utterance_cut_off_has_its_start_or_its_whole_words(tokenizer: object, speak_in_tones: Speak) -> None:
    (prepared,), _ = prepare(speak_in_tones(["Turn off the light."]), tokenizer)
    zero = special_ids(tokenizer).zero
    placed = Placed(prepared, start=100)
    whole = [token for token, _ in spoken_tokens(placed, 400, 0, zero)]
    assert whole[0] == zero + 50
    assert whole[-1] == zero + 110
    assert [token for token, _ in spoken_tokens(placed, 190, 0, zero)] == [zero + 50]
    cut = [token for token, _ in spoken_tokens(placed, 190, 0, None)]
    assert cut == [p.token for p in prepared.pieces if p.word_end <= 0.92]


def test_a_part_of_an_utterance_is_whole_words_and_their_sound(tokenizer: object, speak_in_tones: Speak) -> None:
    (prepared,), _ = prepare(speak_in_tones(["Turn off the light."]), tokenizer)
    said = [(piece.token, piece.word_end) for piece in prepared.pieces]
    lengths = set()
    for seed in range(30):
        part = part_of(prepared, Random(seed))
        tokens = [piece.token for piece in part.pieces]
        begin = next(i for i in range(len(said)) if [token for token, _ in said[i : i + len(tokens)]] == tokens)
        before = said[begin - 1][1] if begin else 0.0
        end = said[begin + len(tokens) - 1][1]
        assert not begin or said[begin][1] > before
        assert part.length == pytest.approx(100 * (end - before), abs=6)
        assert part.speech_end == pytest.approx(100 * (end - before), abs=4)
        assert len(part.phonemes) >= part.length // 2
        lengths.add(len(tokens))
    assert len(lengths) > 2


def test_the_first_utterance_of_a_window_that_cuts_it_off_has_its_whole_words_and_no_end(
    tokenizer: object, speak_in_tones: Speak
) -> None:
    (prepared,), _ = prepare(speak_in_tones(["Turn off the light."]), tokenizer)
    zero = special_ids(tokenizer).zero
    said = [token for token, _ in spoken_tokens(Placed(prepared, start=100), 190, 0, zero, first=True)]
    assert said == [zero + 50, *(p.token for p in prepared.pieces if p.word_end <= 0.92)]


def test_passages_are_windows_of_5_and_of_10_seconds(tokenizer: object, speak_in_tones: Speak) -> None:
    windows, _ = windows_of(speak_in_tones(TEXTS), noises(0), tokenizer, seed=3, variety=FINE)
    batches = list(islice(windows.passages(), 20))
    assert {batch.frames.shape[-1] for batch in batches} == {SHORT, LONG}
    assert len({batch.padding for batch in batches}) == 2
    check(batches, tokenizer)


def test_padding_is_silence_or_zeros_as_different_programs_pad(tokenizer: object, speak_in_tones: Speak) -> None:
    windows, _ = windows_of(speak_in_tones(TEXTS), noises(0), tokenizer, seed=3, variety=FINE)
    frames = torch.cat([batch.frames[:, :, :SHORT] for batch in islice(windows.passages(), 8)])
    ended = (frames[:, :, -1] == 0).all(1)
    assert 0.2 < float(ended.float().mean()) < 0.8
    assert float(frames[ended][:, :, 0].abs().max()) > 0


def test_training_sentences_are_as_frequent_as_in_the_grammar_and_never_held_out() -> None:
    said = sayings(3000, seed=1, nonsense=0)
    _, held_out = corpus(0)
    assert said == sayings(3000, seed=1, nonsense=0)
    assert not set(said) & set(held_out)
    assert len(set(said)) < len(said)
    greetings = sum(text.startswith(("Hello", "Good")) for text in said)
    expected = sum(text.startswith(("Hello", "Good")) for text in held_out) / len(held_out)
    assert greetings / len(said) == pytest.approx(expected, abs=0.02)


def test_nonsense_is_the_grammar_s_own_words_in_an_order_of_their_own() -> None:
    _, held_out = corpus(0)
    said = sayings(300, seed=1, nonsense=1)
    words = {word.strip(".,?") for text in sayings(6000, seed=2, nonsense=0) for word in text.split()}
    assert not set(said) & set(held_out)
    assert {word.strip(".,?") for text in said for word in text.split()} <= words
    assert all(2 <= len(text.split()) <= 11 and text[-1] in ".?!" for text in said)


def batches_of(windows: Windows) -> list[Batch]:
    return [*islice(windows.crops(4), 2), *islice(windows.stretches(3), 2), *islice(windows.full_windows(), 6)]


def test_every_batch_is_well_formed(windows: Windows, tokenizer: object) -> None:
    check(batches_of(windows), tokenizer)


def check(batches: Sequence[Batch], tokenizer: object) -> None:
    """Shapes agree, prompts teach nothing, the last word is the end, and times do not go back."""
    ids = special_ids(tokenizer)
    for batch in batches:
        rows, mels, frames = batch.frames.shape
        assert mels == 80
        assert frames <= FULL
        assert batch.phonemes.shape == (rows, frames // 2)
        assert batch.inputs.shape == batch.labels.shape == batch.spans.shape[:2]
        assert int(batch.offsets.max()) + frames // 2 <= FULL // 2
        assert float(batch.frames.abs().max()) <= 2.0
        for inputs, labels in zip(batch.inputs.tolist(), batch.labels.tolist(), strict=True):
            told = [(i, label) for i, label in zip(inputs, labels, strict=True) if label != IGNORED]
            assert told[0][0] == ids.start
            assert told[-1][1] == ids.end
            times = [label for _, label in told if label >= ids.zero]
            assert times == sorted(times)


def test_one_seed_one_sequence_of_batches(tokenizer: object, speak_in_tones: Speak) -> None:
    first, second = (batches_of(windows_of(speak_in_tones(TEXTS), noises(0), tokenizer, seed=5)[0]) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.frames, b.frames)
        assert torch.equal(a.labels, b.labels)


@pytest.mark.parametrize("padded", [False, True])
def test_attention_and_its_gradients_are_torch_s_own(padded: bool) -> None:
    torch.manual_seed(0)
    bias = torch.linspace(0, 3, 7) if padded else torch.zeros(7)
    inputs = [torch.randn(2, 4, length, 8, requires_grad=True) for length in (5, 7, 7)]
    q, k, v = inputs
    got = Attention.apply(q * 8**-0.5, k, v, bias if padded else None)
    wanted = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias[None])
    torch.testing.assert_close(got, wanted)
    weight = torch.randn_like(wanted)
    for a, b in zip(
        torch.autograd.grad((got * weight).sum(), inputs),
        torch.autograd.grad((wanted * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_the_training_pass_computes_what_transformers_computes(windows: Windows) -> None:
    model = WhisperForConditionalGeneration.from_pretrained(SHIPPED / "whisper", dtype=torch.float32).eval()
    batch = next(batch for batch in windows.full_windows() if batch.frames.shape[-1] == FULL)
    with torch.inference_mode():
        states, looks = decode(model, batch.inputs, encode(model, batch))
        got = model.proj_out(states)
        wanted = model(input_features=batch.frames, decoder_input_ids=batch.inputs).logits
    torch.testing.assert_close(got, wanted, atol=1e-3, rtol=1e-3)
    for look in looks:
        torch.testing.assert_close(look.sum(-1), torch.ones(look.shape[:-1]))


def test_the_tokenizer_of_the_corpus_is_the_shipped_one(tmp_path: Path) -> None:
    texts, _ = corpus(20000)
    train_tokenizer(texts, tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert json.loads((tmp_path / name).read_text()) == json.loads((SHIPPED / "whisper" / name).read_text())


def test_timestamps_are_two_hundredths_of_a_second_apart(tokenizer: object) -> None:
    zero = special_ids(tokenizer).zero
    assert AutoTokenizer.from_pretrained(SHIPPED / "whisper").convert_ids_to_tokens(
        [zero, zero + POSITIONS_PER_SECOND, zero + 30 * POSITIONS_PER_SECOND]
    ) == ["<|0.00|>", "<|1.00|>", "<|30.00|>"]
