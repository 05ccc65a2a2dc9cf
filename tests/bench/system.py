"""A running system under test: pinned to a core, started once, and what it costs read from /proc."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

import psutil

START_SECONDS = 120.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.1


class NotStarted(Exception):
    """The process ended, or did not answer in time; the message holds the end of its log."""


class System:
    """A process tree on one core. Use as a context manager: it is ended, children included, whatever happens."""

    def __init__(self, command: Sequence[str], core: int, log: Path, environment: dict[str, str]) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                ["taskset", "-c", str(core), *command],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **environment},
                start_new_session=True,
            )

    def __enter__(self) -> System:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def wait_ready(self, url: str) -> None:
        """Return when something answers there, whatever it says. Raises NotStarted."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise NotStarted(f"ended with status {self._process.returncode}: {self._end_of_log()}")
            try:
                urllib.request.urlopen(url, timeout=2).close()
            except urllib.error.HTTPError as answer:
                answer.close()
            except OSError:
                time.sleep(POLL_SECONDS)
                continue
            return
        raise NotStarted(f"silent for {START_SECONDS:g} s: {self._end_of_log()}")

    @property
    def cpu_seconds(self) -> float:
        """User and system time of the whole tree so far."""
        return self._total(lambda process: sum(process.cpu_times()[:2]))

    @property
    def rss_mb(self) -> float:
        """Resident memory of the whole tree in MB."""
        return self._total(lambda process: process.memory_info().rss / 1e6)

    def _total(self, figure: Callable[[psutil.Process], float]) -> float:
        root = psutil.Process(self._process.pid)
        return sum(figure(process) for process in [root, *root.children(recursive=True)])

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return

    def _end_of_log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-1500:] or "its log is empty"
