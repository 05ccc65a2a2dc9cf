"""Every request has an id: the client's own if it is sane, else a new one."""

from __future__ import annotations

import os
import re

HEADER = "X-Request-Id"

_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")


def request_id(sent: str | None) -> str:
    """The id to use, given what the client sent in X-Request-Id.

    >>> request_id("job-7"), len(request_id("two\\nlines"))
    ('job-7', 32)
    """
    return sent if sent is not None and _SANE.fullmatch(sent) else os.urandom(16).hex()
