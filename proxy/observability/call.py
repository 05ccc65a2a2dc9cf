"""What one request did: filled along its way, written once to the log and the metrics at its end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from backends.base import RelayOutcome
from proxy.caller import ANYONE, Caller

CLIENT_GONE = 499


@dataclass(slots=True)
class Call:
    """One request's record. Times are time.monotonic(); status 499 = the client left; tokens None = not told.

    size: of the body in bytes, where it was read; queued: seconds for which it waited for its engine; patient: its client is
    told that it waits while its engine starts, so that it may wait for as long as that takes; session: the key of what belongs
    together, for the cache of the engine that serves it; replica: which of the engine's served; instead_of: the model that was
    asked for, where another stepped in; told: headers of ours for the answer.
    """

    request_id: str
    method: str
    path: str
    contract: str = ""
    model: str = ""
    engine: str = ""
    replica: str = ""
    session: str | None = None
    instead_of: str = ""
    told: dict[str, str] = field(default_factory=dict)
    status: int = 0
    error: str | None = None
    caller: Caller = ANYONE
    safe: bool = False
    patient: bool = False
    size: int = 0
    queued: float = 0.0
    relayed: RelayOutcome | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    first_byte_at: float | None = None
    started: float = field(default_factory=time.monotonic)

    def first_byte(self) -> None:
        """The first byte of the answer is about to be sent."""
        if self.first_byte_at is None:
            self.first_byte_at = time.monotonic()

    def settle(self) -> None:
        """Take over what a relay saw in passing."""
        outcome = self.relayed
        if outcome is None:
            return
        self.first_byte_at = outcome.first_byte_at
        if outcome.usage is not None:
            self.prompt_tokens = outcome.usage.prompt_tokens
            self.completion_tokens = outcome.usage.completion_tokens
        if outcome.error is not None:
            self.error = outcome.error.message
