"""What a failure means: whose it is, and which of the contract's model error codes names it."""

from __future__ import annotations

from backends import errors
from backends.errors import BackendError
from proxy.events.values import LoadFailed
from proxy.registry.models import ModelEntry

FAILED_FROM = 500


def is_models_failure(error: BackendError) -> bool:
    """Whether an inference failed by the model's or engine's fault: not by a wrong request, nor for want of a turn."""
    match error:
        case errors.Invalid() | errors.Overloaded():
            return False
        case errors.Rejected():
            return error.status >= FAILED_FROM
        case _:
            return True


def error_code(error: BackendError) -> str:
    """The code of a load's failure in events and statuses (contract 3, "Model Error Codes")."""
    match error:
        case errors.NotFound():
            return "MODEL_NOT_FOUND"
        case errors.NotCached():
            return "DOWNLOAD_REQUIRED"
        case errors.Licensed():
            return "LICENSE_ERROR"
        case errors.NoDevice():
            return "UNSUPPORTED_DEVICE"
        case errors.OutOfMemory():
            return "INSUFFICIENT_MEMORY"
        case errors.LoadTimedOut():
            return "LOADING_TIMEOUT"
        case errors.Broken() | errors.TimedOut():
            return "INFERENCE_ERROR"
        case _:
            # The model, as it is configured, cannot be loaded: damaged, of another kind, or its package is missing.
            return "CONFIGURATION_ERROR"


def failure(entry: ModelEntry, error: BackendError) -> LoadFailed:
    """The event of a load that failed."""
    return LoadFailed(
        model_id=entry.name,
        error_code=error_code(error),
        error_message=error.message,
        required_mb=getattr(error, "required_mb", None),
        available_mb=getattr(error, "available_mb", None),
        suggestions=getattr(error, "suggestions", ()),
    )
