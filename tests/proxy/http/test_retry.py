"""`X-Switchboard-Retry`."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from proxy.errors import ApiError
from proxy.http.retry import is_safe


def safe(said: str | None) -> bool:
    headers = {} if said is None else {"X-Switchboard-Retry": said}
    return is_safe(make_mocked_request("POST", "/", headers=headers))


def test_only_who_says_so_is_safe() -> None:
    assert not safe(None)
    assert safe("safe")
    assert safe(" SAFE ")


@pytest.mark.parametrize("word", ["", "yes", "unsafe", "safe, safe", "x" * 1000])
def test_another_word_is_refused(word: str) -> None:
    with pytest.raises(ApiError, match=r"Invalid `X-Switchboard-Retry`: .* is not `safe`") as refused:
        safe(word)
    assert refused.value.status == 400
    assert len(refused.value.message) < 150
