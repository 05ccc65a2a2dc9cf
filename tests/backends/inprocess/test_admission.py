import pytest

from backends.errors import Overloaded
from backends.inprocess.admission import Admission


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def admission(clock: Clock) -> Admission:
    return Admission("speech", 100.0, unit="seconds of audio", clock=clock)


def test_work_is_counted_until_it_is_done(admission: Admission) -> None:
    with admission.admit(60) as done:
        assert admission.queued == 60
        done(25)
        assert admission.queued == 35
        done(1000)
        assert admission.queued == 0
    assert admission.queued == 0


def test_what_goes_beyond_the_limit_is_refused_until_there_is_room(admission: Admission) -> None:
    with admission.admit(60) as done:
        with pytest.raises(Overloaded, match="60 seconds of audio waiting"), admission.admit(50):
            pass
        done(20)
        with admission.admit(50):
            assert admission.queued == 90


def test_what_is_larger_than_the_limit_is_taken_when_nothing_waits(admission: Admission) -> None:
    with admission.admit(500), pytest.raises(Overloaded), admission.admit(1):
        pass
    with admission.admit(1):
        pass


def test_work_given_up_leaves_its_room(admission: Admission) -> None:
    with pytest.raises(ValueError, match="left"), admission.admit(100):
        raise ValueError("left")
    assert admission.queued == 0


def test_the_wait_follows_from_the_measured_speed(admission: Admission, clock: Clock) -> None:
    with admission.admit(100) as done:
        clock.now = 10.0
        done(20)  # 2 a second
        with pytest.raises(Overloaded) as refused, admission.admit(60):
            pass
    assert refused.value.retry_after == pytest.approx((80 + 60 - 100) / 2)


def test_time_without_work_does_not_slow_the_speed(admission: Admission, clock: Clock) -> None:
    with admission.admit(40) as done:
        clock.now = 10.0
        done(40)
    clock.now = 1000.0
    with admission.admit(100), pytest.raises(Overloaded) as refused, admission.admit(40):
        pass
    assert refused.value.retry_after == pytest.approx(10)
