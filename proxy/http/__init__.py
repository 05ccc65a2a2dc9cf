"""The edge: knows aiohttp, knows no contract."""
