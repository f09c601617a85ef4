"""The final resampling: the same in any bands, Pillow's away from the rim, and never a shift."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pil

from upscale.image import Floats
from upscale.resample import Kernel, catmull_rom, lanczos, resampled, weights
from upscale.rows import bands

KERNELS = [lanczos, catmull_rom]
by_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=["lanczos", "catmull-rom"])
REACH = {lanczos: 3, catmull_rom: 2}
PILLOW = {lanczos: Pil.Resampling.LANCZOS, catmull_rom: Pil.Resampling.BICUBIC}

ROUNDING = 1e-5
"""float32 sums of up to 12 weighted values of at most 1."""

SIZES = [((40, 30), (80, 60)), ((40, 31), (57, 100)), ((60, 50), (30, 25)), ((61, 47), (23, 40)), ((48, 48), (36, 90))]


def resize(pixels: Floats, new_size: tuple[int, int], kernel: Kernel, rows: int = 1000) -> Floats:
    return np.concatenate(list(resampled(bands(pixels, rows), pixels.shape[:2], new_size, kernel)))


def noise(height: int, width: int, channels: int = 3) -> Floats:
    return np.random.default_rng((height, width)).random((height, width, channels), dtype=np.float32)


def inside(kernel: Kernel, old: int, new: int) -> slice:
    """Outputs whose kernels do not reach beyond the picture."""
    rim = int(np.ceil((REACH[kernel] * max(1, old / new) + 1) * new / old))
    return slice(rim, new - rim)


@st.composite
def sizes(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[int, int]]:
    old = draw(st.integers(1, 40)), draw(st.integers(1, 12))
    new = tuple(max(1, round(side * draw(st.floats(0.25, 4)))) for side in old)
    return old, (new[0], new[1])


@settings(max_examples=150, deadline=None)
@given(sizes(), st.sampled_from(KERNELS), st.data())
def test_any_bands_give_the_whole_bit_for_bit(
    both: tuple[tuple[int, int], tuple[int, int]], kernel: Kernel, data: st.DataObject
) -> None:
    old, new = both
    pixels = noise(*old)
    ends = [0, *sorted(data.draw(st.sets(st.integers(1, max(1, old[0] - 1)), max_size=8)) - {old[0]}), old[0]]

    def stream() -> Iterator[Floats]:
        for start, stop in pairwise(ends):
            yield pixels[start:stop]

    got = np.concatenate(list(resampled(stream(), old, new, kernel)))
    assert got.dtype == np.float32
    assert got.shape == (*new, 3)
    np.testing.assert_array_equal(got, resize(pixels, new, kernel))


def test_rows_leave_as_soon_as_they_can() -> None:
    stream = bands(noise(90, 4), 10)
    first = next(resampled(stream, (90, 4), (180, 8)))
    assert first.shape[0] >= 14, "all rows whose kernels lie within the first band"
    assert sum(band.shape[0] for band in stream) == 80


@by_kernel
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_interior_is_pillows(kernel: Kernel, old: tuple[int, int], new: tuple[int, int]) -> None:
    """At the rim Pillow drops the weights outside; this replicates the picture."""
    pixels = noise(*old, 1)
    theirs = np.asarray(Pil.fromarray(pixels[..., 0], "F").resize(new[::-1], PILLOW[kernel]))
    ours = resize(pixels, new, kernel)[..., 0]
    inner = tuple(inside(kernel, *sides) for sides in zip(old, new, strict=True))
    assert ours[inner].size > 0.2 * ours.size
    np.testing.assert_allclose(ours[inner], theirs[inner], atol=ROUNDING, rtol=0)


@settings(max_examples=80, deadline=None)
@given(sizes(), st.sampled_from(KERNELS), st.sampled_from([0.0, 1 / 255, 0.5, 1.0]))
def test_flat_colors_stay_flat(both: tuple[tuple[int, int], tuple[int, int]], kernel: Kernel, value: float) -> None:
    old, new = both
    flat = np.full((*old, 3), value, np.float32)
    np.testing.assert_allclose(resize(flat, new, kernel), value, atol=2e-6, rtol=0)


@by_kernel
@pytest.mark.parametrize(("old", "new"), [*SIZES, ((1, 1), (4, 4)), ((2, 3), (1, 1)), ((5, 4), (5, 4))])
def test_nothing_shifts_so_mirrored_pictures_give_mirrored_results(
    kernel: Kernel, old: tuple[int, int], new: tuple[int, int]
) -> None:
    pixels = noise(*old)
    mirrored = resize(np.ascontiguousarray(pixels[::-1, ::-1]), new, kernel)[::-1, ::-1]
    np.testing.assert_allclose(resize(pixels, new, kernel), mirrored, atol=ROUNDING, rtol=0)


@by_kernel
@pytest.mark.parametrize("new", [17, 40, 64, 100])
def test_a_ramp_stays_where_it_is(kernel: Kernel, new: int) -> None:
    """Edges are aligned: output pixel i lies at (i + 1/2)·old/new - 1/2."""
    old = 40
    ramp = np.tile(np.arange(old, dtype=np.float32)[:, None, None], (1, 3, 1))
    places = (np.arange(new) + 0.5) * old / new - 0.5
    got = resize(ramp, (new, 3), kernel)[:, 1, 0]
    inner = inside(kernel, old, new)
    # Sampled kernels do not reproduce a ramp exactly: their first moment is off by up to 2 % of a pixel.
    np.testing.assert_allclose(got[inner], places[inner], atol=0.02, rtol=0)


@by_kernel
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2)])
@pytest.mark.parametrize("new", [(1, 1), (1, 7), (7, 1), (3, 5)])
def test_pictures_of_one_pixel_and_results_of_one_pixel(
    kernel: Kernel, size: tuple[int, int], new: tuple[int, int]
) -> None:
    got = resize(noise(*size), new, kernel, rows=1)
    assert got.shape == (*new, 3)
    assert np.isfinite(got).all()
    if size == (1, 1):
        np.testing.assert_allclose(got, np.broadcast_to(noise(1, 1), (*new, 3)), atol=2e-6)


@by_kernel
def test_same_size_changes_nothing(kernel: Kernel) -> None:
    pixels = noise(21, 17)
    np.testing.assert_allclose(resize(pixels, (21, 17), kernel), pixels, atol=1e-6, rtol=0)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(KERNELS))
def test_weights_add_up_to_one_and_lie_within_the_picture(old: int, new: int, kernel: Kernel) -> None:
    found = weights(old, new, kernel)
    np.testing.assert_allclose(found.values.sum(axis=1), 1, atol=ROUNDING)
    assert found.first.min() >= 0
    assert found.first.max() + found.values.shape[1] <= old
    assert (np.diff(found.first) >= 0).all(), "rows are needed in order, so that a stream can be dropped behind them"
