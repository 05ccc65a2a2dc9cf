"""Joined files are told apart again."""

import pytest

from tests.bench.speech_faster_whisper import part_of


@pytest.mark.parametrize(("at", "part"), [(0.0, 0), (1.9, 0), (2.1, 1), (5.0, 1), (6.5, 2), (9.0, 2)])
def test_part_of(at: float, part: int) -> None:
    assert part_of([(0.0, 2.0), (2.0, 5.0), (5.0, 6.0)], at) == part
