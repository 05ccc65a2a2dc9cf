"""What goes wrong behind the door, in the door's own words."""

from __future__ import annotations

import pytest

from backends import errors
from backends.errors import BackendError, OutOfMemory
from proxy.errors import ErrorCode, from_backend


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (errors.NotFound("m"), ErrorCode.MODEL_NOT_FOUND, 404),
        (errors.NotCached("m"), ErrorCode.DOWNLOAD_REQUIRED, 503),
        (errors.Licensed("m"), ErrorCode.LICENSE, 403),
        (errors.NoDevice("m"), ErrorCode.UNSUPPORTED_DEVICE, 503),
        (errors.LoadTimedOut("m"), ErrorCode.LOADING_TIMEOUT, 504),
        (errors.Unavailable("m"), ErrorCode.UNAVAILABLE, 503),
        (errors.Broken("m"), ErrorCode.BAD_GATEWAY, 502),
    ],
)
def test_a_load_that_failed_says_of_which_kind_it_is(error: BackendError, code: ErrorCode, status: int) -> None:
    told = from_backend(error)
    assert (told.code, told.status, told.message) == (code, status, "m")


def test_lack_of_memory_comes_with_what_is_known_of_it() -> None:
    error = OutOfMemory("m", required_mb=2048, available_mb=1024, suggestions=("s",), alternatives=("small",))
    assert from_backend(error).details == {
        "required_memory_mb": 2048,
        "available_memory_mb": 1024,
        "suggestions": ["s"],
        "suggested_alternatives": ["small"],
    }
    assert from_backend(OutOfMemory("m")).details == {}
