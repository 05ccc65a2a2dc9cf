import numpy as np
import pytest

from backends.whisper.windows import EARLIER, window_size


def test_sound_that_fits_is_one_window() -> None:
    assert window_size(np.zeros((80, 1000), np.float32), 1000) == 1000
    assert window_size(np.zeros((80, 1), np.float32), 1000) == 1


@pytest.mark.parametrize("quiet", [1000 - EARLIER, 850, 960, 990])
def test_longer_sound_is_cut_where_it_is_quietest_near_the_end(quiet: int) -> None:
    features = np.ones((80, 2500), np.float32)
    features[:, quiet : quiet + 10] = -1
    features[:, 100:200] = -1
    assert quiet < window_size(features, 1000) < quiet + 10


def test_steady_sound_fills_the_window_nearly() -> None:
    assert 990 <= window_size(np.ones((80, 2500), np.float32), 1000) <= 1000
