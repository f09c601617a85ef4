"""Sizes: a scale, exact sides, one side, or the longer one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upscale.sizes import Size

SIDE = st.integers(1, 5000)


@pytest.mark.parametrize(
    ("size", "wanted", "tag"),
    [
        (Size(scale=4), (1200, 800), "4"),
        (Size(scale=2.5), (750, 500), "2.5"),
        (Size(scale=0.5), (150, 100), "0.5"),
        (Size(width=900, height=900), (900, 900), "900x900"),
        (Size(width=600), (600, 400), "w600"),
        (Size(height=600), (900, 600), "h600"),
        (Size(fit=1000), (1000, 667), "fit1000"),
        (Size(fit=30), (30, 20), "fit30"),
    ],
)
def test_sizes_of_a_picture_of_300_by_200(size: Size, wanted: tuple[int, int], tag: str) -> None:
    assert size.of(300, 200) == wanted
    assert size.tag == tag


def test_fit_is_the_height_of_an_upright_picture() -> None:
    assert Size(fit=1000).of(200, 300) == (667, 1000)
    assert Size(fit=1000).of(300, 300) == (1000, 1000)


@given(SIDE, SIDE, st.integers(1, 5000))
def test_the_side_that_was_asked_for_is_exact(width: int, height: int, side: int) -> None:
    asked = (
        (Size(width=side), lambda w, h: w),
        (Size(height=side), lambda w, h: h),
        (Size(fit=side), lambda w, h: max(w, h)),
    )
    for size, read in asked:
        try:
            result = size.of(width, height)
        except ValueError:
            assert side > 16 * min(width, height)
            continue
        assert read(*result) == side
        ratio = side / read(width, height)
        assert abs(result[0] - width * ratio) <= 1
        assert abs(result[1] - height * ratio) <= 1


@pytest.mark.parametrize(
    "wrong",
    [{}, {"scale": 2, "width": 5}, {"fit": 5, "height": 5}, {"scale": 0.4}, {"scale": 17}, {"width": 0}, {"fit": -3}],
)
def test_what_is_no_size_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"size|scale|side"):
        Size(**wrong)


def test_more_than_sixteen_times_is_refused() -> None:
    with pytest.raises(ValueError, match="16 times"):
        Size(width=1601).of(100, 100)
    assert Size(width=1600).of(100, 100) == (1600, 1600)
