import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.inprocess.batch import RECOVERY, Backlog, Batch, Failed, compute_all, out_of_memory

WAIT = 1.0


@dataclass(frozen=True)
class Piece:
    """A job that can be told from every other."""

    owner: int
    key: str
    number: int


def backlog(max_batch: int = 4, **options: object) -> Backlog[str, Piece]:
    return Backlog(max_batch=max_batch, max_wait=WAIT, **options)  # type: ignore[arg-type]


arrivals = st.lists(st.tuples(st.integers(0, 4), st.sampled_from("ab")), max_size=60)


def pieces(who: Sequence[tuple[int, str]]) -> list[Piece]:
    return [Piece(owner, key, number) for number, (owner, key) in enumerate(who)]


@given(arrivals, st.integers(1, 7), st.integers(1, 9), st.sets(st.integers(0, 59)))
def test_every_job_comes_once_in_its_owners_order_with_mates_of_its_key(
    who: list[tuple[int, str]], max_batch: int, at_once: int, leaving: set[int]
) -> None:
    gone: set[int] = set()
    log = backlog(max_batch, left=lambda piece: piece.number in gone)
    waiting = pieces(who)
    taken: list[Piece] = []
    now = 0.0
    while waiting or log.due_at() is not None:
        for piece in waiting[:at_once]:
            log.add(piece.owner, piece.key, piece, now)
        del waiting[:at_once]
        gone |= leaving - {piece.number for piece in taken}
        now += WAIT
        if (batch := log.take(now)) is not None:
            assert 0 < len(batch.jobs) <= max_batch
            assert {piece.key for piece in batch.jobs} == {batch.key}
            taken += batch.jobs
    assert sorted(piece.number for piece in taken) == [number for number in range(len(who)) if number not in gone]
    for owner, key in {(piece.owner, piece.key) for piece in taken}:
        numbers = [piece.number for piece in taken if (piece.owner, piece.key) == (owner, key)]
        assert numbers == sorted(numbers)


@given(arrivals, st.integers(1, 7), st.sampled_from("ab"))
def test_a_newcomer_waits_for_no_more_batches_than_owners_were_there_before(
    who: list[tuple[int, str]], max_batch: int, key: str
) -> None:
    log = backlog(max_batch)
    for piece in pieces(who):
        log.add(piece.owner, piece.key, piece, 0.0)
    newcomer = Piece(99, key, 99)
    log.add(newcomer.owner, key, newcomer, 0.0)
    batches = 0
    while (batch := log.take(WAIT)) is not None and newcomer not in batch.jobs:
        batches += 1
        for piece in batch.jobs:  # whoever is served comes back at once with more
            log.add(piece.owner, piece.key, piece, 0.0)
    assert batch is not None
    assert batches <= len({owner for owner, _ in who})


def test_a_key_may_have_a_limit_of_its_own() -> None:
    log = backlog(4, limit=lambda key: {"a": 2, "b": 9, "c": None}[key])
    for key in "abc":
        for number in range(5):
            log.add(0, key, Piece(0, key, number), 0.0)
    sizes: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    while (batch := log.take(WAIT)) is not None:
        sizes[batch.key].append(len(batch.jobs))
    assert sizes == {"a": [2, 2, 1], "b": [4, 1], "c": [4, 1]}
    for number in range(2):
        log.add(0, "a", Piece(0, "a", number), 0.0)
    assert log.due_at() == -math.inf


def test_an_hour_long_file_leaves_room_for_a_clip() -> None:
    log = backlog(4)
    for number in range(120):
        log.add(0, "a", Piece(0, "a", number), 0.0)
    log.add(1, "a", Piece(1, "a", 999), 0.0)
    batch = log.take(0.0)
    assert batch is not None
    assert [piece.owner for piece in batch.jobs] == [0, 1, 0, 0]


def test_a_batch_is_due_when_it_is_full_or_its_oldest_job_has_waited() -> None:
    log = backlog(2)
    assert log.due_at() is None
    log.add(0, "a", Piece(0, "a", 0), 5.0)
    log.add(0, "b", Piece(0, "b", 1), 5.5)
    assert log.due_at() == 5.0 + WAIT
    assert log.take(5.9) is None
    log.add(1, "b", Piece(1, "b", 2), 5.9)
    batch = log.take(5.9)
    assert batch == Batch("b", (Piece(0, "b", 1), Piece(1, "b", 2)))
    assert log.take(6.0) == Batch("a", (Piece(0, "a", 0),))
    assert log.due_at() is None


def test_draining_gives_back_all_that_waits() -> None:
    log = backlog()
    for piece in (some := pieces([(0, "a"), (1, "b"), (0, "a")])):
        log.add(piece.owner, piece.key, piece, 0.0)
    assert set(log.drain()) == set(some)
    assert log.take(9.0) is None


def test_what_did_not_fit_halves_the_room_and_it_comes_back_slowly() -> None:
    log = backlog(8)
    log.ran(8, fitted=False)
    assert log.room == 4
    log.ran(3, fitted=False)
    assert log.room == 1
    for _ in range(RECOVERY):
        log.ran(1, fitted=True)
    assert log.room == 2
    for _ in range(3 * RECOVERY):
        log.ran(2, fitted=True)
    assert log.room == 8


@given(st.lists(st.integers(0, 99), min_size=1, max_size=20), st.integers(1, 20), st.sets(st.integers(0, 99)))
def test_too_large_batches_are_halved_and_bad_jobs_fail_alone(jobs: list[int], fits: int, bad: set[int]) -> None:
    def compute(key: str, batch: Sequence[int]) -> list[int]:
        assert key == "double"
        if len(batch) > fits:
            raise RuntimeError("CUDA failed with error out of memory")
        if bad & set(batch):
            raise ValueError("no such thing")
        return [2 * job for job in batch]

    answers = compute_all(compute, Batch("double", tuple(jobs)))
    assert len(answers) == len(jobs)
    for job, answer in zip(jobs, answers, strict=True):
        if job in bad:
            assert isinstance(answer, Failed)
            assert isinstance(answer.error, ValueError)
        else:
            assert answer == 2 * job


def test_a_computation_that_loses_results_is_caught() -> None:
    with pytest.raises(AssertionError, match="1 results came for 2 jobs"):
        compute_all(lambda _, jobs: jobs[:1], Batch("a", (1, 2)))


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA failed with error out of memory"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("CUDA failed with error unspecified launch failure"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_lack_of_memory_is_told_from_other_failures(error: Exception, full: bool) -> None:
    assert out_of_memory(error) is full
