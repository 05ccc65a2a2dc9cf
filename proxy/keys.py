"""What handlers may reach in the application, by typed key."""

from __future__ import annotations

from aiohttp import web

from proxy.observability.metrics import Metrics
from proxy.routing.dispatch import Dispatcher
from proxy.routing.drain import Drain
from proxy.settings import Settings

SETTINGS = web.AppKey("settings", Settings)
DISPATCHER = web.AppKey("dispatcher", Dispatcher)
METRICS = web.AppKey("metrics", Metrics)
DRAIN = web.AppKey("drain", Drain)
STARTED = web.AppKey("started", int)
