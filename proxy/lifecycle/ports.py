"""Where engines that are started here listen: a free port of this machine each, which is nobody else's from then on."""

from __future__ import annotations

import re
import socket
from dataclasses import replace

from backends.base import EngineSpec
from backends.launch import Container

LOOPBACK = "127.0.0.1"


class Ports:
    """Holds the ports, one by the name of each engine, by sockets that are bound and do not listen.

    A server that sets SO_REUSEADDR, as all do, may listen where such a socket is bound; the kernel gives the port to nobody
    who asks for any. So an engine has the same address whenever it is started, and its connections' owner need not be told.
    """

    def __init__(self) -> None:
        self._held: dict[str, socket.socket] = {}

    def addressed(self, spec: EngineSpec) -> EngineSpec:
        """The engine with its base URL; as it is, where it has one or is not started here. Raises OSError without a port."""
        if spec.launch is None or spec.urls:
            return spec
        by = spec.launch.by
        if isinstance(by, Container) and by.network is not None:
            return replace(spec, urls=(f"http://{container_name(spec.name)}:{by.port}",))
        if spec.name not in self._held:
            self._held[spec.name] = _bound()
        return replace(spec, urls=(f"http://{LOOPBACK}:{self._held[spec.name].getsockname()[1]}",))

    def close(self) -> None:
        """Give the ports back."""
        for held in self._held.values():
            held.close()
        self._held.clear()


def container_name(engine: str) -> str:
    """What the container of an engine is called, which is its name in its network, too."""
    return "switchboard-" + re.sub(r"[^a-zA-Z0-9_.-]", "-", engine)


def _bound() -> socket.socket:
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind((LOOPBACK, 0))
    return held
