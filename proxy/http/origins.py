"""Which web site a page is of: browsers tell it in `Origin`, and let pages send requests to anywhere."""

from __future__ import annotations

from urllib.parse import urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}


def is_own(origin: str, host: str) -> bool:
    """Whether a page of this origin came from the door itself, which is asked as `host`.

    >>> is_own("https://door.example", "door.example:443"), is_own("null", "door.example")
    (True, False)
    """
    try:
        page, own = urlsplit(origin), urlsplit(f"//{host}")
        port = DEFAULT_PORTS.get(page.scheme)
        return page.hostname is not None and (page.hostname, page.port or port) == (own.hostname, own.port or port)
    except ValueError:
        return False
