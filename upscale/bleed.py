"""Color under transparency: visible colors bled outward, so that a network never sees what no viewer was meant to see.

Where nothing is visible, files hold black, white or garbage; a network paints that into the visible edge as a rim. Here
such pixels take the color of the visible ones around them: normalized convolution (Knutsson & Westin 1993) with Gaussians
of three widths, the narrowest one that sees something taking precedence.
"""

from collections.abc import Iterator

import cv2
import numpy as np

from upscale.image import Floats
from upscale.rows import windows

TRUSTED = 1 / 8
"""From this alpha on a pixel's color is its own; below, programs have rounded it away more and more."""

REACH = 48
"""Pixels to which colors are bled; farther away the network's view of an edge has faded."""

_SIGMAS = (16.0, 4.0, 1.0)
_SEEN = (1e-4, 1e-2, 1e-1)
"""The share of visible pixels under each Gaussian from which on its mean is taken alone."""

_ROWS = 64


def bled(stream: Iterator[Floats], height: int) -> Iterator[Floats]:
    """Rows (n, w, 4) with straight alpha, all in [0, 1], as rows (n, w, 3) whose hidden colors continue the visible ones."""
    for block in windows(stream, height, _ROWS, REACH):
        middle = block[REACH:-REACH]
        if middle[..., 3].min() >= TRUSTED:
            yield middle[..., :3]
        else:
            yield _filled(block)[REACH:-REACH]


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
