"""The one page that wires everything."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from functools import lru_cache

from aiohttp import web

import backends
from proxy.captions.captioner import Captioner
from proxy.captions.closing import Closing
from proxy.chats.chats import CHAT_STORE, Chats
from proxy.contract import contract_of
from proxy.contracts import CONTRACTS, ops, tgi
from proxy.events.bus import SERVERS, Bus, first_number
from proxy.events.replicas import Replicas
from proxy.http.auth import Keys, authenticate
from proxy.http.body import PATIENCE
from proxy.http.dialect import Dialect
from proxy.http.errors import render_errors
from proxy.http.observe import observe
from proxy.http.operators import Operators
from proxy.http.server import Refuse
from proxy.http.sessions import SESSIONS
from proxy.http.users import make_users
from proxy.keys import (
    CAPTIONER,
    CATALOG,
    CHATS,
    CLOSING,
    DATABASE,
    DIALECTS,
    DISPATCHER,
    EVENTS,
    LIFECYCLE,
    MAINTENANCE,
    METRICS,
    REFUSE,
    REGISTRY,
    RELOADER,
    SETTINGS,
    STARTED,
    TOKENIZE_INPUTS,
    TRAFFIC,
    USERS,
)
from proxy.lifecycle.engines import Create, Engines
from proxy.lifecycle.manager import LifecycleManager
from proxy.lifecycle.preloading import preload, preloaded
from proxy.lifecycle.rules import rules_of
from proxy.observability.logging import AccessLog
from proxy.observability.metrics import Metrics
from proxy.registry.catalog import Shelf
from proxy.registry.live import LiveRegistry
from proxy.registry.models import Registry
from proxy.registry.rows import gone
from proxy.routing.dispatch import Dispatcher
from proxy.routing.figures import show_health
from proxy.routing.gauges import Scraper
from proxy.routing.lines import queue_rules
from proxy.routing.loads import show_loads
from proxy.routing.maintenance import Maintenance
from proxy.routing.reload import Reloader
from proxy.routing.router import Router
from proxy.routing.traffic import Traffic
from proxy.sessions.chosen import Chosen
from proxy.sessions.sessions import STORE, Sessions
from proxy.settings import Settings
from proxy.storage.database import Database, Stored
from proxy.storage.location import Location, Postgres, locate


def build_app(settings: Settings, registry: Registry, create: Create = backends.create) -> web.Application:
    """The application; nothing runs before it is started. create: makes the backend of an engine."""

    @lru_cache(maxsize=1024)
    def dialect_of(path: str) -> Dialect:
        return contract_of(path, CONTRACTS)

    events = Bus(first_number(int(time.time() * 1000), secrets.randbelow(SERVERS)), SERVERS)
    place = locate(settings)
    database = Database(place)
    traffic = Traffic()
    metrics = Metrics(traffic.in_flight)
    engines = Engines(registry.engines, create)
    shelf = Shelf()
    lifecycle = LifecycleManager(engines, rules_of(settings), publish=events.publish, facts=shelf.open)
    dispatcher = Dispatcher(Router(registry), engines, lifecycle, traffic, metrics, queue_rules(settings))

    def serve(models: Registry) -> None:
        left = gone(dispatcher.router.registry, models)
        dispatcher.serve_from(models)
        keys.accept(models.keys.values())
        for name in left:
            lifecycle.drop(name)

    keys = Keys((key.get_secret_value() for key in settings.api_keys), registry.keys.values())
    live = LiveRegistry(registry, database, serve)
    operators = Operators((key.get_secret_value() for key in settings.admin_keys), alone=settings.loopback and not keys)

    watch = observe(dialect_of, metrics, AccessLog(settings.log_level, settings.log_format))
    render = render_errors(dialect_of, traffic.was_cut)
    app = web.Application(
        client_max_size=int(settings.max_body_mb * 1e6),
        middlewares=[watch, render, authenticate(keys, operators.check, dialect_of)],
    )
    app[SETTINGS] = settings
    app[METRICS] = metrics
    app[TRAFFIC] = traffic
    app[EVENTS] = events
    app[DATABASE] = database
    app[REFUSE] = Refuse(watch, render, ops.CONTRACT.render_error)
    app[USERS] = make_users(settings, keys)
    app[PATIENCE] = settings.body_seconds
    app[STARTED] = int(time.time())
    app[CATALOG] = shelf
    app[DIALECTS] = CONTRACTS
    app[LIFECYCLE] = lifecycle
    app[DISPATCHER] = dispatcher
    app[MAINTENANCE] = Maintenance(dispatcher.fleet, engines, lifecycle, lambda: dispatcher.router.registry)
    app[RELOADER] = Reloader(settings, registry, engines, lifecycle, live, metrics)
    app[TOKENIZE_INPUTS] = tgi.tokenize
    app[REGISTRY] = live
    app[SESSIONS] = Sessions(
        Stored(database, STORE),
        Chosen(lambda: dispatcher.router, lifecycle),
        shelf.open,
        keyed=bool(keys),
        idle=settings.session_idle_seconds,
        most=settings.max_sessions,
    )
    app[CAPTIONER] = Captioner(max_streams=settings.max_caption_streams, max_seconds=settings.max_caption_seconds)
    _tell_of_sessions(app, place)
    app[CHATS] = Chats(Stored(database, CHAT_STORE), most=settings.max_chats, days=settings.chat_days)
    show_loads(metrics, dispatcher.fleet)
    show_health(metrics, dispatcher.fleet, dispatcher.attempts)
    metrics.watch("switchboard_listeners", "WebSockets that hear events.", lambda: events.listeners)
    metrics.watch("switchboard_caption_streams", "Audio streams captioned live.", lambda: app[CAPTIONER].streams)
    for contract in CONTRACTS:
        app.add_routes(contract.routes())
    _open_and_close(app)
    app.cleanup_ctx.append(lambda app: _run_engines(app, engines, lifecycle))
    return app


def _open_and_close(app: web.Application) -> None:
    """What starts with the application, and what ends with it."""
    app.on_cleanup.append(lambda app: app[CAPTIONER].close())
    app.on_cleanup.append(lambda app: app[CHATS].close())
    app.on_startup.append(lambda app: app[REGISTRY].start())
    app.on_startup.append(lambda app: app[CHATS].start())
    app.on_cleanup.append(lambda app: app[REGISTRY].close())
    app.on_cleanup.append(lambda app: app[DATABASE].close())
    app.on_cleanup.append(lambda app: app[USERS].close())


def _tell_of_sessions(app: web.Application, place: Location) -> None:
    """How the end of a session is told; proxies on one PostgreSQL database hear of each other's events, models' too."""
    app[CLOSING] = Closing(app[CAPTIONER], app[EVENTS].publish)
    if isinstance(place, Postgres):
        replicas = Replicas(place, app[EVENTS], Closing(app[CAPTIONER], app[EVENTS].hear))
        app.on_startup.append(lambda _: replicas.start())
        app.on_cleanup.append(lambda _: replicas.stop())


async def _run_engines(app: web.Application, engines: Engines, lifecycle: LifecycleManager) -> AsyncIterator[None]:
    """Preload what asks for it while the door is already open; close everything at the end."""
    await lifecycle.start()
    app[DISPATCHER].watchdog.start()
    asking = asyncio.create_task(_scraper(app[DISPATCHER]).run(), name="gauges")
    preloading = asyncio.create_task(_preload(app, lifecycle), name="preload")
    yield
    preloading.cancel()
    asking.cancel()
    await asyncio.gather(preloading, asking, return_exceptions=True)
    await app[RELOADER].close()
    await app[MAINTENANCE].close()
    await lifecycle.close()
    await app[DISPATCHER].close()
    await engines.close()


def _scraper(dispatcher: Dispatcher) -> Scraper:
    return Scraper(lambda: dispatcher.router.registry, dispatcher.fleet.replicas)


async def _preload(app: web.Application, lifecycle: LifecycleManager) -> None:
    entries = preloaded(app[DISPATCHER].router.registry)
    app[TRAFFIC].preloading = bool(entries)
    await preload(lifecycle, entries)
    app[TRAFFIC].preloading = False
