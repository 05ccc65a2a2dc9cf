"""Errors of tasks in the words of who asked for them: models that they chose, and media inside JSON."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from backends.errors import MediaRefused, NotCached
from proxy.errors import ApiError, ErrorCode


@contextmanager
def told_absent() -> Iterator[None]:
    """Tell of a model that is neither here nor to be fetched as of one that there is not: 404.

    Whether the hub has it is not known while the hub is away or not to be asked, and here it is not. Raises MODEL_NOT_FOUND.
    """
    try:
        yield
    except NotCached as error:
        raise ApiError(ErrorCode.MODEL_NOT_FOUND, error.message, param="model") from error


@contextmanager
def told_inside() -> Iterator[None]:
    """Tell of media that cannot be read as of any wrong value: the body that they came in is of the right type. Raises INVALID."""
    try:
        yield
    except MediaRefused as error:
        if error.too_large:
            raise
        raise ApiError(ErrorCode.INVALID, error.message, param=error.param) from error
