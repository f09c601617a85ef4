"""Undoing a resize whose kernel and sizes are known: each axis is a linear map, solved by least squares."""

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

KERNELS: dict[str, int | Image.Resampling] = {
    "cubic": cv2.INTER_CUBIC,
    "linear": cv2.INTER_LINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
"""OpenCV's (which do not smooth what they shrink; bicubic with a = -0.75) and Pillow's (a = -0.5; three lobes)."""
_DAMPING = 1e-4


@lru_cache(maxsize=256)
def matrix(kernel: str, length: int, target: int) -> npt.NDArray[np.float32]:
    """(target, length): what the resize does to one axis, read off unit impulses."""
    impulses = np.eye(length, dtype=np.float32)
    how = KERNELS[kernel]
    if isinstance(how, Image.Resampling):
        return np.asarray(Image.fromarray(impulses).resize((length, target), how))
    return np.asarray(cv2.resize(impulses, (length, target), interpolation=how), np.float32)


@lru_cache(maxsize=256)
def inverse(kernel: str, length: int, target: int) -> npt.NDArray[np.float32]:
    """(length, target): least squares for an enlargement from `length` to `target`, slightly damped."""
    forward = matrix(kernel, length, target).astype(np.float64)
    square = forward.T @ forward + _DAMPING * np.eye(length)
    return np.linalg.solve(square, forward.T).astype(np.float32)


def undone(levels: npt.NDArray[np.float32], kernel: str, height: int, width: int) -> npt.NDArray[np.float32]:
    """The picture (height, width, 3) that was enlarged to this one (H, W, 3); levels are kept unrounded.

    A picture that was shrunk cannot be restored: it is only brought back to its size, with the same kernel.
    """
    down = back(kernel, height, levels.shape[0])
    across = back(kernel, width, levels.shape[1])
    tall = np.tensordot(down, levels, (1, 0))
    return np.ascontiguousarray(np.tensordot(across, tall, (1, 1)).transpose(1, 0, 2))


def back(kernel: str, length: int, target: int) -> npt.NDArray[np.float32]:
    """(length, target): from the axis of the final picture to that before the resize."""
    return inverse(kernel, length, target) if length <= target else matrix(kernel, target, length)
