"""Whose a failure is, and what it is called."""

from __future__ import annotations

import pytest

from backends import errors
from backends.errors import BackendError
from proxy.lifecycle.outcomes import error_code, is_models_failure


def rejected(status: int) -> BackendError:
    return errors.Rejected("no", status=status, body=b"", content_type="text/plain")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NotFound("m"), "MODEL_NOT_FOUND"),
        (errors.NotCached("m"), "DOWNLOAD_REQUIRED"),
        (errors.OutOfMemory("m"), "INSUFFICIENT_MEMORY"),
        (errors.NoDevice("m"), "UNSUPPORTED_DEVICE"),
        (errors.LoadTimedOut("m"), "LOADING_TIMEOUT"),
        (errors.Broken("m"), "INFERENCE_ERROR"),
        (errors.Unavailable("damaged"), "CONFIGURATION_ERROR"),
        (errors.Licensed("m"), "LICENSE_ERROR"),
    ],
)
def test_every_code_of_the_contract_names_a_failed_load(error: BackendError, code: str) -> None:
    assert error_code(error) == code


@pytest.mark.parametrize(
    "error", [errors.Invalid("m"), errors.MediaRefused("m"), errors.Overloaded("m"), rejected(404)]
)
def test_a_wrong_request_and_a_full_queue_are_no_failure_of_the_model(error: BackendError) -> None:
    assert not is_models_failure(error)


@pytest.mark.parametrize("error", [errors.Broken("m"), errors.TimedOut("m"), errors.Unavailable("m"), rejected(500)])
def test_what_the_model_did_not_do_is(error: BackendError) -> None:
    assert is_models_failure(error)
