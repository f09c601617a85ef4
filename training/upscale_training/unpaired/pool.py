"""What was learnt of bad pictures, as arrays that are kept in one file, and the degradation that draws from them."""

import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from upscale.files import replacing
from upscale.image import Array, Floats
from upscale_training.degrade import Degradation, note
from upscale_training.degrade.blur import skewed_blur
from upscale_training.degrade.combine import chain
from upscale_training.degrade.resize import by_way_of, shrink
from upscale_training.degrade.stills import jpeg
from upscale_training.degrade.tones import eight_bits
from upscale_training.errors import DataError
from upscale_training.imitate.blocks import TO_YCC
from upscale_training.imitate.quantised import SUBSAMPLINGS
from upscale_training.unpaired.field import noise

UNKNOWN = -1
"""In the place of a JPEG's quality: there was none."""
_FORMAT = 1
_SHARP = 0.05
_AROUND = 0.08
"""Blur and noise are drawn within so much (relative) of what was measured: no estimate is better."""


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """n bad pictures. Blur and noise are in pixels of the bad picture, before a later resize if there was one.

    `levels` (n,): noise of each, 1 being that of `spectra`; NaN where texture hides it. `spectra` (3, 8, 8): σ in 8-bit levels
    of the noise in Y, Cb, Cr by cosine of 8 pixels; chroma's of samples as coarse as `chroma` says. `tones`: how the noise
    grows with brightness, at the middles of equal ranges. `blurs` (n, 3): a Gaussian's σ along and across its direction, and
    that one's angle (radians, from right to down). `later` (n,): sides after / before a resize that came last. `qualities`
    (n, 2): of the JPEG before and after it. `skipped`: files that could not be read, and why.
    """

    names: tuple[str, ...]
    levels: npt.NDArray[np.float32]
    spectra: npt.NDArray[np.float32]
    tones: npt.NDArray[np.float32]
    chroma: str
    blurs: npt.NDArray[np.float32]
    later: npt.NDArray[np.float32]
    qualities: npt.NDArray[np.int16]
    subsamplings: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def save(self, path: Path) -> None:
        """One .npz, without pickles. Raises OSError."""
        arrays: dict[str, Any] = {name: np.asarray(getattr(self, name)) for name in _FIELDS}
        stream = io.BytesIO()
        np.savez_compressed(stream, format=np.int64(_FORMAT), **arrays)
        with replacing(path) as temporary:
            temporary.write_bytes(stream.getvalue())


_FIELDS = ("names", "levels", "spectra", "tones", "chroma", "blurs", "later", "qualities", "subsamplings")


@lru_cache(maxsize=8)
def load_pool(path: Path) -> Pool:
    """What `save` wrote. Raises DataError where the file is missing, damaged or something else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if int(file["format"]) != _FORMAT:
                raise ValueError("of another version")
            values: dict[str, Any] = {name: file[name] for name in _FIELDS}
        _refuse_nonsense(values)
    except Exception as error:  # a damaged archive raises errors of almost any type
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{path}: no pool of bad pictures ({why}); `upscale-train learn BAD/ -o FILE` writes one"
        ) from error
    for name in ("names", "subsamplings"):
        values[name] = tuple(map(str, values[name]))
    values["chroma"] = str(values["chroma"])
    return Pool(**values)


def _refuse_nonsense(values: dict[str, Any]) -> None:
    """Raises ValueError where a number is missing but `levels`' that may be."""
    for name in ("spectra", "tones", "blurs", "later"):
        if not np.isfinite(values[name]).all():
            raise ValueError(f"{name} holds what is no number")
    if not np.isfinite(values["levels"]).any() or np.isinf(values["levels"]).any():
        raise ValueError("levels holds no number")


@dataclass(frozen=True, slots=True, eq=False)
class Pooled:
    """A preset: scale → a degradation that imitates one picture of the pool, drawn anew each time."""

    pool: Pool

    def __call__(self, scale: int) -> Degradation:
        return Draw(self.pool, scale)


def pool_preset(file: Path | str) -> Pooled:
    """The preset of a file that `Pool.save` wrote, for recipes: `degradation=pool_preset("bad.npz")`. Raises DataError."""
    return Pooled(load_pool(Path(file)))


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """The degradation. Large picture in, one like those of the pool out, exactly 1/scale of its sides."""

    pool: Pool
    scale: int

    def __call__(self, picture: Floats, rng: np.random.Generator) -> Floats:
        pool, index = self.pool, int(rng.integers(len(self.pool.names)))
        level = _level(pool, index, rng)
        later, (along, across, angle) = float(pool.later[index]), (float(value) for value in pool.blurs[index])
        size = self.scale * later * float(rng.uniform(1 - _AROUND, 1 + _AROUND))
        note("like", picture=pool.names[index])
        before, after = (_jpeg(pool, index, int(quality)) for quality in pool.qualities[index])
        inner = (Noise(pool, level), *before)
        sized = (shrink(self.scale), *inner) if later == 1 else (by_way_of(self.scale, 1 / later, *inner),)
        blur = skewed_blur(along * size, across / along, angle) if along > _SHARP else chain()
        return chain(blur, *sized, *after, eight_bits())(picture, rng)


@dataclass(frozen=True, slots=True, eq=False)
class Noise:
    """Adds the pool's noise, `level` times as strong."""

    pool: Pool
    level: float

    def __call__(self, picture: Floats, rng: np.random.Generator) -> Floats:
        note("learnt noise", level=self.level, sigma=self.level * _sigma(self.pool))
        down, across = SUBSAMPLINGS[self.pool.chroma]
        height, width = picture.shape[:2]
        size = -(-height // down), -(-width // across)
        y, *chroma = self.pool.spectra
        coarse = np.dstack([noise(size, each, rng) for each in chroma])
        fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        added = np.dstack([noise((height, width), y, rng), fine]) @ _TO_RGB
        strength = _tone(picture, self.pool.tones) * np.float32(self.level / 255)
        return np.asarray(np.clip(picture + added * strength, 0, 1), np.float32)


_TO_RGB = np.linalg.inv(TO_YCC.astype(np.float64)).T.astype(np.float32)


def summary(pool: Pool) -> str:
    """A few lines for a terminal."""
    seen = pool.levels[~np.isnan(pool.levels)]
    y, cb, cr = (float(np.sqrt(np.square(each).mean())) for each in pool.spectra)
    along, across, angle = pool.blurs.T
    skewed = f" at {np.degrees(angle[0]):.0f} degrees, {across.min():.2f} to {across.max():.2f} px across"
    shape = skewed if (across < 0.95 * along).any() else ""
    jpegs = pool.qualities[pool.qualities != UNKNOWN]
    lines = [
        f"{len(pool.names)} pictures" + (f", {len(pool.skipped)} left out" if pool.skipped else ""),
        f"noise: sigma {y:.1f} of 255 in luma, {cb:.1f} and {cr:.1f} in chroma ({pool.chroma}); "
        f"{seen.min():.2f} to {seen.max():.2f} times that, seen in {len(seen)}",
        f"its spectrum, coarse to fine: across {_row(pool.spectra[0][0, 1:])}; down {_row(pool.spectra[0][1:, 0])}",
        f"from dark to bright: {_row(pool.tones)} times as strong",
        f"blur: sigma {along.min():.2f} to {along.max():.2f} px{shape}",
    ]
    if len(jpegs):
        lines.append(f"JPEG: quality {jpegs.min()} to {jpegs.max()}")
    if (pool.later != 1).any():
        lines.append(f"resized later: to {pool.later.min():.2f} to {pool.later.max():.2f} times the sides")
    return "\n".join(lines)


def _row(values: npt.NDArray[np.float32]) -> str:
    return " ".join(f"{value:.1f}" for value in values)


def _level(pool: Pool, index: int, rng: np.random.Generator) -> float:
    """The picture's own, or that of another one where its own is not known."""
    known = pool.levels[~np.isnan(pool.levels)]
    own, other = float(pool.levels[index]), float(known[int(rng.integers(len(known)))])
    return (other if np.isnan(own) else own) * float(rng.uniform(1 - _AROUND, 1 + _AROUND))


def _sigma(pool: Pool) -> float:
    return float(np.sqrt(np.square(pool.spectra[0]).mean()))


def _tone(picture: Floats, tones: npt.NDArray[np.float32]) -> Array:
    """(H, W, 1): the noise's strength by the brightness of each pixel."""
    middles = (np.arange(len(tones)) + 0.5) / len(tones)
    luma: Array = picture @ TO_YCC[0]
    return np.asarray(np.interp(luma, middles, tones), np.float32)[..., None]


def _jpeg(pool: Pool, index: int, quality: int) -> tuple[Degradation, ...]:
    if quality == UNKNOWN:
        return ()
    kind = pool.subsamplings[index]
    return (jpeg(quality, ("4:4:4" if kind == "4:4:4" else "4:2:2" if kind == "4:2:2" else "4:2:0",)),)
