"""A heap with stale entries says the same as looking at everything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgeadapt_device.core.deadlines import Deadlines

_STEPS = st.lists(
    st.tuples(
        st.sampled_from(("set", "set", "drop", "shift", "due")), st.integers(0, 12), st.floats(0.0, 100.0)
    ),
    max_size=300,
)


@given(_STEPS)
def test_it_is_as_if_all_were_looked_at(steps: list[tuple[str, int, float]]) -> None:
    deadlines, plain = Deadlines(), dict[int, float]()
    for what, number, value in steps:
        match what:
            case "set":
                deadlines.set(number, value)
                plain[number] = value
            case "drop":
                deadlines.drop(number)
                plain.pop(number, None)
            case "shift":
                deadlines.shift(value)
                plain = {n: at + value for n, at in plain.items()}
            case _:
                over = sorted((at, n) for n, at in plain.items() if at <= value)
                assert deadlines.due(value) == [n for _, n in over]
                for _, n in over:
                    del plain[n]
        assert deadlines.first == min(plain.values(), default=None)
        assert len(deadlines) == len(plain)
        assert all((n in deadlines) == (n in plain) for n in range(13))


def test_what_is_put_off_again_and_again_takes_no_room() -> None:
    deadlines = Deadlines()
    for at in range(10_000):
        deadlines.set(at % 3, 1e6 - at)
    assert len(deadlines) == 3
    assert len(deadlines._heap) < 100
