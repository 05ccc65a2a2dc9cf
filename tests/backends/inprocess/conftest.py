from collections.abc import Iterator

import pytest

from tests.backends.inprocess.hub_server import HubServer, serving


@pytest.fixture
def hub_server(hub_on_loopback: None) -> Iterator[HubServer]:
    with serving() as hub:
        yield hub
