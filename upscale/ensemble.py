"""Test-time augmentation: the mean of the results for the picture's eight turned and mirrored versions, turned back.

"Geometric self-ensemble" (Timofte et al. 2016, Lim et al. 2017). Eight times the work; needs picture and result whole.
"""

from collections.abc import Callable, Iterator

import numpy as np

from upscale.image import Array, Floats
from upscale.rows import bands

Run = Callable[[Iterator[Floats], int, int, int], Iterator[Array]]
"""(rows, width, height, number of the version) → the network's rows."""

VERSIONS = 8
_ROWS = 64


def averaged(rows: Iterator[Floats], factor: int, run: Run) -> Iterator[Floats]:
    """What `run` gives for rows (n, w, 3), a network that enlarges `factor` times, averaged over the eight versions."""
    whole = np.concatenate(list(rows))
    height, width = whole.shape[:2]
    total = np.zeros((height * factor, width * factor, 3), np.float32)
    for version in range(VERSIONS):
        given = np.ascontiguousarray(_turned(whole, version))
        back = _turned(total, version)  # a view in the version's own order: adding to it adds to the total
        start = 0
        for band in run(bands(given, _ROWS), given.shape[1], given.shape[0], version):
            back[start : start + band.shape[0]] += band
            start += band.shape[0]
    for band in bands(total, _ROWS):
        yield (band / VERSIONS).astype(np.float32)


def _turned(pixels: Floats, version: int) -> Floats:
    mirrored = pixels[:, ::-1] if version >= 4 else pixels
    return np.rot90(mirrored, version % 4)
