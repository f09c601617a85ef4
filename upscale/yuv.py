"""Planes of codes ↔ RGB in [0, 1]: one conversion, on numpy or, given other `Arrays`, on a device.

Formulas and ranges: ITU-T H.273 (matrix coefficients, full and limited range), BT.601, BT.709, BT.2020. RGB is cut off at 0
and 1: codes blacker than black and whiter than white do not survive.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from upscale.frame import Layout
from upscale.image import Color

Matrix = npt.NDArray[np.floating[Any]]

LUMA_WEIGHTS: dict[str, tuple[float, float]] = {
    "bt709": (0.2126, 0.0722),
    "fcc": (0.30, 0.11),
    "bt601": (0.299, 0.114),
    "smpte240m": (0.212, 0.087),
    "bt2020": (0.2627, 0.0593),
}
"""Matrix → the shares of red and of blue in luma."""

_YCGCO = np.array([[0.25, 0.5, 0.25], [-0.25, 0.5, -0.25], [0.5, 0.0, -0.5]])

MATRICES = ("rgb", "ycgco", *LUMA_WEIGHTS)


class Arrays(Protocol):
    """What the conversion asks of a library of arrays. Planes are (rows, columns), pictures (rows, columns, 3)."""

    def floats(self, plane: Any) -> Any:
        """The same codes as float32."""
        ...

    def codes(self, values: Any, depth: int) -> Any:
        """float32 values rounded to the nearest code of `depth` bits, and cut off at the first and last one."""
        ...

    def mix(self, picture: Any, matrix: Matrix, offset: Matrix) -> Any:
        """matrix · pixel + offset for each pixel, float32."""
        ...

    def stack(self, planes: Sequence[Any]) -> Any: ...

    def join(self, parts: Sequence[Any], axis: int) -> Any: ...

    def unit(self, picture: Any) -> Any:
        """Cut off at 0 and 1."""
        ...


class NumpyArrays:
    """On the processor."""

    def floats(self, plane: Any) -> Any:
        return np.asarray(plane, dtype=np.float32)

    def codes(self, values: Any, depth: int) -> Any:
        return np.clip(np.rint(values), 0, (1 << depth) - 1).astype(np.uint8 if depth == 8 else np.uint16)

    def mix(self, picture: Any, matrix: Matrix, offset: Matrix) -> Any:
        affine = np.column_stack((matrix, offset)).astype(np.float32)
        return cv2.transform(picture.astype(np.float32, copy=False), affine)

    def stack(self, planes: Sequence[Any]) -> Any:
        return cv2.merge(list(planes)) if len(planes) > 1 else planes[0][..., None]

    def join(self, parts: Sequence[Any], axis: int) -> Any:
        return np.concatenate(parts, axis)

    def unit(self, picture: Any) -> Any:
        return np.clip(picture, 0, 1, out=picture)


_NUMPY = NumpyArrays()


def rgb_of(planes: Sequence[Any], layout: Layout, color: Color, arrays: Arrays = _NUMPY) -> tuple[Any, Any]:
    """RGB (H, W, 3) and alpha (H, W) or None, float32 in [0, 1]. Raises KeyError for a matrix that is not in MATRICES."""
    height, width = planes[0].shape
    full = [arrays.floats(plane) for plane in planes[: layout.color_planes]]
    if layout.kind == "yuv":
        full[1:] = [_resampled(_doubled, plane, layout, color, arrays)[:height, :width] for plane in full[1:]]
    if layout.kind == "gray":
        full = full * 3
    matrix, offset = _to_rgb(layout, color.matrix, color.full_range)
    rgb = arrays.unit(arrays.mix(arrays.stack(full), matrix, offset))
    alpha = arrays.floats(planes[-1]) / np.float32((1 << layout.depth) - 1) if layout.alpha else None
    return rgb, alpha


def planes_of(rgb: Any, alpha: Any, layout: Layout, color: Color, arrays: Arrays = _NUMPY) -> tuple[Any, ...]:
    """The planes of a picture (H, W, 3) of floats in [0, 1], each code rounded once. A gray layout takes the mean of the
    channels; alpha (H, W) is wanted where the layout has it. Raises KeyError as `rgb_of`."""
    matrix, offset = _from_rgb(layout, color.matrix, color.full_range)
    mixed = arrays.mix(arrays.unit(rgb), matrix, offset)
    planes = [mixed[..., index] for index in range(layout.color_planes)]
    if layout.kind == "yuv":
        planes[1:] = [_resampled(_halved, plane, layout, color, arrays) for plane in planes[1:]]
    if layout.alpha:
        planes.append(alpha * ((1 << layout.depth) - 1))
    return tuple(arrays.codes(plane, layout.depth) for plane in planes)


@lru_cache(64)
def _from_rgb(layout: Layout, matrix: str, full_range: bool) -> tuple[Matrix, Matrix]:
    """(3, 3) and (3,): RGB in [0, 1] → codes."""
    top, unit = (1 << layout.depth) - 1, 1 << (layout.depth - 8)
    luma, black, chroma = (top, 0, top) if full_range else (219 * unit, 16 * unit, 224 * unit)
    if layout.kind == "gray":
        return np.full((3, 3), luma / 3), np.full(3, float(black))
    if layout.kind == "rgb":
        return np.eye(3) * luma, np.full(3, float(black))
    return _weights(matrix) * [[luma], [chroma], [chroma]], np.array([black, 128.0 * unit, 128.0 * unit])


@lru_cache(64)
def _to_rgb(layout: Layout, matrix: str, full_range: bool) -> tuple[Matrix, Matrix]:
    forward, offset = _from_rgb(layout, matrix, full_range)
    inverse = np.eye(3) / (3 * forward[0, 0]) if layout.kind == "gray" else np.linalg.inv(forward)
    return inverse, -inverse @ offset


def _weights(matrix: str) -> Matrix:
    """RGB → Y, Cb, Cr with luma in 0..1 and chroma in -0.5..0.5."""
    if matrix == "ycgco":
        return _YCGCO
    red, blue = LUMA_WEIGHTS[matrix]
    luma = np.array([red, 1 - red - blue, blue])
    return np.array([luma, ([0, 0, 1] - luma) / (2 - 2 * blue), ([1, 0, 0] - luma) / (2 - 2 * red)])


def _places(color: Color) -> tuple[str, str]:
    """Where a chroma sample lies among its two rows, and among its two columns: on the first, between, on the last."""
    where = color.chroma_location
    rows = "first" if where.startswith("top") else "last" if where.startswith("bottom") else "between"
    return rows, "first" if where.endswith("left") else "between"


def _resampled(step: Callable[..., Any], plane: Any, layout: Layout, color: Color, arrays: Arrays) -> Any:
    """`step`, _doubled or _halved, as often along each axis as the layout is subsampled there."""
    rows, columns = _places(color)
    for _ in range(layout.sub_y):
        plane = step(plane, 0, rows, arrays)
    for _ in range(layout.sub_x):
        plane = step(plane, 1, columns, arrays)
    return plane


def _doubled(plane: Any, axis: int, place: str, arrays: Arrays) -> Any:
    """Linearly between the samples' places."""
    before, after = _shifted(plane, axis, -1, arrays), _shifted(plane, axis, 1, arrays)
    if place == "first":
        pair = plane, (plane + after) / 2
    elif place == "last":
        pair = (before + plane) / 2, plane
    else:
        pair = 0.25 * before + 0.75 * plane, 0.75 * plane + 0.25 * after
    rows, columns = plane.shape
    woven = arrays.stack(pair)  # (rows, columns, 2)
    if axis == 1:
        return woven.reshape(rows, 2 * columns)
    return woven.swapaxes(1, 2).reshape(2 * rows, columns)


def _halved(plane: Any, axis: int, place: str, arrays: Arrays) -> Any:
    """Low-passed and every second sample: (1 2 1) / 4 where the new one lies on an old one, (1 3 3 1) / 8 between two."""
    if plane.shape[axis] % 2:
        plane = arrays.join((plane, _ends(plane, axis)[1]), axis)
    first, second = (plane[::2], plane[1::2]) if axis == 0 else (plane[:, ::2], plane[:, 1::2])
    before, after = _shifted(second, axis, -1, arrays), _shifted(first, axis, 1, arrays)
    if place == "first":
        return (before + 2 * first + second) / 4
    if place == "last":
        return (first + 2 * second + after) / 4
    return (before + 3 * first + 3 * second + after) / 8


def _shifted(plane: Any, axis: int, step: int, arrays: Arrays) -> Any:
    """Each sample's neighbor: the one before it (-1) or after it (1); the last of a side is its own."""
    first, last = _ends(plane, axis)
    if step < 0:
        return arrays.join((first, plane[:-1] if axis == 0 else plane[:, :-1]), axis)
    return arrays.join((plane[1:] if axis == 0 else plane[:, 1:], last), axis)


def _ends(plane: Any, axis: int) -> tuple[Any, Any]:
    return (plane[:1], plane[-1:]) if axis == 0 else (plane[:, :1], plane[:, -1:])
