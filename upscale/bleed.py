"""Transparency: visible colors bled outward, so that a network never sees what no viewer was meant to see, and the
network's edges kept where the picture has edges.

Where nothing is visible, files hold black, white or garbage; a network paints that into the visible edge as a rim. Here
such pixels take the color of the visible ones around them: normalized convolution (Knutsson & Westin 1993) with Gaussians
of three widths, the narrowest one that sees something taking precedence.
"""

from collections.abc import Iterator

import cv2
import numpy as np

from upscale.image import Array, Floats
from upscale.rows import RowReader, windows

TRUSTED = 1 / 8
"""From this alpha on a pixel's color is its own; below, programs have rounded it away more and more."""

REACH = 48
"""Pixels to which colors are bled; farther away the network's view of an edge has faded."""

_SIGMAS = (16.0, 4.0, 1.0)
_SEEN = (1e-4, 1e-2, 1e-1)
"""The share of visible pixels under each Gaussian from which on its mean is taken alone."""

_ROWS = 64
_EDGE = 2
_MASK_ROWS = 16


def bled(stream: Iterator[Floats], height: int) -> Iterator[Floats]:
    """Rows (n, w, 4) with straight alpha, all in [0, 1], as rows (n, w, 3) whose hidden colors continue the visible ones."""
    for block in windows(stream, height, _ROWS, REACH):
        middle = block[REACH:-REACH]
        if middle[..., 3].min() >= TRUSTED:
            yield middle[..., :3]
        else:
            yield _filled(block)[REACH:-REACH]


def limited(result: Iterator[Array], mask: Iterator[Floats], height: int, factor: int) -> Iterator[Floats]:
    """A network's rows (factor·n, factor·w, 3) for a mask shown as gray, as rows (factor·n, factor·w, 1) that lie between
    the least and the greatest of the mask's own rows (n, w, 1) within two pixels: what is wholly opaque or wholly
    transparent stays so, whatever texture the network gives to flat areas. `height` is the mask's."""
    reader, kernel = RowReader(result), np.ones((2 * _EDGE + 1, 2 * _EDGE + 1), np.uint8)
    for block in windows(mask, height, _MASK_ROWS, _EDGE):
        wide = cv2.copyMakeBorder(block, 0, 0, _EDGE, _EDGE, cv2.BORDER_REPLICATE)
        ends = [np.asarray(change(wide, kernel))[_EDGE:-_EDGE, _EDGE:-_EDGE] for change in (cv2.erode, cv2.dilate)]
        low, high = (end.repeat(factor, axis=0).repeat(factor, axis=1) for end in ends)
        rows = reader.read((block.shape[0] - 2 * _EDGE) * factor).mean(axis=2, dtype=np.float32)
        yield np.clip(rows, low, high)[..., None]


def _filled(block: Floats) -> Floats:
    color, trust = block[..., :3], np.minimum(block[..., 3:] / np.float32(TRUSTED), 1)
    weighted = np.dstack((color * trust, trust))
    fill = color
    for sigma, seen in zip(_SIGMAS, _SEEN, strict=True):
        side = 2 * round(3 * sigma) + 1
        sums = cv2.GaussianBlur(weighted, (side, side), sigma, borderType=cv2.BORDER_REPLICATE)
        share = np.minimum(sums[..., 3:] / np.float32(seen), 1)
        fill = share * sums[..., :3] / np.maximum(sums[..., 3:], np.float32(1e-12)) + (1 - share) * fill
    return trust * color + (1 - trust) * fill
