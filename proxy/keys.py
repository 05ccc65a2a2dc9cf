"""What handlers may reach in the application, by typed key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from backends.types import JsonObject
from proxy.captions.captioner import Captioner
from proxy.captions.closing import Closing
from proxy.chats.chats import Chats
from proxy.contract import Contract
from proxy.events.bus import Bus
from proxy.http.server import Refuse
from proxy.http.users import Users
from proxy.lifecycle.manager import LifecycleManager
from proxy.observability.metrics import Metrics
from proxy.registry.catalog import Shelf
from proxy.registry.live import LiveRegistry
from proxy.routing.dispatch import Dispatcher
from proxy.routing.maintenance import Maintenance
from proxy.routing.reload import Reloader
from proxy.routing.traffic import Traffic
from proxy.settings import Settings
from proxy.storage.database import Database

SETTINGS = web.AppKey("settings", Settings)
DISPATCHER = web.AppKey("dispatcher", Dispatcher)
MAINTENANCE = web.AppKey("maintenance", Maintenance)
RELOADER = web.AppKey("reloader", Reloader)
LIFECYCLE = web.AppKey("lifecycle", LifecycleManager)
METRICS = web.AppKey("metrics", Metrics)
REFUSE = web.AppKey("refuse", Refuse)
TRAFFIC = web.AppKey("traffic", Traffic)
USERS = web.AppKey("users", Users)
STARTED = web.AppKey("started", int)
EVENTS = web.AppKey("events", Bus)
DATABASE = web.AppKey("database", Database)
DIALECTS = web.AppKey("dialects", tuple[Contract, ...])
CATALOG = web.AppKey("catalog", Shelf)
CAPTIONER = web.AppKey("captioner", Captioner)
CLOSING = web.AppKey("closing", Closing)
CHATS = web.AppKey("chats", Chats)
# One path, two contracts: what answers `/tokenize` where the body has `inputs`.
TOKENIZE_INPUTS: web.AppKey[Callable[[web.Request, JsonObject], Awaitable[web.StreamResponse]]] = web.AppKey(
    "tokenize_inputs"
)
REGISTRY = web.AppKey("registry", LiveRegistry)
