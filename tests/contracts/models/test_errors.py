"""The error's shape is the contract's own example; every kind of error has a code."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from proxy.contracts.models.errors import CODES, render_error
from proxy.errors import ApiError, ErrorCode, invalid

EXAMPLE = orjson.loads((Path(__file__).parent / "examples" / "ErrorResponse.json").read_bytes())
NAMED = {
    "MODEL_NOT_FOUND",
    "DOWNLOAD_REQUIRED",
    "INSUFFICIENT_MEMORY",
    "UNSUPPORTED_DEVICE",
    "LOADING_TIMEOUT",
    "INFERENCE_ERROR",
    "CONFIGURATION_ERROR",
    "LICENSE_ERROR",
}


def test_the_contracts_example_is_rendered_word_for_word() -> None:
    error = ApiError(
        ErrorCode.INSUFFICIENT_MEMORY,
        "Cannot load model: insufficient GPU memory",
        details=EXAMPLE["error"]["details"],
    )
    assert orjson.loads(render_error(error)) == EXAMPLE


def test_a_wrong_field_is_named_in_the_details() -> None:
    body = orjson.loads(render_error(invalid("asr.parameters.beam_size", "it must be at least 1")))
    assert body["error"]["code"] == "CONFIGURATION_ERROR"
    assert body["error"]["details"] == {"field": "asr.parameters.beam_size"}


@pytest.mark.parametrize("code", ErrorCode)
def test_every_error_has_a_code(code: ErrorCode) -> None:
    assert orjson.loads(render_error(ApiError(code, "why")))["error"]["code"] == CODES[code]


def test_every_code_of_the_contract_can_be_said() -> None:
    assert set(CODES.values()) >= NAMED
