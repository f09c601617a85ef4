"""Streams of row bands give what the whole picture would, however they are cut."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from upscale.image import Floats
from upscale.rows import Padding, RowReader, bands, cropped, padded, unshuffled

PADDINGS = st.builds(Padding, *[st.integers(0, 40)] * 4, st.booleans(), st.booleans())
SIZES = st.tuples(st.integers(1, 30), st.integers(1, 20))


def picture(height: int, width: int, channels: int = 3) -> Floats:
    """Every value occurs once, so that no two rows or columns can be mixed up."""
    return np.arange(height * width * channels, dtype=np.float32).reshape(height, width, channels)


def cut(pixels: Floats, data: st.DataObject) -> Iterator[Floats]:
    """The picture in bands of drawn heights."""
    height = pixels.shape[0]
    inner = data.draw(st.sets(st.integers(1, height - 1), max_size=6)) if height > 1 else set()
    ends = [0, *sorted(inner), height]
    return iter([pixels[start:stop] for start, stop in pairwise(ends)])


def by_hand(pixels: Floats, padding: Padding) -> Floats:
    rows, columns = (padding.top, padding.bottom), (padding.left, padding.right)
    taller = np.pad(pixels, (rows, (0, 0), (0, 0)), "wrap" if padding.wrap_y else "edge")
    return np.pad(taller, ((0, 0), columns, (0, 0)), "wrap" if padding.wrap_x else "edge")


@given(st.integers(1, 50), st.integers(1, 60))
def test_bands_are_the_picture_in_order(height: int, rows: int) -> None:
    parts = list(bands(picture(height, 2), rows))
    assert all(part.shape[0] == rows for part in parts[:-1])
    np.testing.assert_array_equal(np.concatenate(parts), picture(height, 2))


@given(SIZES, PADDINGS, st.data())
def test_padding_replicates_or_wraps_exactly_in_any_bands(
    size: tuple[int, int], padding: Padding, data: st.DataObject
) -> None:
    pixels = picture(*size)
    got = np.concatenate(list(padded(cut(pixels, data), padding)))
    np.testing.assert_array_equal(got, by_hand(pixels, padding))


def test_padding_passes_rows_on_as_they_come() -> None:
    """Only vertical wrapping may wait for the whole picture."""
    taken: list[int] = []

    def source() -> Iterator[Floats]:
        for number, band in enumerate(bands(picture(30, 4), 3)):
            taken.append(number)
            yield band

    stream = padded(source(), Padding(4, 4, 4, 4, wrap_x=True))
    next(stream)
    next(stream)
    assert taken == [0]


@given(SIZES, PADDINGS, st.data())
def test_cropping_undoes_padding(size: tuple[int, int], padding: Padding, data: st.DataObject) -> None:
    pixels = picture(*size)
    stream = padded(cut(pixels, data), padding)
    got = np.concatenate(list(cropped(stream, padding.top, padding.left, *size)))
    np.testing.assert_array_equal(got, pixels)


@given(SIZES, st.data())
def test_cropping_is_slicing(size: tuple[int, int], data: st.DataObject) -> None:
    pixels = picture(*size)
    top, left = data.draw(st.integers(0, size[0])), data.draw(st.integers(0, size[1] - 1))
    height, width = data.draw(st.integers(0, size[0] - top)), data.draw(st.integers(1, size[1] - left))
    parts = list(cropped(cut(pixels, data), top, left, height, width))
    assert all(part.shape[0] for part in parts)
    got = np.concatenate([pixels[:0, left : left + width], *parts])
    np.testing.assert_array_equal(got, pixels[top : top + height, left : left + width])


@given(SIZES, st.data())
def test_reader_gives_any_heights_in_order(size: tuple[int, int], data: st.DataObject) -> None:
    pixels = picture(*size)
    reader, row = RowReader(cut(pixels, data)), 0
    while row < size[0]:
        rows = data.draw(st.integers(1, size[0] - row))
        np.testing.assert_array_equal(reader.read(rows), pixels[row : row + rows])
        row += rows


def test_reader_says_how_many_rows_are_missing() -> None:
    reader = RowReader(bands(picture(10, 2), 4))
    reader.read(7)
    with pytest.raises(ValueError, match="2 rows are missing"):
        reader.read(5)


def test_reader_takes_no_more_than_it_needs() -> None:
    """A huge picture is never read ahead."""
    stream = bands(picture(40, 2), 4)
    RowReader(stream).read(9)
    assert sum(band.shape[0] for band in stream) == 40 - 12


def test_what_the_reader_has_given_away_is_not_kept() -> None:
    pixels = picture(12, 2)
    reader = RowReader(iter([pixels[:6], pixels[6:]]))
    assert reader.read(6).shape[0] == 6
    np.testing.assert_array_equal(reader.read(6), pixels[6:])


@settings(max_examples=50)
@given(st.sampled_from([1, 2, 3, 4, 8]), st.integers(1, 5), st.integers(1, 4), st.data())
def test_unshuffling_in_odd_bands_is_torchs_pixel_unshuffle(
    factor: int, rows: int, columns: int, data: st.DataObject
) -> None:
    pixels = picture(rows * factor, columns * factor)
    got = np.concatenate(list(unshuffled(cut(pixels, data), factor)))
    whole = torch.from_numpy(pixels).permute(2, 0, 1)
    wanted = torch.nn.functional.pixel_unshuffle(whole, factor).permute(1, 2, 0)
    np.testing.assert_array_equal(got, wanted.numpy())


def test_wrapping_gives_few_rows_at_a_time() -> None:
    """A step that holds a whole band would else hold the whole picture."""
    picture = np.random.default_rng(0).random((100, 20, 3), np.float32)
    parts = list(padded(bands(picture, 50), Padding(0, 0, 30, 30, wrap_y=True)))
    assert max(part.shape[0] for part in parts) <= 16
    np.testing.assert_array_equal(np.concatenate(parts), np.pad(picture, ((30, 30), (0, 0), (0, 0)), mode="wrap"))
