"""The development loop: the server runs on the newest sources, whatever happened to the one before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.stacks import ROOT

RELOAD = ROOT / "docker" / "proxy" / "reload.py"
SERVER = 'import os, time\nprint("{word}", os.getpid(), flush=True)\ntime.sleep(600)\n'


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A directory with a server that says its word and its process, then stays."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "server.py").write_text(SERVER.format(word="first"))
    return tmp_path / "src"


@pytest.fixture
def loop(sources: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(RELOAD), str(sources), "--", sys.executable, str(sources / "server.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.terminate()


def hear(process: subprocess.Popen[str]) -> tuple[str, int]:
    assert process.stdout is not None
    word, number = process.stdout.readline().split()
    return word, int(number)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_change_starts_the_server_anew(sources: Path, loop: subprocess.Popen[str]) -> None:
    word, first = hear(loop)
    assert word == "first"
    (sources / "server.py").write_text(SERVER.format(word="second"))
    word, second = hear(loop)
    assert word == "second"
    assert not alive(first)
    (sources / "models").mkdir()
    (sources / "models" / "new.toml").write_text("")
    word, third = hear(loop)
    assert (word, alive(second), alive(third)) == ("second", False, True)


def test_a_server_that_cannot_start_waits_for_the_next_change(sources: Path, loop: subprocess.Popen[str]) -> None:
    hear(loop)
    (sources / "server.py").write_text("syntax error")
    assert loop.stderr is not None
    while "SyntaxError" not in loop.stderr.readline():
        assert loop.poll() is None
    (sources / "server.py").write_text(SERVER.format(word="mended"))
    assert hear(loop)[0] == "mended"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_takes_its_server_along(loop: subprocess.Popen[str], number: signal.Signals) -> None:
    _, server = hear(loop)
    loop.send_signal(number)
    assert loop.wait(20) == 0
    assert not alive(server)


def test_other_files_do_not_matter(sources: Path, loop: subprocess.Popen[str]) -> None:
    _, first = hear(loop)
    (sources / "notes.txt").write_text("nothing")
    (sources / "server.py").write_text(SERVER.format(word="second"))
    assert hear(loop)[0] == "second"
    assert loop.stderr is not None
    assert loop.stderr.readline() == f"reload: {sources / 'server.py'} changed\n"
    assert not alive(first)


@pytest.mark.parametrize(
    ("arguments", "words"), [([], "usage"), (["src", "--"], "usage"), (["no/where", "--", "true"], "no such file")]
)
def test_a_wrong_command_line_is_refused(arguments: list[str], words: str, sources: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(RELOAD), *arguments], cwd=sources.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert words in done.stderr
