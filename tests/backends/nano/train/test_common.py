"""The held-out rule, the schedule and the loop that the trainings share."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, repeat

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backends.nano.train.common import Plan, held_out, optimise, padded, score_table, slices


def test_the_held_out_rule_never_moves() -> None:
    """Shipped weights were trained under it: these are its answers for good."""
    assert [n for n in range(60) if held_out(str(n), 12)] == [0, 6, 10, 16, 18, 20, 31, 39, 45]


@given(st.integers(1, 5000), st.integers(1, 300), st.data())
def test_the_rate_warms_up_and_ends_at_two_percent(steps: int, warmup: int, data: st.DataObject) -> None:
    plan = Plan(steps=steps, peak=1e-3, warmup=warmup, weight_decay=0.0)
    step = data.draw(st.integers(1, steps))
    assert 0 < plan.rate(step) <= 1e-3
    assert plan.rate(steps) == pytest.approx(0.02e-3 * min(1, steps / warmup))


@given(st.integers(100, 5000), st.integers(1, 99), st.data())
def test_with_a_cooldown_the_rate_stays_and_then_falls_in_a_straight_line(
    steps: int, cooldown: int, data: st.DataObject
) -> None:
    plan = Plan(steps=steps, peak=1e-3, warmup=1, weight_decay=0.0, cooldown=cooldown)
    assert plan.rate(data.draw(st.integers(1, steps - cooldown))) == pytest.approx(1e-3)
    falls = [plan.rate(step) - plan.rate(step + 1) for step in range(steps - cooldown, steps)]
    assert falls == pytest.approx([0.98e-3 / cooldown] * cooldown)
    assert plan.rate(steps) == pytest.approx(0.02e-3)


def test_the_loop_saves_every_so_often_and_at_the_end() -> None:
    weight, steps, saved = torch.nn.Parameter(torch.ones(1)), list[int](), list[int]()

    def loss(step: int) -> torch.Tensor:
        steps.append(step)
        return weight.sum()

    plan = Plan(steps=5, peak=0.1, warmup=1, weight_decay=0.0)
    optimise([weight], count(1), loss, plan, save=lambda: saved.append(steps[-1]), save_every=2)
    assert saved == [2, 4, 5]


def test_the_loop_learns_and_reports_every_loss(capsys: pytest.CaptureFixture[str]) -> None:
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    plan = Plan(steps=40, peak=0.1, warmup=5, weight_decay=0.0)
    losses = optimise([weight], repeat(torch.ones(2, 2)), lambda wanted: ((weight - wanted) ** 2).mean(), plan, 20)
    assert len(losses) == 40
    assert losses[-1] < 0.1 * losses[0]
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["20/40", "40/40"]


def test_the_loop_takes_as_many_batches_as_steps() -> None:
    taken: list[int] = []

    def batches() -> Iterator[int]:
        for i in range(10):
            taken.append(i)
            yield i

    weight = torch.nn.Parameter(torch.ones(1))
    optimise([weight], batches(), lambda _: weight.sum(), Plan(steps=3, peak=0.1, warmup=1, weight_decay=0.0))
    assert taken == [0, 1, 2]


@given(st.lists(st.lists(st.integers(0, 99), min_size=1), min_size=1))
def test_padding_keeps_rows_and_fills_the_right(rows: list[list[int]]) -> None:
    tensor = padded(rows, -1)
    assert tensor.shape == (len(rows), max(map(len, rows)))
    assert [[value for value in row if value >= 0] for row in tensor.tolist()] == rows


@given(st.lists(st.integers()), st.integers(1, 9))
def test_slices_cover_everything_in_order(items: list[int], size: int) -> None:
    parts = list(slices(items, size))
    assert [item for part in parts for item in part] == items
    assert all(1 <= len(part) <= size for part in parts)


def test_the_score_table_sums_up() -> None:
    table = score_table({"sums": [True, True], "lists": [True, False], "none": []})
    assert [line.split() for line in table.splitlines()] == [
        ["sums", "2/2", "100.00", "%"],
        ["lists", "1/2", "50.00", "%"],
        ["all", "3/4", "75.00", "%"],
    ]
