"""A proxy that keeps no rows does not pay for the means to keep them."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

SERVE = """
import asyncio, sys
from pathlib import Path
from aiohttp import web
from backends.base import EngineSpec, ModelSpec
from proxy.app import build_app
from proxy.registry.models import ModelEntry, Registry
from proxy.settings import Settings

async def main():
    engine = EngineSpec(name="far", kind="vllm", urls=("http://127.0.0.1:9",))
    entry = ModelEntry(name="m", engine="far", spec=ModelSpec(source="m"), task="text")
    app = build_app(Settings(data=sys.argv[1]), Registry(engines={"far": engine}, models=(entry,)))
    runner = web.AppRunner(app)
    await runner.setup()
    await asyncio.sleep(1.5)
    await runner.cleanup()
    heavy = ("sqlalchemy", "alembic", "asyncpg", "aiosqlite", "torch", "transformers")
    print([name for name in heavy if name in sys.modules], list(Path(sys.argv[1]).glob('*.sqlite3*')))

asyncio.run(main())
"""


async def test_a_proxy_without_rows_imports_and_makes_no_database(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVE, str(tmp_path), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert output.decode().strip() == "[] []"
