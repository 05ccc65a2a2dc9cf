"""A session as it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from backends.types import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What one client said, and for how long it holds. Times are in UTC.

    owner: digest of the API key that it was made with; "" on a door without keys. said: what differs from the defaults;
    staged: the same after changes that wait for the next connection; None = there are none.
    """

    id: str
    owner: str
    created: datetime
    updated: datetime
    last_seen: datetime
    expires: datetime
    said: JsonObject
    staged: JsonObject | None = None
