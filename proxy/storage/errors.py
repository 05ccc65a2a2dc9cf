"""What the database may do to a request."""

from __future__ import annotations

from proxy.errors import ApiError, ErrorCode

RETRY_SECONDS = 2


class StorageUnavailable(ApiError):
    """The database cannot be reached, or cannot take the work now: 503, and nothing was kept."""

    def __init__(self) -> None:
        message = "The database cannot be reached right now; try again in a moment."
        super().__init__(ErrorCode.UNAVAILABLE, message, retry_after=RETRY_SECONDS)


class Unstorable(ApiError):
    """A text that not every database can keep: 400."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.INVALID, "A text of the request holds a NUL character (\\u0000); leave it out.")
