"""A PostgreSQL server of the tests' own, in a temporary directory, run by a user without privileges."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from uuid import uuid4

MISSING = "PostgreSQL is not installed (Debian: apt-get install postgresql)"
USER = "switchboard"
START_SECONDS = 60


def programs() -> Path | None:
    """The directory with `initdb` and `postgres`: on the PATH, or where Debian keeps them, the newest version first."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4]))
    return versions[-1].parent if versions else None


class Cluster:
    """One server with any number of databases. Trusts whoever comes over loopback; keeps nothing."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._home = Path(tempfile.mkdtemp(prefix="switchboard-postgres-"))
        self._user: str | None = None
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root.
            self._user = next(name for name in ("postgres", "nobody") if _exists(name))
            os.chown(self._home, pwd.getpwnam(self._user).pw_uid, -1)
        self.port = _free_port()
        self._server = ("-h", "127.0.0.1", "-p", str(self.port), "-U", USER)
        self._free: list[str] = []
        self._run("initdb", "-D", str(self._home / "data"), "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync")
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        options = f"-p {self.port} -k {self._home} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._control("start", "-o", options, "-l", str(self._home / "log"))

    def stop(self) -> None:
        """Stop the server at once, as a crash would."""
        self._control("stop", "-m", "immediate")

    def create(self) -> str:
        """The URL of an empty database: a new one, or one that was given back. Making and deleting one takes long."""
        if self._free:
            return self._free.pop()
        name = f"d{uuid4().hex}"
        self._run("createdb", *self._server, name)
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{name}"

    def give_back(self, url: str) -> None:
        """Empty a database that nobody needs any more."""
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        emptying = (
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}",
            "DROP SCHEMA public CASCADE",
            "CREATE SCHEMA public",
        )
        statements = [part for statement in emptying for part in ("-c", statement)]
        self._run("psql", *self._server, "-q", "-d", url.rpartition("/")[2], *statements)
        self._free.append(url)

    def remove(self) -> None:
        """Stop the server and delete its files."""
        self.stop()
        shutil.rmtree(self._home)

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", "-D", str(self._home / "data"), "-w", "-t", str(START_SECONDS), *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        # The server outlives pg_ctl and keeps its output open: a pipe would never end.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [self._programs / program, *arguments],
                user=self._user,
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
            )
            output.seek(0)
            assert done.returncode == 0, output.read().decode(errors="replace")


def _exists(user: str) -> bool:
    return any(entry.pw_name == user for entry in pwd.getpwall())


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
