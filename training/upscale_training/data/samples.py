"""Samples: a crop of a picture and its degraded, smaller twin. Sample number i of a seed is the same for ever and anywhere."""

import functools
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from upscale.image import Array, Floats, from_float, to_float
from upscale_training.data.pictures import Bad, Entry, Listing, Reader
from upscale_training.degrade import Degradation
from upscale_training.degrade.checked import applied
from upscale_training.degrade.resize import resized_to
from upscale_training.errors import DataError

Bytes = npt.NDArray[np.uint8]

_TRIES = 8
"""So many unreadable pictures in a row end a run: then the disk is gone, not a picture."""


@dataclass(frozen=True, slots=True)
class Cut:
    """How crops are taken.

    `crop`: side of the target in pixels. `shrink`: the picture is first made smaller by a random factor of this range (an
    antialiased area mean), which hides chroma subsampling and noise of the targets and varies the size of details.
    `detail`: of so many random places the one with most detail is taken, 1 takes any. `flip`: mirrored and turned by
    quarters at random.
    """

    crop: int
    shrink: tuple[float, float] = (1.0, 1.0)
    detail: int = 2
    flip: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """`hr` (crop, crop, 3) and `lr` (crop / scale, crop / scale, 3), uint8 RGB; `clean`: `lr` undegraded, where asked for."""

    hr: Bytes
    lr: Bytes
    clean: Bytes | None = None
    bad: tuple[Bad, ...] = ()


@dataclass(frozen=True, slots=True)
class Samples:
    """An endless row of samples, by number; a value that can be sent to another process.

    `target` changes what is to be reached (sharpening), after the degraded twin was made. `with_clean`: also give the
    bicubic twin, for a teacher that sees better than its student.
    """

    listing: Listing
    cut: Cut
    scale: int
    degradation: Degradation
    seed: int
    target: Degradation | None = None
    with_clean: bool = False

    def __post_init__(self) -> None:
        if self.cut.crop % self.scale:
            raise DataError(f"a crop of {self.cut.crop} pixels is no multiple of the scale {self.scale}; change --crop")

    def sample(self, index: int, reader: Reader) -> Sample:
        """Sample `index`. An unreadable picture is replaced by the next one and told of.

        Raises DataError when many are, RecipeError where the degradation or the target does not work.
        """
        bad = list[Bad]()
        for attempt in range(_TRIES):
            entry = self._entry(index, attempt)
            try:
                pixels = reader.read(entry.path)
            except DataError as error:
                bad.append(Bad(entry.path, str(error)))
                continue
            if pixels.shape[:2] != (entry.height, entry.width):
                bad.append(Bad(entry.path, f"{entry.path}: changed since the run began; left out"))
                continue
            return self._made(pixels, np.random.default_rng([self.seed, index]), tuple(bad))
        raise DataError(f"{bad[0].reason} (and {len(bad) - 1} further pictures in a row; is the disk still there?)")

    def _entry(self, index: int, attempt: int) -> Entry:
        count = len(self.listing.entries)
        epoch, place = divmod(index, count)
        order: npt.NDArray[np.int64] = _order(self.seed, epoch, count)
        return self.listing.entries[int(order[(place + attempt) % count])]

    def _made(self, pixels: Array, rng: np.random.Generator, bad: tuple[Bad, ...]) -> Sample:
        crop = _crop(pixels, self.cut, rng)
        if self.cut.flip:
            crop = _turned(crop, int(rng.integers(8)))
        hr = to_float(from_float(crop, np.uint8))
        lr = degraded(hr, self.degradation, self.scale, rng)
        clean = (
            from_float(resized_to(hr, (lr.shape[0], lr.shape[1]), "antialiased bicubic"), np.uint8)
            if self.with_clean
            else None
        )
        goal = applied(self.target, hr, rng) if self.target else hr
        return Sample(from_float(goal, np.uint8), lr, clean, bad)


def degraded(hr: Floats, degradation: Degradation, scale: int, rng: np.random.Generator) -> Bytes:
    """The degraded twin of `hr`, of exactly its size / `scale`, in 8 bits, as files are.

    Raises RecipeError where the degradation fails or returns no such picture.
    """
    return from_float(applied(degradation, hr, rng, scale), np.uint8)


@functools.lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng([seed, epoch, count]).permutation(count)


def _crop(pixels: Array, cut: Cut, rng: np.random.Generator) -> Floats:
    """The most detailed of some random places, shrunk by a random factor."""
    height, width = int(pixels.shape[0]), int(pixels.shape[1])
    factor = min(float(rng.uniform(*cut.shrink)), 1.0)
    side = min(round(cut.crop / factor), height, width)
    places = [(int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))) for _ in range(cut.detail)]
    crops: list[Array] = [pixels[top : top + side, left : left + side] for top, left in places]
    crop = crops[0] if len(crops) == 1 else max(crops, key=_detail)
    floats = to_float(crop)
    if side != cut.crop:
        floats = np.asarray(cv2.resize(floats, (cut.crop, cut.crop), interpolation=cv2.INTER_AREA), np.float32)
    return floats


def _detail(crop: Array) -> float:
    """Mean absolute difference of neighboring green pixels, on a coarse grid: cheap, and enough to avoid the sky."""
    green: npt.NDArray[np.int32] = np.ascontiguousarray(crop[::2, ::2, 1], np.int32)
    down, across = cv2.absdiff(green[1:], green[:-1]), cv2.absdiff(green[:, 1:], green[:, :-1])
    return float(cv2.mean(down)[0] + cv2.mean(across)[0])


def _turned(crop: Floats, way: int) -> Floats:
    """One of the eight ways to lay down a square."""
    turned = np.rot90(crop, way % 4)
    return np.ascontiguousarray(turned[:, ::-1] if way >= 4 else turned)
