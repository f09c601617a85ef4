"""Traces of a video codec (or lossy WebP) in a picture that is no JPEG: its macroblocks.

JPEG's grid repeats every 8 pixels; codecs of the H.264 family predict and skip in blocks of 16 and transform in 4 or 8. So a
grid at odd multiples of 1/16 cycle a pixel is one that no JPEG makes. Deblocking filters hide it: light compression stays unseen.
"""

import numpy as np

from upscale_training.imitate.blocks import Plane

SURE = 3.5
"""Standard deviations by which the borders stand out, above which a picture counts as coded. Of 14 clean training pictures the
highest was at 3.2; H.264 at crf 34 reached 6.2 on 13 of them, at crf 26 it reached 5 on 12; HEVC and MPEG-2 are mostly missed."""
_CLIP = 12.0


def macroblocks(luma: Plane) -> float:
    """How much steps between neighbors at every 16th column and row exceed those at the other places, in standard deviations.

    The borders of blocks lie at multiples of 16 from the corner, as they do where a frame was stored whole.
    """
    return (_stands_out(luma) + _stands_out(np.ascontiguousarray(luma.T))) / np.sqrt(2)


def _stands_out(plane: Plane) -> float:
    steps = np.minimum(np.abs(np.diff(plane, axis=1)), _CLIP)
    line = (steps[:, 1:-1] - (steps[:, :-2] + steps[:, 2:]) / 2).mean(0)
    # line[i] is the step between columns i + 1 and i + 2: borders of 16 lie at i = 14, 30, …
    borders = line[14::16]
    if len(borders) < 3:
        return 0.0
    others = np.concatenate([line[phase::16] for phase in range(16) if phase not in (6, 14)])
    scatter = 1.4826 * float(np.median(np.abs(others - np.median(others)))) + 1e-3
    return float((borders.mean() - np.median(others)) / scatter * np.sqrt(len(borders)))
