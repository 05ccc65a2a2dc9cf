"""What can go wrong behind the door, in few words; each contract dresses them its own way."""

from __future__ import annotations


class BackendError(Exception):
    """An engine or pipeline could not serve a request.

    message: one sentence for the caller: what was wrong, with which value, what to do. Never an engine's
    raw exception text. retry_after: seconds after which a retry is sensible, or None.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class Unavailable(BackendError):
    """Nothing answers there: refused, unreachable, not loaded and not loadable. The request was not executed."""


class NotFound(Unavailable):
    """The hub has no such model or no such revision of it, or hides it."""


class NotCached(Unavailable):
    """The model's files are not on this machine and could not be fetched."""


class Licensed(Unavailable):
    """The model's files are behind a licence that this server's account has not been granted."""


class NoDevice(Unavailable):
    """The device or the arithmetic asked for is not there, or not for this model."""


class LoadTimedOut(Unavailable):
    """A load took longer than loads may take, and was given up."""


class OutOfMemory(Unavailable):
    """The model needs more memory than there is. Figures in MB, None = not known; alternatives: models that fit."""

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        required_mb: float | None = None,
        available_mb: float | None = None,
        suggestions: tuple[str, ...] = (),
        alternatives: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.required_mb = required_mb
        self.available_mb = available_mb
        self.suggestions = suggestions
        self.alternatives = alternatives


class TimedOut(BackendError):
    """The engine accepted the request and then said nothing for too long: for `waited` seconds."""

    def __init__(self, message: str, *, retry_after: float | None = None, waited: float = 0.0) -> None:
        super().__init__(message, retry_after=retry_after)
        self.waited = waited


class Broken(BackendError):
    """The engine answered, but with a reset, garbage, or an answer cut short."""


class Overloaded(BackendError):
    """The engine or its queue is full; the request was not executed."""


class Invalid(BackendError):
    """The request itself is wrong for this model. param: dotted path of the offending field, if one is to blame."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class Unsupported(Invalid):
    """This engine cannot honour an option that the request names in param."""


class MediaRefused(Invalid):
    """The uploaded file is not audio of an accepted container (too_large: it is, but longer or bigger than allowed)."""

    def __init__(self, message: str, *, param: str | None = "file", too_large: bool = False) -> None:
        super().__init__(message, param=param)
        self.too_large = too_large


class Rejected(BackendError):
    """A remote engine answered with an error status of its own.

    status: as the engine sent it; body: its first bytes (bounded), content_type as sent.
    """

    def __init__(
        self, message: str, *, status: int, body: bytes, content_type: str, retry_after: float | None = None
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.status = status
        self.body = body
        self.content_type = content_type
