"""Names by rank, as ranks change."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.routing.ranking import Ranking

NAMES = st.sampled_from("abcdefgh")
STEPS = st.lists(st.tuples(NAMES, st.none() | st.tuples(st.integers(0, 5), st.integers(0, 5))), max_size=200)


@given(STEPS)
def test_the_lowest_rank_comes_first_however_ranks_change(steps: list[tuple[str, tuple[int, int] | None]]) -> None:
    ranking, plain = Ranking(), dict[str, tuple[int, int]]()
    for name, rank in steps:
        if rank is not None:
            ranking.put(name, rank)
            plain[name] = rank
        elif name in plain:
            ranking.drop(name)
            del plain[name]
        if plain:
            assert ranking.first() == min(plain, key=lambda each: (plain[each], each))


def test_outdated_ranks_are_forgotten() -> None:
    ranking = Ranking()
    for number in range(10_000):
        ranking.put("a", (-number,))
        ranking.put("b", (number,))
    assert len(ranking._heap) < 30
    assert ranking.first() == "a"
