"""What to call the speakers that were told apart: a known voice by its name, the others A, B, C in order of appearance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, product
from string import ascii_uppercase
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

# The direction of this vector is a voice.
Print: TypeAlias = npt.NDArray[np.floating]

# Cosine from which two prints count as one voice. Speaker verification puts the line of equal error near here.
SAME_VOICE = 0.5


@dataclass(frozen=True, slots=True)
class Turn:
    """Somebody speaks from start to end, in seconds."""

    start: float
    end: float
    speaker: str


def named(turns: Sequence[Turn], heard: Mapping[str, Print], known: Mapping[str, Print]) -> list[Turn]:
    """The turns with names for people in place of the pipeline's labels."""
    likeness = {(label, name): cosine(heard[label], known[name]) for label, name in product(heard, known)}
    names = matched(likeness)
    free = letters(taken=known)
    for turn in turns:
        if turn.speaker not in names:
            names[turn.speaker] = next(free)
    return [replace(turn, speaker=names[turn.speaker]) for turn in turns]


def matched(likeness: Mapping[tuple[str, str], float]) -> dict[str, str]:
    """Label -> name, likest pair first, each at most once: the pipeline holds two labels for two people."""
    found: dict[str, str] = {}
    for (label, name), alike in sorted(likeness.items(), key=lambda item: -item[1]):
        if alike >= SAME_VOICE and label not in found and name not in found.values():
            found[label] = name
    return found


def cosine(a: Print, b: Print) -> float:
    """How alike two voices are, in -1..1; 0 where one has no print."""
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths > 0 else 0.0


def letters(taken: Mapping[str, object]) -> Iterator[str]:
    """A to Z, AA, AB and so on, without those taken."""
    for length in count(1):
        for combination in product(ascii_uppercase, repeat=length):
            if (name := "".join(combination)) not in taken:
                yield name
