"""Severity constants between the two published tables."""

import pytest

from edgeadapt_models.data.corruptions.scale import Scale

SHARE = Scale((0.1, 0.2, 0.3, 0.4, 0.5), (0.3, 0.4, 0.5, 0.6, 0.7))
LENGTH = Scale((1, 2, 3, 4, 5), (10, 20, 30, 40, 50), is_length=True)


@pytest.mark.parametrize("side", [8, 28, 32, 64])
def test_small_images_use_the_small_table(side: int) -> None:
    assert SHARE.at(3, side) == 0.3
    assert LENGTH.at(5, side) == 5


def test_large_images_use_the_large_table_and_lengths_keep_growing() -> None:
    assert SHARE.at(1, 448) == 0.3
    assert LENGTH.at(1, 224) == 10
    assert LENGTH.at(1, 448) == 20


def test_between_them_values_rise_with_the_size() -> None:
    values = [LENGTH.at(2, side) for side in (64, 96, 128, 160, 224)]
    assert values == sorted(values)
    assert LENGTH.at(2, 120) == pytest.approx(11, abs=0.1)  # 120 is the geometric mean of 64 and 224
