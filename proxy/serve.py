"""Listen, say so, and leave gracefully."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
from importlib import import_module
from pathlib import Path

import structlog
import uvloop
from aiohttp import web
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy

from backends import REMOTE
from backends.inprocess.cuda import device_count
from proxy.address import Address
from proxy.app import build_app
from proxy.hello import hello
from proxy.http.server import Limits, Runner
from proxy.keys import REFUSE, RELOADER, SETTINGS, TRAFFIC
from proxy.observability.logging import configure_logging
from proxy.registry.models import Registry
from proxy.settings import Settings

KEEPALIVE_SECONDS = 75
# A request leaves some dozens of objects: looking for cycles every 700 of them, as Python does, costs 3 % of its CPU time.
GC_THRESHOLDS = (10_000, 10, 10)
# After the drain: how long handlers have to tell their clients that they were cut.
SHUTDOWN_SECONDS = 1


class StartError(Exception):
    """The process cannot start as asked."""


def serve(settings: Settings, registry: Registry, *, greet: bool = False) -> None:
    """Run until SIGTERM or SIGINT; a second SIGINT does not wait for running requests. SIGHUP reads the configuration anew.

    Raises StartError.
    """
    configure_logging(settings.log_level, settings.log_format)
    _check_parser()
    _allow_files(settings.max_connections)
    _check_device(settings, registry)
    _check_token_keys(settings)
    uvloop.run(_serve(settings, registry, greet))


async def _serve(settings: Settings, registry: Registry, greet: bool) -> None:
    log = structlog.get_logger("serve")
    app = build_app(settings, registry)
    runner = make_runner(app)
    await runner.setup()
    # What exists now stays: full collections, which stop every stream, need not look at it again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    started_in_terminal = _in_terminal()

    def hang_up() -> None:
        # A terminal that is closed says so by the same signal, and what was started in it ends.
        closed = started_in_terminal and not _in_terminal()
        stop.set() if closed else app[RELOADER].soon()

    loop.add_signal_handler(signal.SIGHUP, hang_up)
    try:
        for address in settings.listen:
            await _listen(runner, address)
        addresses = [f"http://{Address(host, port)}" for host, port, *_ in runner.addresses]
        log.info("listening", addresses=addresses, models=[entry.name for entry in registry.models])
        if greet:
            print(hello(addresses[0], registry, keyed=bool(settings.api_keys or registry.keys)), flush=True)
        await stop.wait()
        loop.remove_signal_handler(signal.SIGINT)
        log.info("draining", seconds=settings.drain_seconds)
        if not await app[TRAFFIC].drain(settings.drain_seconds):
            log.warning("requests cut at the drain deadline")
            await app[TRAFFIC].cut()
    finally:
        await runner.cleanup()
    log.info("stopped")


def _in_terminal() -> bool:
    """Whether the process has a controlling terminal, open."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def make_runner(app: web.Application) -> web.AppRunner:
    """The server around build_app's application."""
    settings = app[SETTINGS]
    limits = Limits(settings.head_seconds, settings.max_connections, KEEPALIVE_SECONDS)
    return Runner(app, app[REFUSE], limits, SHUTDOWN_SECONDS)


async def _listen(runner: web.AppRunner, address: Address) -> None:
    try:
        await web.TCPSite(runner, address.host, address.port, backlog=1024).start()
    except OSError as error:
        reason = error.strerror or error
        raise StartError(f"cannot listen on {address}: {reason}. Choose another with SWITCHBOARD_LISTEN.") from error


def _check_parser() -> None:
    # aiohttp's pure-Python parser has a history of request smuggling that its C parser has not.
    if HttpRequestParser is HttpRequestParserPy:
        raise StartError("aiohttp was installed without its C extensions; reinstall it from a wheel.")


def _allow_files(connections: int) -> None:
    """Take as many file descriptors as connections may need: one to the client, one to its engine, some besides."""
    wanted = 2 * connections + 256
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        structlog.get_logger("serve").warning("too few file descriptors for all connections", have=hard, wanted=wanted)


def _check_token_keys(settings: Settings) -> None:
    """Refuse a file of token keys that is not there, or of no use; a URL may come up later."""
    source = settings.jwt_jwks
    if source is None or "://" in source:
        return
    try:
        import_module("proxy.http.jwks").parse_jwks(Path(source).read_bytes())
    except (OSError, ValueError) as error:
        raise StartError(f"SWITCHBOARD_JWT_JWKS={source}: {getattr(error, 'strerror', None) or error}.") from error


def _check_device(settings: Settings, registry: Registry) -> None:
    """Refuse `cuda` without CUDA; say so where `auto` means the CPU."""
    if settings.lx_device == "cpu" or device_count():
        return
    if settings.lx_device == "cuda":
        raise StartError("LX_DEVICE=cuda, but no CUDA device is usable here. Set LX_DEVICE=auto to serve on the CPU.")
    if any(registry.engines[entry.engine].kind not in REMOTE for entry in registry.models):
        structlog.get_logger("serve").info("no CUDA device: models of this process run on the CPU")
