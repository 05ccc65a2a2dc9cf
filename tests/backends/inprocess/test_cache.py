"""Where the hub's client keeps what it downloads."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.inprocess.cache import cached, hub_cache

COMMIT = "0123456789" * 4


def test_the_hubs_cache_is_where_its_client_keeps_it() -> None:
    assert hub_cache({"HF_HUB_CACHE": "/c", "HF_HOME": "/h"}) == Path("/c")
    assert hub_cache({"HF_HOME": "/h"}) == Path("/h/hub")
    assert hub_cache({"XDG_CACHE_HOME": "/x"}) == Path("/x/huggingface/hub")
    assert hub_cache({}) == Path.home() / ".cache" / "huggingface" / "hub"


def test_a_model_is_found_by_its_revision(tmp_path: Path) -> None:
    model = tmp_path / "models--org--name"
    snapshot = model / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(f"{COMMIT}\n")
    for revision in (None, "main", COMMIT):
        assert cached("org/name", revision, tmp_path) == snapshot
    assert cached("org/name", "v2", tmp_path) is None
    (model / "refs" / "main").write_text("../../elsewhere")
    assert cached("org/name", None, tmp_path) is None


@pytest.mark.parametrize("source", ["org/other", "../org/name", "/org/name", "", "a" * 5000, "org/name\x00"])
def test_what_is_not_there_is_nothing(source: str, tmp_path: Path) -> None:
    assert cached(source, None, tmp_path) is None
