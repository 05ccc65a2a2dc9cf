"""Traffic to try policies on: each trace a function of its seed, with texts as clients send them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from random import Random
from typing import TypeAlias

from backends.types import JsonObject
from tests.sim.engine import Asked, Hardware

SECONDS = 60.0
FOUR = (Hardware(),) * 4

Arrival: TypeAlias = "tuple[float, Asked]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """name, what it stands for, who comes when (seconds, in order), and the engines that serve."""

    name: str
    about: str
    arrivals: Sequence[Arrival]
    engines: tuple[Hardware, ...]


Make: TypeAlias = Callable[[str, Random], Trace]


def traces(seed: int = 0) -> Iterator[Trace]:
    """All of them. seed: another one gives other texts and times of the same kind."""
    for name, make in TRACES.items():
        yield make(name, Random(f"{name} {seed}"))


def _trace(about: str, come: Callable[[Random], Iterable[Arrival]], engines: tuple[Hardware, ...] = FOUR) -> Make:
    def make(name: str, random: Random) -> Trace:
        return Trace(name=name, about=about, arrivals=sorted(come(random), key=itemgetter(0)), engines=engines)

    return make


def _words(random: Random, low: int, high: int) -> str:
    """Text of low to high bytes, unlike any other."""
    return random.randbytes(random.randint(low, high) // 2).hex()


def _asked(random: Random, system: str, question: str, session: str | None = None) -> Asked:
    messages: list[JsonObject] = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    return Asked(messages=messages, reply=_words(random, 240, 800), session=session)


def _arrivals(random: Random, rate: float, seconds: float = SECONDS) -> Iterator[float]:
    """Times of a Poisson process."""
    now = random.expovariate(rate)
    while now < seconds:
        yield now
        now += random.expovariate(rate)


def _zipf(count: int) -> list[float]:
    return list(itertools.accumulate(1 / (rank + 1) for rank in range(count)))


def _shared(random: Random, rate: float, prompts: int = 60) -> Iterator[Arrival]:
    systems = [_words(random, 4000, 12000) for _ in range(prompts)]
    weights = _zipf(prompts)
    for now in _arrivals(random, rate):
        system = random.choices(systems, cum_weights=weights)[0]
        yield now, _asked(random, system, _words(random, 200, 800))


def _chats(random: Random, rate: float, *, keyed: bool = False) -> Iterator[Arrival]:
    system = _words(random, 2000, 2000)
    for number, now in enumerate(_arrivals(random, rate)):
        yield now, _conversation(random, system, f"chat {number}" if keyed else None)


def _conversation(random: Random, system: str, session: str | None) -> Asked:
    first = turn = _asked(random, system, _words(random, 200, 2000), session)
    for _ in range(random.randint(2, 7)):
        said: list[JsonObject] = [
            *turn.messages,
            {"role": "assistant", "content": turn.reply},
            {"role": "user", "content": _words(random, 200, 2000)},
        ]
        following = Asked(messages=said, reply=_words(random, 240, 1200), session=session)
        turn.then = (random.uniform(1, 6), following)
        turn = following
    return first


def _documents(random: Random, rate: float) -> Iterator[Arrival]:
    system = _words(random, 1000, 1000)
    for now in _arrivals(random, rate):
        document = _words(random, 8000, 40000)
        asked = [_asked(random, system, document + _words(random, 100, 300)) for _ in range(random.randint(1, 3))]
        for one, other in itertools.pairwise(asked):
            one.then = (random.uniform(1, 6), other)
        yield now, asked[0]


def _bursts(random: Random) -> Iterator[Arrival]:
    system = _words(random, 600, 600)
    for start in range(0, int(SECONDS), 6):
        for now in _arrivals(random, 12, 5):
            yield start + now, _asked(random, system, _words(random, 400, 2400))
        for now in _arrivals(random, 130, 1):
            yield start + 5 + now, _asked(random, system, _words(random, 400, 2400))


def _hot(random: Random, rate: float, part: float = 2 / 3, size: int = 8000) -> Iterator[Arrival]:
    hot = _words(random, size, size)
    for now in _arrivals(random, rate):
        system = hot if random.random() < part else _words(random, 2000, 8000)
        yield now, _asked(random, system, _words(random, 200, 800))


def _mixed(random: Random, part: float) -> Iterator[Arrival]:
    yield from _shared(random, 26 * part)
    yield from _chats(random, 3.2 * part, keyed=True)
    yield from _documents(random, 1.5 * part)
    yield from _hot(random, 26 * part)


TRACES: Mapping[str, Make] = {
    "system prompts": _trace("60 long system prompts, popular as Zipf has it", lambda random: _shared(random, 26)),
    "chats": _trace("conversations of 3 to 8 turns", lambda random: _chats(random, 3.2)),
    "chats with keys": _trace("the same, each with a session's key", lambda random: _chats(random, 3.2, keyed=True)),
    "documents": _trace(
        "one to three questions on each of many long documents", lambda random: _documents(random, 1.5)
    ),
    "bursts": _trace("short questions that have little in common, every sixth second eleven times as many", _bursts),
    "one hot prompt": _trace("two of three requests begin with the same 8 kB", lambda random: _hot(random, 26)),
    "one long prompt": _trace(
        "nine of ten requests begin with the same 48 kB", lambda random: _hot(random, 26, 0.9, 48000)
    ),
    "mixed": _trace("system prompts, chats, documents and a hot prompt at once", lambda random: _mixed(random, 0.3)),
    "unlike engines": _trace(
        "mixed, two engines of four at half the speed",
        lambda random: _mixed(random, 0.22),
        (*FOUR[:2], Hardware(speed=0.5), Hardware(speed=0.5)),
    ),
    "one slow engine": _trace(
        "system prompts, one engine of four at a quarter of the speed",
        lambda random: _shared(random, 19),
        (*FOUR[:3], Hardware(speed=0.25)),
    ),
    "many engines": _trace("200 long system prompts, 20 engines", lambda random: _shared(random, 120, 200), FOUR * 5),
}
