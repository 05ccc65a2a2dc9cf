"""How far a load is: percent of the whole, never backwards."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from backends.base import Progress
from proxy.lifecycle.progress import Standing, advanced, warming

REPORTS = st.builds(
    Progress,
    st.sampled_from(["download", "convert", "load"]),
    st.integers(0, 1000),
    st.none() | st.integers(0, 1000),
)


@given(st.lists(REPORTS, min_size=1))
def test_whatever_is_reported(reports: list[Progress]) -> None:
    standing: Standing | None = None
    percents = []
    for report in reports:
        standing = advanced(standing, report)
        percents.append(standing.percent)
    assert all(before <= after for before, after in pairwise(percents))
    assert percents[0] >= 0
    assert percents[-1] < 99
    assert warming(standing).percent == 99


def test_stages_that_a_load_does_not_have_take_no_room() -> None:
    assert advanced(None, Progress("load", 1, 2)) == Standing("loading_weights", 49, "loading_weights")
    assert advanced(None, Progress("convert", 1, 2)).percent == 30
    downloading = advanced(None, Progress("download", 1, 2))
    assert (downloading.stage, downloading.percent) == ("downloading", 35)
    assert advanced(downloading, Progress("load")).percent == 85
    assert warming(None) == Standing("warming_up", 99, "loading_weights")
