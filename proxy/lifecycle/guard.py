"""Runs one engine and answers for its end: whatever becomes of the proxy, nothing that the engine started is left behind.

A program of its own, of the standard library alone: `guard.py GRACE COMMAND...`. When its standard input ends, closed by the
proxy or by the proxy's death, all processes of the engine get SIGTERM, and GRACE seconds later SIGKILL; at once when the one that
was started has ended by itself. It is there until the last of them has gone, and ends with the engine's exit status, 128 + the
signal's number where a signal ended it, as shells say.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
NOT_STARTED, STUCK = 127, 125
LOOK_SECONDS = 0.05
KILL_SECONDS = 10.0


def main(grace: float, command: list[str]) -> int:
    """Run the command to its end, or to that of standard input; the exit status."""
    # What the engine starts and leaves behind becomes a child of this process, and is found.
    _control_process(PR_SET_CHILD_SUBREAPER, 1)
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(awake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    engine = _start(command)
    ended: dict[int, int] = {}
    while engine not in ended:
        ready, _, _ = select.select([sys.stdin.fileno(), awake], [], [])
        told = os.read(awake, 64) if awake in ready else b""
        ended |= _reaped()
        if sys.stdin.fileno() in ready or set(told) & {signal.SIGTERM, signal.SIGINT}:
            break
    # What is left of an engine that has ended by itself serves nobody, and holds its memory.
    ended |= _end_all(0.0 if engine in ended else grace)
    if descendants(os.getpid()):
        return STUCK
    status = ended.get(engine, 0)
    return 128 - status if status < 0 else status


def descendants(root: int) -> list[int]:
    """The processes that descend from this one, those that have ended and were not waited for left out."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            # The program's name stands in brackets, and may have any sign in it.
            state, parent, *_ = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            if state != "Z":
                children.setdefault(int(parent), []).append(int(entry.name))
    found, left = [], [root]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return found


def _start(command: list[str]) -> int:
    parent = os.getpid()
    process = os.fork()
    if process:
        return process
    try:
        os.setsid()
        _control_process(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(NOT_STARTED)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.stderr.flush()
    os._exit(NOT_STARTED)


def _end_all(grace: float) -> dict[int, int]:
    """Have every process end, in kindness first; what those that were waited for returned."""
    ended: dict[int, int] = {}
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, KILL_SECONDS)):
        deadline = time.monotonic() + seconds
        told: set[int] = set()
        while there := descendants(os.getpid()):
            # A process that was just forked is told, too.
            for process in set(there) - told:
                with suppress(ProcessLookupError):
                    os.kill(process, number)
            told |= set(there)
            if time.monotonic() >= deadline:
                break
            time.sleep(LOOK_SECONDS)
            ended |= _reaped()
    return ended | _reaped()


def _reaped() -> dict[int, int]:
    """The children that have ended, with their exit status, or the negative number of the signal that ended them."""
    ended = {}
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended[found[0]] = os.waitstatus_to_exitcode(found[1])
    return ended


def _control_process(option: int, value: int) -> None:
    """prctl(2), where there is one."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
