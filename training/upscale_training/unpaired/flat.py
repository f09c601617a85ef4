"""Flat blocks of a bad picture: where what is seen is noise.

Blocks are ranked by one half of the frequencies and measured by the other: texture shows in both, noise is independent in
them. So taking the flattest blocks does not take those in which the noise happens to be weak.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from upscale_training.imitate.blocks import Blocks, cosines, planes, unclipped
from upscale_training.imitate.look import Look
from upscale_training.imitate.quantised import SUBSAMPLINGS, coarse
from upscale_training.imitate.tables import CHROMA, LUMA, Table, scaled
from upscale_training.unpaired.likelihood import Likelihoods, likelihoods

TONES = 5
"""Equal ranges of brightness in which flat blocks are looked for, so that noise may depend on it."""
SHARES = (0.05, 0.15)
"""Shares of the blocks: the flattest, and some more, which must say the same where it is noise that is seen."""
_FEWEST = 4
_UNQUANTIZED = 0.5
_SUM = np.add.outer(np.arange(8), np.arange(8))
_ODD = _SUM % 2 == 1


@dataclass(frozen=True, slots=True, eq=False)
class Flat:
    """`luma` (TONES, 64, σs): likelihoods for each range of brightness; `more`: of less flat blocks too; `chroma`: of Cb
    and Cr, at the resolution that the file has of them."""

    luma: npt.NDArray[np.float64]
    more: Likelihoods
    chroma: tuple[Likelihoods, Likelihoods]


def flat(levels: npt.NDArray[np.float32], look: Look) -> Flat:
    """Of a picture (H, W, 3), RGB 0..255, whose last JPEG's grid begins at the corner."""
    y, *chroma = planes(levels)
    quality = None if look.later != 1 and look.source == "file" else look.quality
    down, across = SUBSAMPLINGS[look.subsampling or "4:4:4"]
    usable = unclipped(levels)
    blocks = cosines(y)[usable]
    tones = np.clip(blocks[:, 0, 0] / 8 / 256 * TONES, 0, TONES - 1).astype(int)
    steps = _steps(LUMA, quality)
    luma = np.stack([_measured(blocks[tones == tone], steps, SHARES[0]) for tone in range(TONES)])
    more = np.sum([_measured(blocks[tones == tone], steps, SHARES[1]) for tone in range(TONES)], axis=0)
    seen = [_chroma(cosines(coarse(plane, down, across)), y, _steps(CHROMA, quality)) for plane in chroma]
    return Flat(luma, more, (seen[0], seen[1]))


def _chroma(blocks: Blocks, luma: npt.NDArray[np.float32], steps: Table) -> Likelihoods:
    """All tones together, the flattest blocks of each; more of them where subsampling left too few."""
    share = SHARES[0] if len(blocks) * SHARES[0] >= TONES * _FEWEST else SHARES[1]
    ratio = np.sqrt(luma.size / max(1, len(blocks) * 64))
    size = max(1, int(luma.shape[1] / ratio) // 8), max(1, int(luma.shape[0] / ratio) // 8)
    means = cv2.resize(luma, size, interpolation=cv2.INTER_AREA).ravel()
    if len(means) != len(blocks):
        return _measured(blocks, steps, share)
    tones = np.clip(means / 256 * TONES, 0, TONES - 1).astype(int)
    return np.sum([_measured(blocks[tones == tone], steps, share) for tone in range(TONES)], axis=0)


def _measured(blocks: Blocks, steps: Table, share: float) -> Likelihoods:
    """Likelihoods by the flattest `share` of the blocks; zeros where there are too few."""
    count = round(len(blocks) * share)
    if count < _FEWEST:
        return np.zeros_like(likelihoods(np.zeros((1, 8, 8), np.float32), steps))
    by_even, by_odd = (likelihoods(blocks[_flattest(blocks, places, count)], steps) for places in (~_ODD, _ODD))
    return np.where(_ODD.reshape(64, 1), by_even, by_odd)


def _flattest(blocks: Blocks, places: npt.NDArray[np.bool_], count: int) -> npt.NDArray[np.intp]:
    ranking = places & (_SUM > 0) & (_SUM <= 5)
    energy = (np.square(blocks) / np.square(np.maximum(_SUM, 1)))[:, ranking].sum(1)  # a scene's slow waves are strong
    return np.argsort(energy, kind="stable")[:count]


def _steps(base: Table, quality: int | None) -> Table:
    return np.full((8, 8), _UNQUANTIZED) if quality is None else scaled(base, quality)
