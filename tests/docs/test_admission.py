"""docs/admission.md says what is so: its file is one, its settings exist, its reasons and words are the real ones."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest

from proxy.caller import PRIORITIES, Caller, Priority
from proxy.contracts.openai.errors import render_error
from proxy.contracts.openai.tiers import TIERS
from proxy.errors import STATUS
from proxy.registry.config import read_registry
from proxy.routing.queue import OVERDUE, OVERTAKES, Line, Pool
from proxy.routing.refusal import LATEST, SOONEST, refusal
from proxy.routing.tickets import Reason, Ticket
from proxy.settings import Settings, variables

GUIDE = (Path(__file__).parents[2] / "docs" / "admission.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in GUIDE.splitlines() if line.startswith("| ")]


def shed(reason: Reason) -> Ticket:
    ticket = Ticket(0, Line((Pool("gpu", 1),)), Caller("key", most=1), 0, 0.0)
    ticket.reason = reason
    return ticket


def test_the_file_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("APP", "RESEARCH", "NIGHTLY"):
        monkeypatch.setenv(f"{name}_KEY", f"sk-{name}")
    (toml,) = re.findall(r"^```toml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    path = tmp_path / "switchboard.toml"
    path.write_text(toml)
    registry = read_registry(path, Settings())
    assert (registry.limits, registry.models[1].max_in_flight) == ({"gpu": 512}, 32)
    callers = [key.caller for key in registry.keys.values()]
    assert [caller.priority for caller in callers] == [Priority.HIGH, Priority.NORMAL, Priority.LOW]
    assert (callers[1].weight, callers[2].most) == (2, 16)


def test_the_settings_are_there() -> None:
    named = set(re.findall(r"SWITCHBOARD_[A-Z_]+", GUIDE))
    assert named <= set(variables().values())
    settings = Settings()
    assert f"`SWITCHBOARD_QUEUE_SECONDS`, {settings.queue_seconds:g} |" in GUIDE
    assert f"`SWITCHBOARD_MAX_QUEUED_MB`, {settings.max_queued_mb:g} |" in GUIDE
    assert (OVERDUE, OVERTAKES) == (0.5, 3) and "half of" in GUIDE and "at most three others" in GUIDE


def test_reasons_and_statuses() -> None:
    told = {row[2].strip("`"): int(row[0]) for row in ROWS if row[0] in ("429", "503")}
    assert told == {str(reason): STATUS[refusal(shed(reason), "llama", 30).code] for reason in Reason}
    (example,) = re.findall(r'^\{"error".*$', GUIDE, re.MULTILINE)
    assert orjson.loads(example) == orjson.loads(render_error(refusal(shed(Reason.FULL), "llama", 30)))
    assert f"from {SOONEST:g} to {LATEST:g} seconds" in GUIDE


def test_priorities_and_tiers() -> None:
    words = {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[1])) for row in ROWS if row[0].strip("`") in PRIORITIES}
    assert words == {
        word: {tier for tier, meant in TIERS.items() if meant is priority} for word, priority in PRIORITIES.items()
    }
