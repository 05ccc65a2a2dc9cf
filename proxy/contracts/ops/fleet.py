"""Engines as operators see them."""

from __future__ import annotations

from collections.abc import Iterable

from backends.base import EngineSpec
from backends.types import JsonObject
from proxy.lifecycle.places import Place
from proxy.registry.models import Registry
from proxy.routing.fleet import Fleet, Replica


def engine_object(
    spec: EngineSpec, registry: Registry, fleet: Fleet, places: Iterable[Place], now: float
) -> JsonObject:
    """An engine. places: what is known of its models, if it is one of this process; now: on the loop's clock."""
    served = [
        entry.name
        for entry in registry.models
        if spec.name in (entry.engine, *(target.engine for target in entry.targets))
    ]
    replicas = fleet.replicas(spec.name)
    drained = all(each.draining for each in replicas) if replicas else spec.name in fleet.drained
    told: JsonObject = {"name": spec.name, "kind": spec.kind, "models": [*served], "draining": drained}
    if replicas:
        told["replicas"] = [replica_object(each, now) for each in replicas]
    else:
        told["loaded"] = [place_object(place) for place in places]
    return told


def replica_object(replica: Replica, now: float) -> JsonObject:
    """One base URL of an engine elsewhere."""
    return {
        "name": replica.name,
        "engine": replica.engine,
        "url": replica.url,
        "in_flight": replica.in_flight,
        "draining": replica.draining,
    }


def place_object(place: Place) -> JsonObject:
    """A model of this process."""
    return {
        "model": place.entry.name,
        "state": place.state.value,
        "in_flight": place.busy,
        "waiting": place.wanted,
        "memory_mb": place.memory_mb,
        "device": place.device,
    }
