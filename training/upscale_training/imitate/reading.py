"""The examples: pixels as they lie in the file, and what a JPEG file says about its own encoding."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from upscale_training.errors import DataError
from upscale_training.imitate.tables import quality_of

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
SMALLEST = 48
"""Pixels of the shorter side, below which there is too little to measure."""
LARGEST = 1600
"""Pixels of the longer side that are looked at; of larger pictures, the middle."""
_SAMPLINGS = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """`levels` (H, W, 3) float32, RGB 0..255, not turned upright (that would turn the grid too); `quality` and `subsampling` are
    those of a JPEG file, else None."""

    name: str
    levels: npt.NDArray[np.float32]
    quality: int | None = None
    subsampling: str | None = None


def read(path: Path) -> Example:
    """Raises DataError where the file is no picture or too small."""
    try:
        with Image.open(path) as picture:
            levels = np.asarray(picture.convert("RGB"), np.float32)
            quality, subsampling = _encoding(picture)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a picture ({error}); take it out of the folder") from error
    if min(levels.shape[:2]) < SMALLEST:
        size = f"{levels.shape[1]}×{levels.shape[0]}"
        raise DataError(
            f"{path}: {size} pixels are too few to measure; take pictures of {SMALLEST} or more on each side"
        )
    return Example(path.name, _middle(levels), quality, subsampling)


def read_all(folder: Path) -> tuple[list[Example], tuple[str, ...]]:
    """All of a folder's pictures, and why others were left out, a line each. Raises DataError where none is left."""
    examples, skipped = list[Example](), list[str]()
    for path in paths_in(folder):
        try:
            examples.append(read(path))
        except DataError as error:
            skipped.append(str(error))
    if not examples:
        raise DataError(f"{folder}: none of its pictures can be used ({skipped[0]})")
    return examples, tuple(skipped)


def paths_in(folder: Path) -> list[Path]:
    """The folder's pictures by their suffixes, in the order of their names. Raises DataError where there are none."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give a folder of pictures to imitate")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise DataError(f"{folder}: holds no pictures ({', '.join(sorted(SUFFIXES))}); give a folder that does")
    return found


def _encoding(picture: Image.Image) -> tuple[int | None, str | None]:
    if not isinstance(picture, JpegImagePlugin.JpegImageFile):
        return None, None
    tables = picture.quantization
    table = np.array(tables[min(tables)], np.float64).reshape(8, 8)
    return quality_of(table), _SAMPLINGS.get(JpegImagePlugin.get_sampling(picture))


def _middle(levels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """At most `LARGEST` pixels a side, cut at multiples of 16 from the corner, so that a JPEG's grid stays at the corner."""
    starts = [max(0, side - LARGEST) // 32 * 16 for side in levels.shape[:2]]
    return levels[starts[0] : starts[0] + LARGEST, starts[1] : starts[1] + LARGEST]
