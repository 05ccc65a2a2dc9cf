"""Registered models as this contract writes them."""

from __future__ import annotations

from datetime import UTC, datetime

from backends.types import JsonObject
from proxy.registry.live import Listing
from proxy.registry.rows import Model


def moment(time: datetime) -> str:
    """UTC, to the microsecond.

    >>> moment(datetime(2025, 6, 26, 21, 45, tzinfo=UTC))
    '2025-06-26T21:45:00.000000'
    """
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")


def model_object(model: Model) -> JsonObject:
    """A model with all its fields."""
    return {
        "model_id": model.model_id,
        "name": model.name,
        "model_type": model.model_type,
        "description": model.description,
        "parameters": dict(model.parameters),
        "added_date": moment(model.added),
        "last_used": None if model.last_used is None else moment(model.last_used),
        "usage_count": model.usage_count,
        "status": model.status,
    }


def model_info(model: Model) -> JsonObject:
    """The three fields that tell which model answered."""
    return {"model_id": model.model_id, "name": model.name, "model_type": model.model_type}


def models_data(listing: Listing) -> JsonObject:
    """The whole registry, as removing a model answers it."""
    models: JsonObject = {"models": [model_object(model) for model in listing.models]}
    return {**models, "last_updated": moment(listing.changed), "count": len(listing.models)}
