"""A contact sheet of a degradation: what a network would learn from, looked at before any training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pil
from PIL import ImageDraw, ImageFont

from upscale.image import Floats, from_float, to_float
from upscale_training.data.detail import busiest
from upscale_training.data.held_out import spread
from upscale_training.data.pictures import Bad, Listing, read_picture
from upscale_training.degrade import Degradation, Note, recorded
from upscale_training.degrade.checked import applied
from upscale_training.errors import DataError

Pixels = npt.NDArray[np.uint8]

CROP = 224
"""Pixels of the original that a cell shows, or less where the picture or the scale does not allow it."""

_GAP, _LETTERS, _LINE = 8, 11, 14
# Pillow's own font has no ×: notes say 56x56.
_PAPER, _INK = (250, 250, 248), (40, 40, 40)


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """A picture, uint8 (H, W, 3), and the lines of text beneath it."""

    pixels: Pixels
    lines: tuple[str, ...]


def contact_sheet(
    pictures: Sequence[tuple[str, Floats]], degradation: Degradation, scale: int, seed: int = 0, count: int = 4
) -> Pixels:
    """One row for each (name, picture): a crop rich in detail, then `count` times degraded, with what was drawn as text beneath.

    Degraded crops are enlarged to the original's size by repeating their pixels. Variant v of picture p draws its chance from
    (seed, p, v). Result: uint8 (H, W, 3), RGB. Raises ValueError for pictures smaller than the scale, RecipeError for a
    degradation that does not work.
    """
    if not pictures:
        raise ValueError("a contact sheet needs at least one picture")
    rows: list[list[Cell]] = []
    for index, (name, picture) in enumerate(pictures):
        crop = detailed_crop(picture, scale)
        rng = (np.random.default_rng([seed, index, variant]) for variant in range(count))
        original = Cell(_bytes(crop), (name, f"original, {crop.shape[1]}x{crop.shape[0]}"))
        rows.append([original, *(_degraded(crop, degradation, scale, chance) for chance in rng)])
    return _composed(rows)


def read_some(listing: Listing, count: int) -> tuple[list[tuple[str, Floats]], list[Bad]]:
    """(name, picture) of `count` pictures at most, evenly spread, and those that cannot be used: others are read in their place.

    Raises DataError where none can be read.
    """
    chosen = spread(listing, count)
    read, bad = list[tuple[str, Floats]](), list(listing.bad)
    for entry in dict.fromkeys((*chosen, *listing.entries)):
        if len(read) == count:
            break
        try:
            read.append((entry.path.name, to_float(read_picture(entry.path))))
        except DataError as error:
            bad.append(Bad(entry.path, str(error)))
    if not read:
        raise DataError(f"none of the {len(bad)} pictures can be read; the first: {bad[0].reason}")
    return read, bad


def detailed_crop(picture: Floats, scale: int, side: int = CROP) -> Floats:
    """The crop of `side` pixels, or of as many as fit and the scale divides, with the most contrast from pixel to pixel."""
    height, width = (min(side, length) // scale * scale for length in picture.shape[:2])
    if not height or not width:
        raise ValueError(
            f"a picture of {picture.shape[1]}×{picture.shape[0]} is too small for scale {scale}; leave it out"
        )
    left, top = busiest(255 * picture.mean(axis=2), height, width)
    return picture[top : top + height, left : left + width]


def _degraded(crop: Floats, degradation: Degradation, scale: int, rng: np.random.Generator) -> Cell:
    with recorded() as notes:
        result = applied(degradation, crop, rng, scale)
    height, width = result.shape[:2]
    shown = _bytes(result).repeat(scale, 0).repeat(scale, 1)
    return Cell(shown, (f"{width}x{height}", *(described(one) for one in notes)))


def described(one: Note) -> str:
    """A note as a line of text: `jpeg: quality 53, subsampling 4:2:0`."""
    step, drawn = one
    values = ", ".join(f"{name} {_value(value)}" for name, value in drawn.items())
    return f"{step}: {values}" if values else step


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _bytes(picture: Floats) -> Pixels:
    return np.asarray(from_float(picture, np.uint8), dtype=np.uint8)


def _composed(rows: list[list[Cell]]) -> Pixels:
    font = ImageFont.load_default(_LETTERS)
    column = max(cell.pixels.shape[1] for row in rows for cell in row)
    texts = [[_wrapped(cell.lines, column, font) for cell in row] for row in rows]
    heights = [
        max(cell.pixels.shape[0] for cell in row) + _LINE * max(len(lines) for lines in text) + 2 * _GAP
        for row, text in zip(rows, texts, strict=True)
    ]
    size = (_GAP + max(len(row) for row in rows) * (column + _GAP), _GAP + sum(heights))
    sheet = Pil.new("RGB", size, _PAPER)
    draw, top = ImageDraw.Draw(sheet), _GAP
    for row, text, height in zip(rows, texts, heights, strict=True):
        for index, (cell, lines) in enumerate(zip(row, text, strict=True)):
            left = _GAP + index * (column + _GAP)
            sheet.paste(Pil.fromarray(cell.pixels), (left, top))
            below = top + cell.pixels.shape[0] + _GAP // 2
            for number, line in enumerate(lines):
                draw.text((left, below + number * _LINE), line, _INK, font)
        top += height
    return np.asarray(sheet)


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def _wrapped(lines: Sequence[str], width: int, font: Font) -> list[str]:
    """Broken at spaces where longer than `width` pixels; what goes on is indented."""
    result: list[str] = []
    for line in lines:
        held = ""
        for word in line.split(" "):
            longer = f"{held} {word}" if held else word
            if held and font.getlength(longer) > width:
                result.append(held)
                longer = f"   {word}"
            held = longer
        result.append(held)
    return result
