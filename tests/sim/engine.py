"""An engine in virtual time: continuous batching with chunked prefill, and a prefix cache of limited blocks (as vLLM has)."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from backends.types import JsonObject

TOKEN = 4
"""Bytes of text that make one token."""
BLOCK = 16
"""Tokens of a block of the cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What an engine does per second, and has room for. Times in seconds; cache in blocks; speed scales all of it."""

    speed: float = 1.0
    prefill: float = 8000.0
    step: float = 0.006
    step_per_sequence: float = 0.00035
    step_tokens: int = 2048
    sequences: int = 64
    cache: int = 4096


@dataclass(eq=False, kw_only=True)
class Asked:
    """One request of a trace. reply: what the engine will say; then: what the client asks next, so many seconds after that."""

    messages: list[JsonObject]
    reply: str
    session: str | None = None
    then: tuple[float, Asked] | None = None

    @cached_property
    def text(self) -> bytes:
        """The conversation as a chat template writes it."""
        return b"".join(f"<{each['role']}>{each['content']}".encode() for each in self.messages) + b"<assistant>"

    @cached_property
    def prompt_tokens(self) -> int:
        """Of the conversation."""
        return len(self.text) // TOKEN

    @cached_property
    def output_tokens(self) -> int:
        """Of the reply."""
        return max(1, len(self.reply) // TOKEN)

    @cached_property
    def blocks(self) -> tuple[int, ...]:
        """The whole blocks of conversation and reply, each hashed with all before it."""
        size, text, chain, hashes = BLOCK * TOKEN, self.text + self.reply.encode(), 0, []
        for start in range(0, len(text) - size + 1, size):
            chain = hash((chain, text[start : start + size]))
            hashes.append(chain)
        return tuple(hashes)


@dataclass(slots=True, eq=False)
class Served:
    """A request at an engine. cached: tokens of its prompt that needed no computing."""

    asked: Asked
    arrived: float
    cached: int = 0
    computed: int = 0
    generated: int = 0
    held: list[int] = field(default_factory=list)
    private: int = 0
    first_token_at: float | None = None
    ended_at: float | None = None


class Cache:
    """Blocks by hash; those nobody uses go in the order in which they were let go, ends of prompts first."""

    def __init__(self, size: int) -> None:
        self._free_space = size
        self._used: dict[int, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()
        self.size = size

    @property
    def usage(self) -> float:
        """The part that running requests hold, 0 to 1."""
        return 1 - (self._free_space + len(self._idle)) / self.size

    def matched(self, blocks: Sequence[int]) -> int:
        """How many of the blocks, from the first on, are there."""
        for number, block in enumerate(blocks):
            if block not in self._used and block not in self._idle:
                return number
        return len(blocks)

    def take(self, blocks: Sequence[int], private: int) -> bool:
        """Hold these blocks and `private` more that nobody can share; False when there is no room."""
        idle = sum(block in self._idle for block in blocks)
        fresh = sum(block not in self._used for block in blocks) - idle + private
        if fresh > self._free_space + len(self._idle) - idle:
            return False
        for block in blocks:
            self._used[block] = self._used.get(block, 0) + 1
            self._idle.pop(block, None)
        while fresh > self._free_space:
            self._idle.popitem(last=False)
            self._free_space += 1
        self._free_space -= fresh
        return True

    def give_back(self, blocks: Sequence[int], private: int) -> None:
        """Hold them no more."""
        self._free_space += private
        for block in reversed(blocks):
            self._used[block] -= 1
            if not self._used[block]:
                del self._used[block]
                self._idle[block] = None


class Engine:
    """Takes requests, and does one step at a time: who drives it calls step() when the one before has ended."""

    def __init__(self, hardware: Hardware) -> None:
        self.hardware = hardware
        self.cache = Cache(hardware.cache)
        self.waiting: deque[Served] = deque()
        self.running: list[Served] = []

    def submit(self, served: Served) -> None:
        """A request has come."""
        self.waiting.append(served)

    def step(self) -> tuple[float, list[Served], list[Served]]:
        """The next step: how long it takes, whose first token it makes, and who ends with it. Zero seconds = nothing to do."""
        hardware = self.hardware
        room = hardware.step_tokens
        decoding = [each for each in self.running if each.computed >= each.asked.prompt_tokens]
        room -= len(decoding)
        prefilled = 0
        first: list[Served] = []
        for each in self.running:
            if room > 0 and each.computed < each.asked.prompt_tokens:
                room, prefilled = self._prefill(each, room, prefilled, first)
        while self.waiting and room > 0 and len(self.running) < hardware.sequences and self._admit(self.waiting[0]):
            each = self.waiting.popleft()
            self.running.append(each)
            room, prefilled = self._prefill(each, room, prefilled, first)
        if not decoding and not prefilled:
            return 0.0, [], []
        for each in (*decoding, *first):
            each.generated += 1
        ended = [each for each in self.running if each.generated >= each.asked.output_tokens]
        for each in ended:
            self.running.remove(each)
            self.cache.give_back(each.held, each.private)
        seconds = hardware.step + hardware.step_per_sequence * len(decoding) + prefilled / hardware.prefill
        return seconds / hardware.speed, first, ended

    def _admit(self, served: Served) -> bool:
        asked, blocks = served.asked, served.asked.blocks
        whole = asked.prompt_tokens // BLOCK
        matched = min(self.cache.matched(blocks[:whole]), (asked.prompt_tokens - 1) // BLOCK)
        private = -(-(asked.prompt_tokens + asked.output_tokens) // BLOCK) - len(blocks)
        if not self.cache.take(blocks, max(0, private)):
            return False
        served.held, served.private = list(blocks), max(0, private)
        served.cached = served.computed = matched * BLOCK
        return True

    @staticmethod
    def _prefill(served: Served, room: int, prefilled: int, first: list[Served]) -> tuple[int, int]:
        now = min(room, served.asked.prompt_tokens - served.computed)
        served.computed += now
        if served.computed >= served.asked.prompt_tokens:
            first.append(served)
        return room - now, prefilled + now
