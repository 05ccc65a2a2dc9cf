"""espeak-ng as a library: speech with the start of every word and phoneme.

Interface: speak_lib.h of espeak-ng 1.51.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backends.nano.train.whisper.audio import RATE, Samples, resampled

LIBRARY = "libespeak-ng.so.1"
SYNCHRONOUS, PHONEME_EVENTS, UTF8 = 2, 1, 1
LIST_TERMINATED, WORD, PHONEME = 0, 1, 7
SPEAKING_RATE, PITCH = 1, 3
SILENCE = "_"


class EspeakMissing(RuntimeError):
    """The espeak-ng library is not installed."""


@dataclass(frozen=True)
class Word:
    """A word as written, and when it is spoken, in seconds."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Speech:
    """16 kHz samples, their words, and (phoneme, start in seconds); silences begin with an underscore."""

    samples: Samples
    words: Sequence[Word]
    phonemes: Sequence[tuple[str, float]]


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # milliseconds
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("phoneme", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak:
    """A synthesizer; one per process, since the library keeps its voice and callback globally.

    `directory` holds the espeak-ng-data to use, where not the installed one. Raises EspeakMissing when the library is not
    installed.
    """

    def __init__(self, directory: Path | None = None) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise EspeakMissing(
                f"{LIBRARY} was not found: install espeak-ng (Debian: apt-get install espeak-ng)"
            ) from error
        self._pcm: list[bytes] = []
        self._words: dict[int, float] = {}
        self._phonemes: list[tuple[str, float]] = []
        self._callback = _Callback(self._collect)
        path = None if directory is None else str(directory).encode()
        self._rate: int = self._library.espeak_Initialize(SYNCHRONOUS, 0, path, PHONEME_EVENTS)
        self._library.espeak_SetSynthCallback(self._callback)

    @property
    def data(self) -> Path:
        """Where its dictionaries and voices are."""
        path = ctypes.c_char_p()
        self._library.espeak_Info(ctypes.byref(path))
        return Path((path.value or b"").decode())

    def _collect(self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if count > 0:
            self._pcm.append(ctypes.string_at(samples, 2 * count))
        i = 0
        while (event := events[i]).type != LIST_TERMINATED:
            seconds = event.audio_position / 1000
            if event.type == WORD:
                self._words.setdefault(event.text_position - 1, seconds)
            elif event.type == PHONEME:
                self._phonemes.append((event.phoneme.decode("utf-8", "ignore"), seconds))
            i += 1
        return 0

    def say(self, text: str, voice: str, rate: int = 160, pitch: int = 50) -> Speech:
        """`text` in `voice` (accent or accent+variant) at `rate` words a minute and `pitch` of 0 to 99.

        Raises ValueError for a voice that espeak-ng does not have.
        """
        # British English is found by its file's name alone.
        file = "gmw/en" + voice.removeprefix("en-gb") if voice == "en-gb" or voice.startswith("en-gb+") else voice
        if self._library.espeak_SetVoiceByName(file.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice!r}")
        self._library.espeak_SetParameter(SPEAKING_RATE, rate, 0)
        self._library.espeak_SetParameter(PITCH, pitch, 0)
        self._pcm.clear()
        self._words.clear()
        self._phonemes.clear()
        encoded = text.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, UTF8, None, None)
        self._library.espeak_Synchronize()
        spoken = np.frombuffer(b"".join(self._pcm), np.int16).astype(np.float32)
        spoken /= 32768
        samples = resampled(spoken, self._rate)
        return Speech(
            samples, timed_words(text, self._words, self._phonemes, last_sound(samples)), tuple(self._phonemes)
        )


def last_sound(samples: NDArray[np.float32]) -> float:
    """When the sound ends, in seconds."""
    loud = np.flatnonzero(np.abs(samples) > 2e-3)
    return float(loud[-1] if len(loud) else len(samples)) / RATE


def timed_words(text: str, marks: dict[int, float], phonemes: Sequence[tuple[str, float]], end: float) -> list[Word]:
    """The words of `text` from espeak's marks (position in text -> seconds); it leaves some words unmarked."""
    words, position = [], 0
    for word in text.split():
        position = text.index(word, position)
        marked = [marks[i] for i in range(position, position + len(word)) if i in marks]
        words.append((word, marked[0] if marked else None))
        position += len(word)
    starts = [start for _, start in words]
    for i in reversed(range(len(starts))):
        # An unmarked word shares the time before the next one, which espeak joined to it.
        if starts[i] is None:
            following = next((s for s in starts[i + 1 :] if s is not None), end)
            starts[i] = max(0.0, following - 0.06)
    known = [start for start in starts if start is not None]
    pauses = [start for name, start in phonemes if name.startswith(SILENCE)]
    timed = []
    for (word, _), (start, following) in zip(words, pairwise([*known, end]), strict=True):
        pause = [p for p in pauses if start < p < following]
        timed.append(Word(word, start, max(start, min([*pause, following]))))
    return timed
