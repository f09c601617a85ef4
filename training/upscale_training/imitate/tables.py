"""JPEG's example quantization tables and libjpeg's quality scale: from a quality to a table, and back."""

import numpy as np
import numpy.typing as npt

Table = npt.NDArray[np.float64]
"""(8, 8), steps of the quantizer, in the order of the frequencies (vertical, horizontal)."""

# ITU-T T.81 (1992), annex K.1, tables K.1 and K.2.
LUMA: Table = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    np.float64,
)
CHROMA: Table = np.full((8, 8), 99.0)
CHROMA[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]

QUALITIES = range(5, 101)
"""Qualities that are told apart. Below 5 hardly anything of a picture is left."""


def scaled(base: Table, quality: int) -> Table:
    """The table that libjpeg's `jpeg_set_quality` makes for a quality of 1..100 (jcparam.c, baseline)."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((base * percent + 50) // 100, 1, 255)


def quality_of(table: Table) -> int:
    """The quality whose luma table is nearest to this one (mean relative difference); exact for libjpeg's own tables."""
    return min(range(1, 101), key=lambda quality: _distance(table, scaled(LUMA, quality)))


def _distance(table: Table, other: Table) -> float:
    return float(np.mean(np.abs(np.log(table / other))))
