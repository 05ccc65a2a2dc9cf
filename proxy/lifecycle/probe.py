"""A tiny request, really served: it warms a model up, and shows whether it works."""

from __future__ import annotations

from contextlib import aclosing

from backends.base import Backend, ModelSpec, Probing
from backends.errors import BackendError, Broken


async def run_probe(backend: Backend, model: ModelSpec) -> bool:
    """Serve one; False where the backend knows none for this model. Raises BackendError."""
    if not isinstance(backend, Probing):
        return False
    request = await backend.probe(model)
    if request is None:
        return False
    try:
        async with aclosing(backend.run(model, request)) as events:
            async for _ in events:
                pass
    except BackendError:
        raise
    except Exception as error:
        # Whatever it is, it is what was to be found out.
        raise Broken(f"{model.label} failed at a tiny request; it is damaged, or its engine is.") from error
    return True
