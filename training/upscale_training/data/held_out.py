"""Pictures that are never trained on: chosen from a folder or set aside, each with its degraded twin made once."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from upscale.image import from_float, to_float
from upscale_training.data.pictures import Bad, Entry, Listing, read_picture
from upscale_training.data.samples import Bytes, degraded
from upscale_training.degrade import Degradation
from upscale_training.errors import DataError

_STREAM = 1 << 40
"""Numbers of held-out pictures' random streams start here, beyond those of any sample."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """uint8 RGB: `hr` (H, W, 3) and its degraded twin `lr` (H / scale, W / scale, 3)."""

    name: str
    hr: Bytes
    lr: Bytes


def split(listing: Listing, count: int) -> tuple[Listing, Listing]:
    """(training, held out): `count` pictures are set aside, the same ones whatever the folder's order.

    Raises DataError where too few are left.
    """
    ranked = sorted(
        listing.entries, key=lambda entry: hashlib.sha256(entry.path.name.encode("utf-8", "replace")).digest()
    )
    aside = set(ranked[: min(count, len(ranked) // 4)])
    if not aside:
        raise DataError(f"{len(listing.entries)} pictures are too few to hold some out; give others with --val")
    kept = tuple(entry for entry in listing.entries if entry not in aside)
    return Listing(kept, listing.bad), Listing(tuple(entry for entry in listing.entries if entry in aside), ())


def spread(listing: Listing, count: int) -> tuple[Entry, ...]:
    """`count` of the entries at most, evenly spread."""
    entries = listing.entries
    if len(entries) <= count:
        return entries
    return tuple(entries[index * len(entries) // count] for index in range(count))


def pairs(
    listing: Listing, degradation: Degradation, scale: int, seed: int, count: int = 12, side: int = 256
) -> tuple[list[Pair], list[Bad]]:
    """The middles of `count` pictures, `side` pixels at most, degraded; and those that could not be read."""
    made, bad = list[Pair](), list[Bad]()
    for number, entry in enumerate(spread(listing, count)):
        try:
            hr = middle(to_float(read_picture(entry.path)), side, scale)
        except DataError as error:
            bad.append(Bad(entry.path, str(error)))
            continue
        rng = np.random.default_rng([seed, _STREAM + number])
        made.append(Pair(_name(entry.path, made), from_float(hr, np.uint8), degraded(hr, degradation, scale, rng)))
    if not made:
        raise DataError(
            f"none of the {len(bad)} validation pictures can be read; {bad[0].reason if bad else 'none given'}"
        )
    return made, bad


def middle(pixels: np.ndarray, side: int, scale: int) -> np.ndarray:
    """The middle of a picture, `side` pixels at most, its sides multiples of `scale`."""
    height, width = (min(side, length) // scale * scale for length in pixels.shape[:2])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


def _name(path: Path, before: list[Pair]) -> str:
    """The file's name without ending, made different from those before it."""
    taken = {pair.name for pair in before}
    return path.stem if path.stem not in taken else f"{path.stem}-{len(before)}"
