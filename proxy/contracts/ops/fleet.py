"""Engines as operators see them."""

from __future__ import annotations

from backends.base import EngineSpec
from backends.types import JsonObject
from proxy.lifecycle.places import Place
from proxy.registry.models import Registry
from proxy.routing.dispatch import engines_of
from proxy.routing.fleet import Fleet
from proxy.routing.maintenance import Maintenance
from proxy.routing.replica import Replica


def engine_object(
    spec: EngineSpec, registry: Registry, fleet: Fleet, maintenance: Maintenance, now: float
) -> JsonObject:
    """An engine. now: on the loop's clock."""
    replicas, places = fleet.replicas(spec.name), maintenance.places(spec.name)
    told: JsonObject = {
        "name": spec.name,
        "kind": spec.kind,
        "models": [entry.name for entry in registry.models if spec.name in engines_of(entry)],
        "draining": spec.name in fleet.drained,
        "in_flight": maintenance.in_flight(spec.name),
    }
    if replicas:
        told["replicas"] = [replica_object(each, now) for each in replicas]
    if spec.launch is not None:
        told["asleep"] = maintenance.asleep(spec.name)
    if spec.launch is not None or not replicas:
        told["loaded"] = [place_object(place) for place in places]
    return told


def replica_object(replica: Replica, now: float) -> JsonObject:
    """One base URL of an engine elsewhere. refused: names that it is not asked for, and why."""
    health = replica.health.report(now)
    return {
        "name": replica.name,
        "engine": replica.engine,
        "url": replica.url,
        "in_flight": replica.in_flight,
        "draining": replica.draining,
        "health": {
            "state": health.state.value,
            "reason": health.reason,
            "seconds": round(max(0.0, now - health.since), 1) if health.since else None,
            "next_trial_seconds": None if health.next_trial is None else round(health.next_trial, 1),
        },
        "refused": {**replica.identity.wrong},
        "requests": replica.served,
        "figures": figures_object(replica, now),
    }


def figures_object(replica: Replica, now: float) -> JsonObject | None:
    """What its engine said last of how busy it is; None = it has said nothing."""
    reading = replica.standing.reading
    if reading is None:
        return None
    said = reading.gauges
    return {
        "waiting": said.waiting,
        "running": said.running,
        "cache": said.kv,
        "seconds": round(max(0.0, now - reading.at), 1),
    }


def place_object(place: Place) -> JsonObject:
    """A model of this process, or an engine that is started here, or an adapter on it."""
    standing = place.attempt.standing if place.attempt is not None else None
    return {
        "model": place.entry.name,
        "state": place.state.value,
        "percent": None if standing is None else standing.percent,
        "error": None if place.error is None else place.error.message,
        "in_flight": place.busy,
        "waiting": place.wanted,
        "memory_mb": place.memory_mb,
        "device": place.device,
    }
