"""Where in a picture there is most to see."""

import numpy as np

from upscale.image import Array

_STRONG = 24
"""Levels of 255 above which a change counts no more: texture is sought, not one strong edge."""


def busiest(gray: Array, height: int, width: int | None = None) -> tuple[int, int]:
    """Left and top of the window, at most height × width (a square if not given), with most change from pixel to pixel.

    `gray`: (H, W), 0 to 255, of any dtype.
    """
    values = gray.astype(np.float64)
    change = np.zeros((gray.shape[0] + 1, gray.shape[1] + 1))
    change[1:, 2:] += np.minimum(np.abs(np.diff(values, axis=1)), _STRONG)
    change[2:, 1:] += np.minimum(np.abs(np.diff(values, axis=0)), _STRONG)
    total = change.cumsum(0).cumsum(1)
    high, wide = min(height, gray.shape[0]), min(width or height, gray.shape[1])
    sums = total[high:, wide:] - total[:-high, wide:] - total[high:, :-wide] + total[:-high, :-wide]
    top, left = np.unravel_index(int(np.argmax(sums)), sums.shape)
    return int(left), int(top)
