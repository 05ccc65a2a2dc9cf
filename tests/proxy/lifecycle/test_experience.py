"""What past loads taught, and how it is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from backends.base import EngineSpec, ModelSpec
from proxy.lifecycle.experience import MOST, Cost, Experience, read, write
from proxy.lifecycle.ledger import Ledger

ENGINE = EngineSpec(name="ears", kind="whisper", device="cpu", compute_type="int8")
MODEL = ModelSpec(source="team/model")
COSTS = st.builds(Cost, st.none() | st.floats(0, 1e6), st.none() | st.floats(0.1, 1e6))


def test_the_latest_load_counts_most_and_unmeasured_ones_take_nothing_away() -> None:
    experience = Experience()
    assert experience.expected("m") == Cost()
    experience.learn("m", Cost(10.0, 100.0))
    experience.learn("m", Cost(20.0, 120.0))
    assert experience.expected("m") == Cost(15.0, 120.0)
    experience.learn("m", Cost())
    assert experience.expected("m") == Cost(15.0, 120.0)


@given(st.dictionaries(st.text(max_size=20), COSTS, max_size=20))
def test_what_is_written_is_read_again(costs: dict[str, Cost]) -> None:
    before, later = Experience(), Experience()
    for name, cost in costs.items():
        before.learn(name, cost)
    later.restore(before.dump())
    for name in costs:
        assert later.expected(name) == before.expected(name)


def test_what_was_learned_since_is_newer_than_the_file() -> None:
    old, new = Experience(), Experience()
    old.learn("m", Cost(9.0, 9.0))
    new.learn("m", Cost(1.0, 1.0))
    new.restore(old.dump())
    assert new.expected("m") == Cost(1.0, 1.0)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"loads": {"m": {"seconds": -1}}}', b'{"loads": 3}', b"\xff", b'{"x": 1}']
)
def test_a_damaged_file_teaches_nothing(data: bytes) -> None:
    with pytest.raises(ValueError, match="not what was written"):
        Experience().restore(data)


def test_only_so_much_is_remembered() -> None:
    experience = Experience()
    for number in range(MOST + 1):
        experience.learn(str(number), Cost(1.0))
    assert experience.expected("0") == Cost()
    assert experience.expected("1") == Cost(1.0)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "loads.json"
    assert read(path) is None
    write(path, b"one")
    write(path, b"two")
    assert read(path) == b"two"
    assert [file.name for file in path.parent.iterdir()] == ["loads.json"]


async def test_experience_outlives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "loads.json"
    await Ledger(path).learn(ENGINE, MODEL, Cost(2.0, 50.0))
    later = Ledger(path)
    assert later.expected(ENGINE, MODEL) == Cost()
    await later.restore()
    assert later.expected(ENGINE, MODEL) == Cost(2.0, 50.0)
    other = ModelSpec(source="team/model", compute_type="float32")
    assert later.expected(ENGINE, other) == Cost()


async def test_a_file_that_cannot_be_used_is_said_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "loads.json").write_bytes(b"{")
    damaged = Ledger(tmp_path / "loads.json")
    unwritable = Ledger(tmp_path / "loads.json" / "loads.json")
    with structlog.testing.capture_logs() as lines:
        await damaged.restore()
        await unwritable.learn(ENGINE, MODEL, Cost(1.0))
    assert [line["log_level"] for line in lines] == ["warning", "warning"]
    assert unwritable.expected(ENGINE, MODEL) == Cost(1.0)
