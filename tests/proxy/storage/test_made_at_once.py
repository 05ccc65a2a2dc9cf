"""A SQLite file that several processes make at the same moment."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

from sqlalchemy import text

from proxy.storage.database import Database
from proxy.storage.location import SqliteFile

ROOT = Path(__file__).parents[3]
ROUNDS = 20

# Says that it is ready before each round, and waits for a line.
MAKE = """
import asyncio, sys
from pathlib import Path
from sqlalchemy import text
from proxy.storage import engine, migrate
from proxy.storage.database import Database
from proxy.storage.location import SqliteFile

async def make(file):
    database = Database(SqliteFile(file))
    async with database.write() as rows:
        await rows.execute(text("INSERT INTO revisions VALUES (:name, 1, '2026-01-01')"), {"name": sys.argv[2]})
    await database.close()

for number in range(int(sys.argv[3])):
    print("ready", flush=True)
    sys.stdin.readline()
    asyncio.run(make(Path(sys.argv[1], str(number), "switchboard.sqlite3")))
"""


async def test_two_processes_make_a_file_at_once(tmp_path: Path) -> None:
    makers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-c", MAKE, str(tmp_path), name, str(ROUNDS)),
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for name in ("one", "other")
    ]  # fmt: skip
    for _ in range(ROUNDS):
        for maker in makers:
            assert maker.stdout is not None
            if await maker.stdout.readline() != b"ready\n":
                break  # its words are below
        for maker in makers:
            assert maker.stdin is not None
            maker.stdin.write(b"now\n")
    outcomes = await asyncio.gather(*(maker.communicate() for maker in makers))
    assert [maker.returncode for maker in makers] == [0, 0], outcomes
    for number in range(ROUNDS):
        with sqlite3.connect(tmp_path / str(number) / "switchboard.sqlite3") as made:
            assert sorted(made.execute("SELECT name FROM revisions")) == [("one",), ("other",)]
        made.close()


async def test_a_file_that_another_process_is_making_is_waited_for(tmp_path: Path) -> None:
    """One that has begun to write a file without a log: SQLite would refuse at once, whatever its patience."""
    file = tmp_path / "switchboard.sqlite3"
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    ending = threading.Timer(0.3, lambda: other.execute("ROLLBACK"))
    ending.start()
    database = Database(SqliteFile(file))
    async with database.write() as rows:
        assert await rows.scalar(text("PRAGMA journal_mode")) == "wal"
    await database.close()
    await asyncio.to_thread(ending.join)
    other.close()
