"""The model's name is replaced, and nothing else: however the body spells it."""

from __future__ import annotations

import pytest

from proxy.contracts.openai.rewrite import rename_model
from proxy.errors import ApiError, ErrorCode


@pytest.mark.parametrize(
    ("body", "renamed"),
    [
        (b'{"model":"a","x":1}', b'{"model":"b","x":1}'),
        (b'{"x":{"model":"a"},"model":"a"}', b'{"x":{"model":"a"},"model":"b"}'),
        (b'{"model":"a", "model" : null}', b'{"model":"b", "model" : "b"}'),
        (b'{"m\\u006fdel":"a"}', b'{"m\\u006fdel":"b"}'),
        (b'{"x":"\\"model\\":\\"a\\"","model":"\\u0061"}', b'{"x":"\\"model\\":\\"a\\"","model":"b"}'),
    ],
)
def test_the_top_level_model_alone(body: bytes, renamed: bytes) -> None:
    assert rename_model(body, "b") == renamed


def test_values_nested_beyond_the_parsers_depth_are_refused() -> None:
    deep = b"[" * 1000 + b"]" * 1000
    with pytest.raises(ApiError, match="nested too deeply") as refused:
        rename_model(b'{"model":"a","x":{"model":' + deep + b"}}", "b")
    assert refused.value.code == ErrorCode.INVALID
