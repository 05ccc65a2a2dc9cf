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
from proxy.http.once import FLIGHTS, Flights
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
from proxy.storage.location import Postgres, locate


def build_app(settings: Settings, registry: Registry, create: Create = backends.create) -> web.Application:
    """The application; nothing runs before it is started. create: makes the backend of an engine."""
    keys = Keys((key.get_secret_value() for key in settings.api_keys), registry.keys.values())
    app = _door(settings, keys)
    _add_storage(app, settings)
    _add_engines(app, settings, registry, keys, Engines(registry.engines, create))
    _add_users(app, settings, keys)
    _add_captions(app, settings)
    _add_figures(app)
    for contract in CONTRACTS:
        app.add_routes(contract.routes())
    _begin_and_end(app)
    return app


def _door(settings: Settings, keys: Keys) -> web.Application:
    """What every request passes, whatever its path."""

    @lru_cache(maxsize=1024)
    def dialect_of(path: str) -> Dialect:
        return contract_of(path, CONTRACTS)

    traffic = Traffic()
    metrics = Metrics(traffic.in_flight)
    operators = Operators((key.get_secret_value() for key in settings.admin_keys), alone=settings.loopback and not keys)
    watch = observe(dialect_of, metrics, AccessLog(settings.log_level, settings.log_format))
    render = render_errors(dialect_of, traffic.was_cut)
    app = web.Application(
        client_max_size=int(settings.max_body_mb * 1e6),
        middlewares=[watch, render, authenticate(keys, operators.check, dialect_of)],
    )
    app[SETTINGS] = settings
    app[TRAFFIC] = traffic
    app[METRICS] = metrics
    app[REFUSE] = Refuse(watch, render, ops.CONTRACT.render_error)
    app[PATIENCE] = settings.body_seconds
    app[FLIGHTS] = Flights()
    app[STARTED] = int(time.time())
    app[DIALECTS] = CONTRACTS
    app[TOKENIZE_INPUTS] = tgi.tokenize
    return app


def _add_storage(app: web.Application, settings: Settings) -> None:
    """What is kept, what is known, and what is told to whoever listens."""
    app[DATABASE] = Database(locate(settings))
    app[CATALOG] = Shelf()
    app[EVENTS] = Bus(first_number(int(time.time() * 1000), secrets.randbelow(SERVERS)), SERVERS)


def _add_engines(app: web.Application, settings: Settings, registry: Registry, keys: Keys, engines: Engines) -> None:
    """What serves models, what finds it, and what exchanges it while requests run."""
    publish, consult = app[EVENTS].publish, app[CATALOG].open
    lifecycle = LifecycleManager(engines, rules_of(settings), publish=publish, facts=consult)
    dispatcher = Dispatcher(Router(registry), engines, lifecycle, app[TRAFFIC], app[METRICS], queue_rules(settings))

    def serve(models: Registry) -> None:
        left = gone(dispatcher.router.registry, models)
        dispatcher.serve_from(models)
        keys.accept(models.keys.values())
        for name in left:
            lifecycle.drop(name)

    live = LiveRegistry(registry, app[DATABASE], serve)
    app[LIFECYCLE] = lifecycle
    app[DISPATCHER] = dispatcher
    app[REGISTRY] = live
    app[RELOADER] = Reloader(settings, registry, engines, lifecycle, live, dispatcher.fleet, app[METRICS])
    app[MAINTENANCE] = Maintenance(dispatcher.fleet, engines, lifecycle, lambda: dispatcher.router.registry)
    app.cleanup_ctx.append(lambda app: _run_engines(app, engines))


def _add_users(app: web.Application, settings: Settings, keys: Keys) -> None:
    """Who asks, and what is kept for them."""
    app[USERS] = make_users(settings, keys)
    app[CHATS] = Chats(Stored(app[DATABASE], CHAT_STORE), most=settings.max_chats, days=settings.chat_days)
    app[SESSIONS] = Sessions(
        Stored(app[DATABASE], STORE),
        Chosen(lambda: app[DISPATCHER].router, app[LIFECYCLE]),
        app[CATALOG].open,
        keyed=bool(keys),
        idle=settings.session_idle_seconds,
        most=settings.max_sessions,
    )


def _add_captions(app: web.Application, settings: Settings) -> None:
    """Live captions, and how the end of a session is told; proxies on one PostgreSQL database hear of each other's events."""
    app[CAPTIONER] = Captioner(max_streams=settings.max_caption_streams, max_seconds=settings.max_caption_seconds)
    app[CLOSING] = Closing(app[CAPTIONER], app[EVENTS].publish)
    place = locate(settings)
    if isinstance(place, Postgres):
        replicas = Replicas(place, app[EVENTS], Closing(app[CAPTIONER], app[EVENTS].hear))
        app.on_startup.append(lambda _: replicas.start())
        app.on_cleanup.append(lambda _: replicas.stop())


def _add_figures(app: web.Application) -> None:
    """What metrics show of the rest."""
    metrics, dispatcher = app[METRICS], app[DISPATCHER]
    show_loads(metrics, dispatcher.fleet)
    show_health(metrics, dispatcher.fleet, dispatcher.attempts)
    metrics.watch("switchboard_listeners", "WebSockets that hear events.", lambda: app[EVENTS].listeners)
    metrics.watch("switchboard_caption_streams", "Audio streams captioned live.", lambda: app[CAPTIONER].streams)


def _begin_and_end(app: web.Application) -> None:
    """What starts with the application, and what ends with it; engines do so before all of this."""
    app.on_startup.append(lambda app: app[REGISTRY].start())
    app.on_startup.append(lambda app: app[CHATS].start())
    app.on_cleanup.append(lambda app: app[CAPTIONER].close())
    app.on_cleanup.append(lambda app: app[CHATS].close())
    app.on_cleanup.append(lambda app: app[REGISTRY].close())
    app.on_cleanup.append(lambda app: app[DATABASE].close())
    app.on_cleanup.append(lambda app: app[USERS].close())


async def _run_engines(app: web.Application, engines: Engines) -> AsyncIterator[None]:
    """Preload what asks for it while the door is already open; close everything at the end."""
    lifecycle = app[LIFECYCLE]
    await lifecycle.start()
    app[DISPATCHER].watchdog.start()
    asking = asyncio.create_task(_scraper(app[DISPATCHER]).run(), name="gauges")
    preloading = asyncio.create_task(_preload(app), name="preload")
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


async def _preload(app: web.Application) -> None:
    entries = preloaded(app[DISPATCHER].router.registry, app[DISPATCHER].fleet.drained)
    app[TRAFFIC].preloading = bool(entries)
    await preload(app[LIFECYCLE], entries)
    app[TRAFFIC].preloading = False
