from hypothesis import given
from hypothesis import strategies as st

from backends.whisper.timeline import Timeline

seconds = st.floats(-10, 100)


def test_times_that_are_in_order_stay_as_they_are() -> None:
    timeline = Timeline(0.0, 10.0)
    assert [timeline.place(0.5, 2.0), timeline.place(2.0, 3.14)] == [(0.5, 2.0), (2.0, 3.14)]


def test_times_are_kept_within_the_file_and_apart() -> None:
    timeline = Timeline(0.0, 3.0)
    assert [timeline.place(-0.5, 2.0), timeline.place(1.8, 9.0), timeline.place(5.0, 6.0)] == [
        (0.0, 2.0),
        (2.0, 3.0),
        (3.0, 3.0),
    ]


@given(st.floats(0, 50), st.lists(st.tuples(seconds, seconds)))
def test_any_times_come_out_in_order_and_inside(end: float, spans: list[tuple[float, float]]) -> None:
    timeline, last = Timeline(0.0, end), 0.0
    for span in spans:
        start, stop = timeline.place(*span)
        assert last <= start <= stop <= end
        last = stop
