"""Voices that nobody has heard before: a variant of random throat, pitch and breath beside those of espeak-ng."""

from __future__ import annotations

from pathlib import Path
from random import Random

from backends.nano.train.whisper.espeak import Espeak
from backends.nano.train.whisper.sentences import further_voice

DATA, VOICES, VARIANTS, INVENTED = "espeak-ng-data", "voices", "!v", "invented"
FORMANTS = range(9)
KLATT = 0.08


class Inventor:
    """Espeak with one variant more, `espeak`, which `invent` makes another one each time; its files go to `directory`."""

    def __init__(self, directory: Path) -> None:
        own, data = Espeak().data, directory / DATA
        _link(own, data, all_but=VOICES)
        _link(own / VOICES, data / VOICES, all_but=VARIANTS)
        _link(own / VOICES / VARIANTS, data / VOICES / VARIANTS)
        self._variant = data / VOICES / VARIANTS / INVENTED
        self.invent(Random(0))
        self.espeak = Espeak(directory)

    def voice(self, r: Random) -> str:
        """A voice of espeak-ng that may be trained on, or one that is made up for the occasion."""
        named = further_voice(r)
        return named if r.random() < 0.5 else f"{named.partition('+')[0]}+{self.invent(r)}"

    def invent(self, r: Random) -> str:
        """Replace the variant by another one and name it."""
        lines = ["language variant", f"name {INVENTED}", *traits(r)]
        self._variant.write_text("\n".join(lines) + "\n", encoding="ascii")
        return INVENTED


def _link(source: Path, target: Path, all_but: str = "") -> None:
    """A directory of links to what `source` holds."""
    target.mkdir(parents=True)
    for entry in source.iterdir():
        if entry.name != all_but:
            (target / entry.name).symlink_to(entry)


def traits(r: Random) -> list[str]:
    """The lines of a variant file; docs/voices.md of espeak-ng says what they mean."""
    if r.random() < KLATT:
        return [f"klatt {r.randint(1, 6)}", pitch(r)]
    throat = r.choice([1.0, r.uniform(0.88, 1.25)])
    formants = [formant(r, number, throat) for number in FORMANTS]
    others = [
        (0.25, f"echo {r.randint(10, 150)} {r.randint(5, 50)}"),
        (0.30, f"roughness {r.randint(0, 5)}"),
        (0.20, f"flutter {r.randint(0, 15)}"),
        (0.50, f"voicing {r.randint(35, 165)}"),
        (0.50, f"consonants {numbers(r, 2, 20, 200)}"),
        (0.15, f"intonation {r.randint(1, 4)}"),
        (0.20, f"breath {numbers(r, 8, 0, 8)}"),
        (0.20, f"breathw {numbers(r, 8, 100, 400)}"),
        (0.30, f"stressAmp {numbers(r, 8, 12, 28)}"),
        (0.30, f"stressAdd {numbers(r, 8, -30, 60)}"),
        (0.35, f"tone {r.randint(300, 700)} {r.randint(120, 250)} {r.randint(1000, 2200)} {r.randint(70, 160)}"),
    ]
    return [pitch(r), *formants, *(line for share, line in others if r.random() < share)]


def pitch(r: Random) -> str:
    """Lowest and highest pitch in hertz."""
    lowest = r.uniform(60, 190)
    return f"pitch {lowest:.0f} {lowest * r.uniform(1.2, 1.75):.0f}"


def formant(r: Random, number: int, throat: float) -> str:
    """Frequency, strength and width of a formant, in percent."""
    frequency = 100 * throat * r.gauss(1, 0.05)
    strength = 0.0 if number > 5 and r.random() < 0.3 else max(r.gauss(100, 25), 20)
    return f"formant {number} {frequency:.0f} {strength:.0f} {max(r.gauss(100, 22), 40):.0f}"


def numbers(r: Random, count: int, low: int, high: int) -> str:
    """So many numbers from `low` to `high`."""
    return " ".join(str(r.randint(low, high)) for _ in range(count))
