"""Log lines are JSON, one a line, and hold no secrets: not even those in the frames of a traceback."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

PROGRAM = """
import logging, structlog
from proxy.observability.logging import configure_logging
configure_logging("info", "{style}")
def fail():
    prompt = "{secret}"
    raise ValueError("boom")
try:
    fail()
except ValueError:
    structlog.get_logger("x").exception("it failed")
    logging.getLogger("library").warning("a library %s", "speaks\\nup")
structlog.get_logger("x").debug("too quiet")
"""


def run(style: str) -> str:
    program = PROGRAM.format(style=style, secret="top" + "secret")
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_json_lines_with_tracebacks_but_without_their_locals() -> None:
    output = run("json")
    failed, library = (json.loads(line) for line in output.splitlines())
    assert (failed["event"], failed["level"]) == ("it failed", "error")
    assert failed["exception"][0]["exc_value"] == "boom"
    assert (library["event"], library["logger"]) == ("a library speaks\nup", "library")
    assert logging.getLevelName(logging.WARNING).lower() == library["level"]
    assert "locals" not in output


def test_lines_for_people_have_no_locals_either() -> None:
    output = run("console")
    assert "ValueError: boom" in output
    assert "topsecret" not in output.replace('prompt = "topsecret"', "")
