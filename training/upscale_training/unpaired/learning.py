"""From a folder of bad pictures to a pool: blur, JPEG and resize as `imitate` reads them, noise by its spectrum."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from upscale_training.imitate.blocks import planes
from upscale_training.imitate.grid import Grid, locate
from upscale_training.imitate.look import Findings, Look, findings
from upscale_training.imitate.reading import Example, read_all
from upscale_training.unpaired.flat import TONES, Flat, flat
from upscale_training.unpaired.kernel import agreed, ellipse, skew
from upscale_training.unpaired.likelihood import (
    LOGS,
    STEP,
    Likelihoods,
    Spectrum,
    along,
    gain,
    settled,
    shifted,
    spectrum,
    telling,
)
from upscale_training.unpaired.pool import UNKNOWN, Pool

_NEAR = 0.2
"""Levels (log) up to so much above the densest are believed."""
_AGREE = 0.2
"""Levels (log) by different frequencies and shares of a picture's blocks that are taken as the same."""
_LOW = 0.3
"""In most folders at least so many of the pictures have a place where nothing but noise is seen."""
_ROUNDS = 3
_FEWEST = 3
_SUM = np.add.outer(np.arange(8), np.arange(8)).ravel()
_MIDDLE = (_SUM >= 2) & (_SUM <= 7)
_SLOW = (_SUM >= 1) & (_SUM <= 3)
"""Of chroma, of which encoders keep nothing else."""
_WHITE: Spectrum = np.zeros((8, 8))
_NONE = float(LOGS[0])


def learned_from(folder: Path) -> Pool:
    """Looks at all pictures of the folder (not at its subfolders), one of 48 pixels a side at least.

    Unreadable pictures are left out and named in the pool's `skipped`. Raises DataError where none is left.
    """
    examples, skipped = read_all(folder)
    return replace(learned(examples), skipped=skipped)


def learned(examples: list[Example]) -> Pool:
    """The pool of pictures that are already read."""
    found = findings(examples)
    pictures = [_aligned(example, look) for example, look in zip(examples, found.looks, strict=True)]
    flats = [flat(levels, look) for levels, look in zip(pictures, found.looks, strict=True)]
    luma = common([each.luma for each in flats])
    levels = np.where(luma.typical | _sure(flats, luma), np.exp(luma.gains), np.nan).astype(np.float32)
    sampling = found.subsampling or "4:4:4"
    same = [k for k, look in enumerate(found.looks) if luma.typical[k] and (look.subsampling or sampling) == sampling]
    spectra = [luma.logs]
    for cb_cr in (0, 1):
        tables = [shifted(flats[k].chroma[cb_cr], luma.gains[k])[None] for k in same]
        spectra.append(common(tables, _SLOW).logs)
    return Pool(
        names=tuple(example.name for example in examples),
        levels=levels,
        spectra=np.exp(np.stack(spectra)).astype(np.float32),
        tones=np.exp(luma.tones).astype(np.float32),
        chroma=sampling,
        blurs=_blurs(found, pictures, luma, levels),
        later=np.array([look.later for look in found.looks], np.float32),
        qualities=np.array([_qualities(look) for look in found.looks], np.int16),
        subsamplings=tuple(look.subsampling or sampling for look in found.looks),
    )


def _aligned(example: Example, look: Look) -> npt.NDArray[np.float32]:
    """The picture as it was before a later resize, its grid at the corner."""
    height, width = example.levels.shape[:2]
    if look.source == "pixels":
        grid, quantized = locate(example.levels)
        if quantized is not None:
            return grid.aligned(example.levels)
    if look.later == 1:
        return example.levels
    return Grid(before=(round(height / look.later), round(width / look.later))).aligned(example.levels)


@dataclass(frozen=True, slots=True, eq=False)
class Common:
    """Of n pictures, all logarithms: `gains` (n,) each one's level, `logs` the spectrum, `tones` (TONES,) the level by brightness.
    `typical` (n,): the pictures that spectrum and tones were learnt from."""

    gains: npt.NDArray[np.float64]
    logs: Spectrum
    tones: npt.NDArray[np.float64]
    typical: npt.NDArray[np.bool_]


def common(pictures: Sequence[npt.NDArray[np.float64]], places: npt.NDArray[np.bool_] = _MIDDLE) -> Common:
    """From likelihoods (tones, 64, σs) of each picture. Gains (by the frequencies in `places`), spectrum and tones are made the
    likeliest in turn.

    Texture passes for noise, never for its absence: the level at which pictures are densest, or a lower one that many
    share, is the noise's, and those far above it say nothing about its spectrum.
    """
    seen = np.array([bool(each.any()) for each in pictures])
    logs, gains, typical = _WHITE, np.zeros(len(pictures)), seen
    tones = np.zeros(len(pictures[0]) if pictures else TONES)
    if not seen.any():
        return Common(gains, np.full((8, 8), _NONE), tones, np.ones_like(seen))
    for _ in range(_ROUNDS):
        gains = np.array([gain(_joined(each, tones), logs, places) for each in pictures])
        center = min(mode(gains[seen]), float(np.quantile(gains[seen], _LOW)))
        gains = gains - center
        typical = seen & (gains < max(_NEAR, -float(np.quantile(gains[seen], 0.1)))) & (gains > -3 * _NEAR)
        if not typical.any():
            typical = seen & (np.abs(gains) == np.abs(gains[seen]).min())
        chosen, levels = [each for each, good in zip(pictures, typical, strict=True) if good], gains[typical]
        logs = spectrum(_joined([_joined(each, tones) for each in chosen], levels))
        logs = _without_scene(
            logs, [shifted(_joined(each, tones), by) for each, by in zip(chosen, levels, strict=True)]
        )
        tones = _tones(chosen, logs, levels) if len(tones) > 1 else tones
    return Common(gains, logs, tones, typical)


def _without_scene(logs: Spectrum, pictures: Sequence[Likelihoods]) -> Spectrum:
    """Slow waves are as strong as they are in most pictures: those that hold some of the scene say nothing of the noise."""
    logs = logs.copy()
    for place in np.flatnonzero((_SUM >= 1) & (_SUM <= 3)).tolist():
        one = np.arange(64) == place
        gains = np.array([gain(each, logs, one) for each in pictures if telling(each)[place]])
        if len(gains) >= _FEWEST:
            logs[divmod(place, 8)] += min(0.0, mode(gains))
    return settled(logs)


def mode(values: npt.NDArray[np.float64]) -> float:
    """Where values are densest: the half of them that lies closest together, its closest half, and so on (Robertson and Cryer
    1974)."""
    values = np.sort(values)
    while len(values) > 2:
        half = (len(values) + 1) // 2
        widths = values[half - 1 :] - values[: len(values) - half + 1]
        first = int(np.flatnonzero(widths <= widths.min() + 1e-9).mean())
        values = values[first : first + half]
    return float(values.mean())


def _sure(flats: Sequence[Flat], luma: Common) -> npt.NDArray[np.bool_]:
    """(n,): pictures, however loud, in which slow and fast waves and less flat blocks tell of the same level."""
    sure: list[bool] = []
    for each in flats:
        table = _joined(each.luma, luma.tones)
        said = [gain(table, luma.logs, (low <= _SUM) & (high >= _SUM)) for low, high in ((2, 3), (4, 5), (6, 7))]
        said.append(gain(each.more, luma.logs, _MIDDLE))
        sure.append(bool(each.luma.any()) and max(said) - min(said) < _AGREE)
    return np.array(sure)


def _joined(tables: Sequence[Likelihoods] | npt.NDArray[np.float64], shifts: npt.NDArray[np.float64]) -> Likelihoods:
    return np.sum([shifted(table, float(by)) for table, by in zip(tables, shifts, strict=True)], axis=0)


def _tones(
    pictures: Sequence[npt.NDArray[np.float64]], logs: Spectrum, gains: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """(TONES,): the likeliest levels of noise by brightness that do not jump; where nothing was seen, as nearby."""
    curves = [along(_joined([each[tone] for each in pictures], gains), logs, _MIDDLE) for tone in range(TONES)]
    size = len(curves[0])
    shifts = (np.arange(size) - size // 2) * STEP
    found = np.zeros(TONES)
    for _ in range(20):
        for tone in range(TONES):
            near = [found[other] for other in (tone - 1, tone + 1) if 0 <= other < TONES]
            penalty = sum(30.0 * np.square(shifts - value) for value in near)
            found[tone] = shifts[int((curves[tone] - penalty).argmax())]
    return np.clip(found - np.median(found), -1.5, 1.5)


def _blurs(
    found: Findings, pictures: Sequence[npt.NDArray[np.float32]], luma: Common, levels: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """(n, 3): σ along and across in pixels before a later resize, and the angle. Each picture's own size, within the range that
    the folder's scatter leaves credible; the shape is common to all."""
    low, high = found.spread("blur")
    loud = np.nan_to_num(levels, nan=float(np.nanmedian(levels)))
    skews = [
        skew(planes(each)[0], luma.logs + np.log(level)) for each, level in zip(pictures, loud.tolist(), strict=True)
    ]
    by = agreed(skews)
    sizes = [float(np.clip(look.guess.blur, low, high)) for look in found.looks]
    return np.array([ellipse(size, by) for size in sizes], np.float32)


def _qualities(look: Look) -> tuple[int, int]:
    """JPEG qualities before and after the later resize; the first is the only one where there was no resize."""
    quality = UNKNOWN if look.quality is None else look.quality
    return (UNKNOWN, quality) if look.later != 1 and look.source == "file" else (quality, UNKNOWN)
