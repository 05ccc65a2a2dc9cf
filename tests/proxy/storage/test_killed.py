"""`kill -9` at any moment: what was acknowledged is there, and nothing is there in part."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from proxy.storage.database import Database
from proxy.storage.location import Location, Postgres, SqliteFile
from proxy.storage.tables import CHATS, MESSAGES

ROOT = Path(__file__).parents[3]
ROUNDS = 6
PARTS = 3
LONG = 20_000

# Writes chats of PARTS messages each from several tasks, and says each one's name after its transaction was kept.
WRITER = f"""
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from proxy.storage.database import Database
from proxy.storage.location import Postgres, SqliteFile

async def main(where, round_):
    database = Database(Postgres(where) if "://" in where else SqliteFile(Path(where)))
    async with database.read():
        from proxy.storage.tables import CHATS, MESSAGES

    async def write(task):
        number = 0
        while True:
            key = {{"owner": round_, "chat_id": f"{{task}}-{{number}}"}}
            now = datetime.now(UTC)
            async with database.write() as tx:
                await tx.execute(CHATS.insert().values(**key, created=now, updated=now))
                for position in range({PARTS}):
                    values = {{"role": "user", "content": "x" * {LONG}, "state": "complete", "created": now}}
                    await tx.execute(MESSAGES.insert().values(**key, position=position, **values))
            print(key["chat_id"], flush=True)
            number += 1

    print("started", flush=True)
    await asyncio.gather(*(write(task) for task in range(4)))

asyncio.run(main(*sys.argv[1:]))
"""


async def write_until_killed(where: str, round_: int, seconds: float) -> set[tuple[str, str]]:
    """The chats that a writer said to have kept before it was killed, `seconds` after it had begun."""
    writer = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, where, str(round_), cwd=ROOT, stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    assert await writer.stdout.readline() == b"started\n"
    reading = asyncio.create_task(writer.stdout.read())
    await asyncio.sleep(seconds)
    os.kill(writer.pid, signal.SIGKILL)
    *whole, _ = (await reading).split(b"\n")
    await writer.wait()
    return {(str(round_), line.decode()) for line in whole}


async def test_acknowledged_rows_outlive_their_writer(location: Location) -> None:
    where = location.url if isinstance(location, Postgres) else str(location.path)
    acknowledged: set[tuple[str, str]] = set()
    for round_ in range(ROUNDS):
        acknowledged |= await write_until_killed(where, round_, random.uniform(0, 0.4))
        database = Database(location)
        async with database.read() as tx:
            chats = {tuple(row) for row in await tx.execute(select(CHATS.c.owner, CHATS.c.chat_id))}
            messages = (await tx.execute(select(MESSAGES))).all()
        # It can be written to at once: no lock outlived the dead.
        async with database.write() as tx:
            now = datetime.now(UTC)
            await tx.execute(CHATS.insert().values(owner="after", chat_id=str(round_), created=now, updated=now))
        await database.close()
        assert acknowledged <= chats
        written = {chat for chat in chats if chat[0] != "after"}
        assert {(m.owner, m.chat_id) for m in messages} == written
        assert len(messages) == PARTS * len(written)
        assert {len(m.content) for m in messages} <= {LONG}
    assert acknowledged
    if isinstance(location, SqliteFile):
        with closing(sqlite3.connect(location.path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.15])
async def test_killed_while_opening_a_new_database(location: Location, seconds: float) -> None:
    where = location.url if isinstance(location, Postgres) else str(location.path)
    opener = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, where, "0", cwd=ROOT, stdout=subprocess.DEVNULL
    )
    await asyncio.sleep(0.3 + seconds)
    os.kill(opener.pid, signal.SIGKILL)
    await opener.wait()
    database = Database(location)
    async with database.read() as tx:
        await tx.execute(select(CHATS))
    await database.close()
