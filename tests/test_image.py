"""Integers to floats and back: exact, rounded to the nearest level, and never outside."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upscale.image import Array, Color, Image, Metadata, from_float, to_float

INTEGERS = [(np.uint8, 255), (np.uint16, 65535)]


@pytest.mark.parametrize(("dtype", "full"), INTEGERS)
def test_every_integer_survives_the_round_trip(dtype: npt.DTypeLike, full: int) -> None:
    values = np.arange(full + 1).astype(dtype)
    floats = to_float(values)
    assert floats.dtype == np.float32
    assert (floats[0], floats[-1]) == (0.0, 1.0)
    assert (np.diff(floats) > 0).all()
    assert np.array_equal(from_float(floats, dtype), values)


@pytest.mark.parametrize(("dtype", "full"), INTEGERS)
@pytest.mark.parametrize("part", [0.02, 0.3, 0.49])
def test_floats_go_to_the_nearest_level_and_are_never_truncated(dtype: npt.DTypeLike, full: int, part: float) -> None:
    levels = np.arange(1, full)
    # a float32 near 1 resolves 1/256 of a 16-bit level: too little to spoil any of these parts
    for offset in (-part, part):
        stored = from_float(((levels + offset) / full).astype(np.float32), dtype)
        assert stored.dtype == dtype
        assert np.array_equal(stored, levels.astype(dtype))


def test_boundary_between_black_and_the_first_level() -> None:
    below, above = np.float32(0.499 / 255), np.float32(0.501 / 255)
    assert from_float(np.array([below, above], np.float32), np.uint8).tolist() == [0, 1]
    assert from_float(np.array([0.999 / 255, 254.51 / 255], np.float32), np.uint8).tolist() == [1, 255]


@pytest.mark.parametrize(("dtype", "full"), INTEGERS)
def test_values_outside_are_clipped_and_never_wrap_around(dtype: npt.DTypeLike, full: int) -> None:
    values = np.array([-1e30, -1.0, -1e-6, 1.0 + 1e-6, 1.01, 257 / 255, 1e30, np.inf, -np.inf], np.float32)
    assert from_float(values, dtype).tolist() == [0, 0, 0, full, full, full, full, full, 0]


def test_floats_stay_floats_but_are_clipped() -> None:
    values = np.array([-0.5, 0.25, 1.5], np.float32)
    stored = from_float(values, np.float32)
    assert stored.dtype == np.float32
    assert stored.tolist() == [0.0, 0.25, 1.0]
    assert values.tolist() == [-0.5, 0.25, 1.5], "the caller's array is not touched"


def test_floats_are_taken_as_they_are() -> None:
    assert to_float(np.array([0.1, 2.0], np.float32)).tolist() == [np.float32(0.1), 2.0]
    assert to_float(np.array([0.5], np.float64)).dtype == np.float32


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=50))
def test_no_level_is_further_than_half_a_level_away(values: list[float]) -> None:
    for dtype, full in INTEGERS:
        stored = from_float(np.array(values, np.float32), dtype).astype(np.float64)
        assert np.abs(stored - np.array(values, np.float64) * full).max() <= 0.5 + full * 2.0**-24


def test_sizes_are_width_and_height() -> None:
    image = Image(np.zeros((3, 5, 3), np.uint8), np.zeros((3, 5), np.uint8))
    assert (image.width, image.height) == (5, 3)
    assert (image.color, image.metadata) == (Color(), Metadata())


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 1), (3, 5, 4), (0, 5, 3), (3, 0, 3), (1, 3, 5, 3), (3,)])
def test_pixels_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="rgb must be"):
        Image(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int16, np.int64, np.bool_, np.uint32])
def test_pixels_of_another_type_are_refused(dtype: npt.DTypeLike) -> None:
    with pytest.raises(ValueError, match="uint8, uint16 or float32"):
        Image(np.zeros((3, 5, 3), dtype))


@pytest.mark.parametrize(
    "alpha",
    [
        np.zeros((5, 3), np.uint8),
        np.zeros((3, 5, 1), np.uint8),
        np.zeros((3, 5), np.uint16),
        np.zeros((2, 5), np.uint8),
    ],
    ids=["turned", "three axes", "other type", "too short"],
)
def test_alpha_must_fit_the_pixels(alpha: Array) -> None:
    with pytest.raises(ValueError, match="alpha must be"):
        Image(np.zeros((3, 5, 3), np.uint8), alpha)
