"""Transactions on either database: whole or not at all, in order, and opened once however many ask."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import exc, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.settings import Settings
from proxy.storage import engine
from proxy.storage.database import Database, Stored
from proxy.storage.errors import Unstorable
from proxy.storage.location import FILE_NAME, Location, Postgres, SqliteFile, locate
from proxy.storage.tables import CHATS, MESSAGES, MODELS, REVISIONS

NOW = datetime(2026, 2, 28, 23, 59, 59, 123456, tzinfo=UTC)


ROW = {
    "name": "n",
    "model_type": "t",
    "description": "",
    "parameters": {},
    "status": "",
    "source": "",
    "usage_count": 0,
}


async def add(tx: AsyncConnection, model_id: str) -> None:
    await tx.execute(MODELS.insert().values(**ROW, model_id=model_id, added_date=NOW))


async def keep(database: Database, model_id: str) -> None:
    async with database.write() as tx:
        await add(tx, model_id)


async def count(database: Database) -> int:
    async with database.read() as tx:
        return (await tx.execute(select(func.count()).select_from(MODELS))).scalar_one()


async def test_what_was_written_is_read(database: Database) -> None:
    parameters = {"z": 1.0, "a": [True, None, "ü\U0001f600"], "deep": {"b": -1e300}}
    east = NOW.astimezone(timezone(timedelta(hours=9)))
    async with database.write() as tx:
        values = {**ROW, "model_id": "ü/\U0001f600", "parameters": parameters, "usage_count": 2**40}
        await tx.execute(MODELS.insert().values(**values, added_date=east))
    async with database.read() as tx:
        row = (await tx.execute(select(MODELS))).one()
    assert (row.model_id, row.added_date, row.last_used, row.usage_count) == ("ü/\U0001f600", NOW, None, 2**40)
    assert row.added_date.utcoffset() == timedelta(0)
    assert list(row.parameters.items()) == list(parameters.items())


async def test_times_compare_whatever_their_zone(database: Database) -> None:
    await keep(database, "m")
    later = (NOW + timedelta(microseconds=1)).astimezone(timezone(timedelta(hours=-5)))
    async with database.read() as tx:
        ids = select(MODELS.c.model_id)
        assert (await tx.execute(ids.where(MODELS.c.added_date < later))).scalars().all() == ["m"]
        assert (await tx.execute(ids.where(MODELS.c.added_date < NOW))).scalars().all() == []


async def test_a_block_that_raises_keeps_nothing(database: Database) -> None:
    with pytest.raises(LookupError):
        async with database.write() as tx:
            await add(tx, "s")
            raise LookupError
    assert await count(database) == 0


async def test_a_caller_who_leaves_keeps_nothing_and_blocks_nobody(database: Database) -> None:
    inside = asyncio.Event()

    async def leave() -> None:
        async with database.write() as tx:
            await add(tx, "left")
            inside.set()
            await asyncio.Event().wait()

    leaving = asyncio.create_task(leave())
    await inside.wait()
    waiting = [asyncio.create_task(keep(database, f"after-{number}")) for number in range(5)]
    leaving.cancel()
    await asyncio.gather(*waiting)
    assert await count(database) == 5


async def test_callers_who_leave_at_any_moment_do_no_harm(database: Database) -> None:
    await keep(database, "first")
    kept = 1
    for round_ in range(40):
        task = asyncio.create_task(keep(database, f"s{round_}"))
        for _ in range(round_ % 20):
            await asyncio.sleep(0)
        task.cancel()
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
        assert outcome is None or isinstance(outcome, asyncio.CancelledError)
        kept += outcome is None
    assert kept <= await count(database) <= 41
    await asyncio.gather(*(keep(database, f"t{number}") for number in range(20)))


async def test_no_increment_is_lost_among_many_writers(database: Database) -> None:
    async with database.write() as tx:
        await tx.execute(REVISIONS.insert().values(name="n", number=0, changed=NOW))

    async def increment() -> None:
        async with database.write() as tx:
            await tx.execute(update(REVISIONS).values(number=REVISIONS.c.number + 1))

    await asyncio.gather(*(increment() for _ in range(100)))
    async with database.read() as tx:
        assert (await tx.execute(select(REVISIONS.c.number))).scalar_one() == 100


async def test_readers_do_not_wait_for_a_writer(database: Database) -> None:
    async with database.write() as tx:
        await add(tx, "s")
        async with asyncio.timeout(2):
            assert await count(database) == 0


async def test_a_row_that_breaks_a_rule_is_refused(database: Database) -> None:
    async with database.write() as tx:
        await add(tx, "s")
    with pytest.raises(exc.IntegrityError):
        async with database.write() as tx:
            await add(tx, "s")
    message = {"owner": "o", "chat_id": "c", "position": 0, "role": "user", "content": "", "state": "complete"}
    with pytest.raises(exc.IntegrityError):
        async with database.write() as tx:
            await tx.execute(MESSAGES.insert().values(**message, created=NOW))


async def test_messages_go_with_their_chat(database: Database) -> None:
    key = {"owner": "o", "chat_id": "c"}
    async with database.write() as tx:
        await tx.execute(CHATS.insert().values(**key, created=NOW, updated=NOW))
        values = {"position": 0, "role": "user", "content": "", "state": "complete", "created": NOW}
        await tx.execute(MESSAGES.insert().values(**key, **values))
    async with database.write() as tx:
        await tx.execute(CHATS.delete())
    async with database.read() as tx:
        assert (await tx.execute(select(MESSAGES))).all() == []


async def test_texts_that_one_database_cannot_keep_are_refused_by_both(database: Database) -> None:
    with pytest.raises(Unstorable):
        await keep(database, "a\x00b")


async def test_a_time_without_a_zone_is_a_mistake(database: Database) -> None:
    with pytest.raises(exc.StatementError, match="no time zone"):
        async with database.read() as tx:
            await tx.execute(select(MODELS).where(MODELS.c.added_date < NOW.replace(tzinfo=None)))


async def test_errors_do_not_show_what_was_to_be_kept(database: Database) -> None:
    with pytest.raises(exc.IntegrityError) as caught:
        async with database.write() as tx:
            await add(tx, "the owl")
            await add(tx, "the owl")
    assert "the owl" not in str(caught.value)


async def test_many_first_callers_open_it_once(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    open_engine = engine.open_engine

    async def counting(where: Location) -> engine.Engine:
        opened.append(where)
        return await open_engine(where)

    monkeypatch.setattr(engine, "open_engine", counting)
    database = Database(location)
    assert await asyncio.gather(*(count(database) for _ in range(20))) == [0] * 20
    assert len(opened) == 1
    await database.close()


async def test_a_closed_database_opens_again(database: Database) -> None:
    async with database.write() as tx:
        await add(tx, "s")
    await database.close()
    assert await count(database) == 1


async def test_a_file_that_is_not_there_has_no_rows(tmp_path: Path) -> None:
    database = Database(SqliteFile(tmp_path / "none.sqlite3"))
    assert not await database.present()
    await count(database)
    assert await database.present()
    await database.close()


async def test_the_file_is_for_its_owner_alone_and_survives_power_cuts(tmp_path: Path) -> None:
    path = tmp_path / "d" / "rows.sqlite3"
    database = Database(SqliteFile(path))
    async with database.write() as tx:
        modes = [
            (await tx.execute(text(f"PRAGMA {name}"))).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert modes == ["wal", 2, 1]
    assert [file.stat().st_mode & 0o077 for file in path.parent.iterdir()] == [0, 0, 0]
    await database.close()


class Shelf:
    """A store."""

    def __init__(self, database: Database) -> None:
        self.database = database


async def test_a_store_is_made_once() -> None:
    database = Database(SqliteFile(Path("nowhere")))
    stored = Stored[Shelf](database, f"{__name__}:Shelf")
    shelf = await stored.get()
    assert shelf.database is database
    assert await stored.get() is shelf


def test_where_rows_are_kept(tmp_path: Path) -> None:
    def where(url: str | None) -> Location:
        return locate(Settings.model_validate({"data": tmp_path, **({"database_url": url} if url else {})}))

    assert where(None) == SqliteFile(tmp_path / FILE_NAME)
    assert where("sqlite:///rows.db") == SqliteFile(Path("rows.db"))
    assert where("sqlite:////var/rows.db") == SqliteFile(Path("/var/rows.db"))
    for scheme in ("postgresql", "postgres", "postgresql+asyncpg"):
        assert where(f"{scheme}://u:p@h/n?sslmode=require") == Postgres("postgresql://u:p@h/n?sslmode=require")
    assert "u:p" not in repr(where("postgres://u:p@h/n"))
