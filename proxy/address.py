"""Where to listen: `host:port`, an IPv6 address in brackets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

_WRITTEN = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[A-Za-z0-9.-]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Address:
    """A host (an address, or a name) and a port; port 0 = any free one."""

    host: str
    port: int

    @classmethod
    def read(cls, text: str) -> Address:
        """The address that text is. Raises ValueError with the way to write one.

        >>> Address.read("[::1]:8080").host, str(Address.read("127.0.0.1:80"))
        ('::1', '127.0.0.1:80')
        """
        found = _WRITTEN.fullmatch(text)
        if found is None or int(found["port"]) > 65535:
            raise ValueError(f"{text!r} is no address: write host:port, as 127.0.0.1:8080 or [::1]:8080")
        if found["v6"] is not None:
            IPv6Address(found["v6"])
        elif re.fullmatch("[0-9.]+", found["host"]):
            IPv4Address(found["host"])
        return cls(found["v6"] or found["host"], int(found["port"]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, for this machine alone. Other names than localhost are not looked up."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
