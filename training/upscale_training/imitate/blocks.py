"""Planes in levels of 0..255, and their 8×8 blocks seen as cosines (orthonormal DCT, as JPEG's with its scale)."""

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]
"""(H, W), 8-bit levels; luma around 0..255, chroma around 0."""
Blocks = npt.NDArray[np.float32]
"""(n, 8, 8): frequencies (vertical, horizontal) of n blocks."""

# ITU-T T.871 (JFIF): rows Y, Cb, Cr.
TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)


def planes(levels: npt.NDArray[np.float32]) -> tuple[Plane, Plane, Plane]:
    """(H, W, 3) RGB in 0..255 → Y, Cb, Cr."""
    y, cb, cr = np.moveaxis(levels @ TO_YCC.T, -1, 0)
    return np.ascontiguousarray(y), np.ascontiguousarray(cb), np.ascontiguousarray(cr)


def basis() -> npt.NDArray[np.float32]:
    """(8, 8), rows are the eight cosines of the orthonormal DCT-II."""
    frequency, place = np.mgrid[0:8, 0:8]
    matrix = np.sqrt(2 / 8) * np.cos((2 * place + 1) * frequency * np.pi / 16)
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)


_BASIS = basis()


def cut(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(H, W) → (n, 8, 8) pixels: the whole blocks of a grid that starts at the top left corner."""
    rows, columns = plane.shape[0] // 8, plane.shape[1] // 8
    cropped = plane[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8)
    return np.ascontiguousarray(cropped.transpose(0, 2, 1, 3)).reshape(-1, 8, 8)


def cosines(plane: npt.NDArray[np.float32]) -> Blocks:
    """(H, W) → (n, 8, 8) coefficients of the whole blocks, from the top left corner."""
    return np.asarray(_BASIS @ cut(plane) @ _BASIS.T, np.float32)


def unclipped(levels: npt.NDArray[np.float32], unit: int = 8) -> npt.NDArray[np.bool_]:
    """Which blocks of `unit` pixels (in the order of `cut`) hold hardly any pixel at the ends of the range."""
    ends: npt.NDArray[np.float32] = np.any((levels <= 0.5) | (levels >= 254.5), axis=-1).astype(np.float32)
    rows, columns = levels.shape[0] // unit, levels.shape[1] // unit
    share = ends[: rows * unit, : columns * unit].reshape(rows, unit, columns, unit).mean((1, 3))
    return (share < 0.02).reshape(-1)
