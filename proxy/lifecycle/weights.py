"""How big a model's weights are that are on this machine already."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from backends.base import ModelSpec


def weights_mb(model: ModelSpec) -> float | None:
    """MB of weights, None where they are yet to be fetched. Blocks.

    Raises NotCached when they are not here, and the hub is not to be asked (HF_HUB_OFFLINE).
    """
    # Imported with the first model of this process: the hub's client is of no use to a proxy of remote engines.
    hub = import_module("backends.inprocess.hub").Hub()
    found = cast("int | None", hub.weights(model))
    return None if found is None else found / 1e6
