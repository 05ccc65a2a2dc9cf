"""One torch thread for small models, and speech where no synthesizer is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import torch

from backends.nano.train.whisper.audio import RATE
from backends.nano.train.whisper.espeak import Speech, Word
from backends.nano.train.whisper.synthesize import Utterance, utterance

SECONDS_PER_WORD = 0.3


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def toned(text: str) -> Utterance:
    """Each word of `text` as a tone of its own for 0.3 s: stands for speech, with word and phoneme times."""
    words, phonemes, tones = [], [], []
    for i, word in enumerate(text.split()):
        words.append(Word(word, i * SECONDS_PER_WORD, (i + 1) * SECONDS_PER_WORD))
        phonemes += [(word[0], i * SECONDS_PER_WORD), ("_:", (i + 0.9) * SECONDS_PER_WORD)]
        time = np.arange(int(SECONDS_PER_WORD * RATE)) / RATE
        tones.append(np.sin(2 * np.pi * (200 + 10 * len(word) * (1 + i)) * time).astype(np.float32))
    phonemes.append(("_:", len(words) * SECONDS_PER_WORD))
    return utterance(Speech(np.concatenate(tones), words, phonemes))


@pytest.fixture
def speak_in_tones() -> Callable[[Sequence[str]], list[Utterance]]:
    return lambda texts: [toned(text) for text in texts]
