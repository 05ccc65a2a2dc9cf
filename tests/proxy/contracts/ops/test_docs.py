"""The page at /docs: everything it needs comes from this door, with and without keys."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import aiohttp
import pytest

from proxy.registry.models import Registry
from tests.support import serve_app


@pytest.fixture
async def door() -> AsyncIterator[str]:
    """A door that asks for keys."""
    async with serve_app(Registry(), api_keys="sk-1") as url:
        yield url


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_the_page_needs_nothing_from_elsewhere(door: str, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{door}/docs") as response:
        assert (response.status, response.content_type) == (200, "text/html")
        assert "default-src 'self'" in response.headers["Content-Security-Policy"]
        page = await response.text()
    needed = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(needed) == 3
    assert all(path.startswith("/docs/") for path in needed)
    for path in needed:
        async with http.get(f"{door}{path}") as response:
            assert response.status == 200
            assert response.content_type in ("text/css", "text/javascript")
            assert await response.read()


async def test_the_page_reads_the_document(door: str, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{door}/docs/start.js") as response:
        (path,) = re.findall(r'url: "([^"]+)"', await response.text())
    async with http.get(f"{door}{path}") as response:
        assert (response.status, response.content_type) == (200, "application/json")
        assert (await response.json())["info"]["title"] == "Switchboard"


async def test_the_bundle_is_swagger_ui(door: str, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{door}/docs/swagger-ui-bundle.js") as response:
        assert "max-age" in response.headers["Cache-Control"]
        assert "SwaggerUIBundle" in await response.text()


@pytest.mark.parametrize("path", ["/docs/index.html", "/docs/..%2F..%2Fsetup.py", "/docs/swagger-ui.js.map"])
async def test_nothing_else_of_the_package_is_served(door: str, http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(f"{door}{path}", headers={"Authorization": "Bearer sk-1"}) as response:
        assert response.status == 404


async def test_other_paths_still_ask_for_a_key(door: str, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{door}/api/models/asr") as response:
        assert response.status == 401
