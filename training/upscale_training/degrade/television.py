"""What television, tubes and subsampled color leave: interlacing, scan lines, chroma of half the size in the wrong place."""

from typing import Literal

import cv2
import numpy as np

from upscale.frame import Layout
from upscale.image import Array, Color, Floats
from upscale.yuv import planes_of, rgb_of
from upscale_training.degrade import note
from upscale_training.degrade.combine import step
from upscale_training.degrade.draw import Range, chance, choice, number, whole

Subsampling = Literal["4:2:0", "4:2:2", "4:1:1", "4:4:0", "4:4:4"]
SUBSAMPLED: dict[Subsampling, tuple[int, int]] = {
    "4:2:0": (1, 1),
    "4:2:2": (1, 0),
    "4:1:1": (2, 0),
    "4:4:0": (0, 1),
    "4:4:4": (0, 0),
}
"""How often the chroma's columns and rows are halved."""

SITINGS = ("left", "center", "topleft")
"""Where a chroma sample lies among its luma samples (H.273): MPEG-2 and later video, JPEG and MPEG-1, UHD Blu-ray."""


@step
def subsampled_chroma(
    picture: Floats,
    rng: np.random.Generator,
    kinds: tuple[Subsampling, ...] = ("4:2:0", "4:2:2", "4:1:1"),
    wrong: float = 0.2,
    blocky: float = 0.3,
) -> Array:
    """Color stored coarser than brightness (BT.601, 8 bits), and enlarged again.

    With probability `wrong` it is enlarged for another siting than it was made for, which shifts color by half a pixel; with
    probability `blocky` its samples are only repeated, as simple players do.
    """
    kind, siting = choice(rng, kinds), choice(rng, SITINGS)
    read_as = choice(rng, [one for one in SITINGS if one != siting]) if chance(rng, wrong) else siting
    repeated = chance(rng, blocky)
    note("chroma", kind=kind, siting=siting, read_as=read_as, blocky=repeated)
    columns, rows = SUBSAMPLED[kind]
    layout = Layout(sub_x=columns, sub_y=rows)
    planes = planes_of(picture, None, layout, Color(matrix="bt601", chroma_location=siting))
    if repeated:
        height, width = picture.shape[:2]
        wide = [plane.repeat(1 << rows, 0).repeat(1 << columns, 1)[:height, :width] for plane in planes[1:]]
        planes, layout = (planes[0], *wide), Layout(sub_x=0, sub_y=0)
    return rgb_of(planes, layout, Color(matrix="bt601", chroma_location=read_as))[0]


def moved(picture: Floats, x: float, y: float) -> Array:
    """The picture's contents moved right by x and down by y pixels (cubic between pixels), mirrored at the rim."""
    height, width = picture.shape[:2]
    matrix = np.array([[1, 0, x], [0, 1, y]], np.float64)
    return cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


Deinterlacing = Literal["woven", "blended", "doubled"]


@step
def interlaced(
    picture: Floats,
    rng: np.random.Generator,
    motion: Range = (0.5, 6.0),
    shown: tuple[Deinterlacing, ...] = ("woven", "blended", "doubled"),
) -> Array:
    """Two fields, the second one half a frame later, in which the picture moved on by `motion` pixels, mostly sideways.

    One field lies where the picture is. Shown woven (combs at what moved), blended (ghosts), or from one field with its lines
    interpolated.
    """
    distance, angle = number(rng, motion), rng.normal(0, 0.3) + (np.pi if chance(rng, 0.5) else 0)
    how, second = choice(rng, shown), int(rng.integers(2))
    note("interlaced", motion=distance, angle=angle, shown=how)
    woven = picture.copy()
    if how != "doubled":
        woven[second::2] = moved(picture, distance * np.cos(angle), distance * np.sin(angle))[second::2]
    if how == "woven":
        return np.clip(woven, 0, 1)
    blurred = cv2.sepFilter2D(woven, -1, np.ones(1), np.array([0.25, 0.5, 0.25]), borderType=cv2.BORDER_REFLECT_101)
    if how == "blended":
        return np.clip(blurred, 0, 1)
    # (1 2 1) / 4 minus half of the line itself is half the mean of its neighbors.
    woven[second::2] = (2 * blurred - woven)[second::2]
    return np.clip(woven, 0, 1)


@step
def scan_lines(
    picture: Floats,
    rng: np.random.Generator,
    strength: Range = (0.1, 0.5),
    period: Range = (2, 4),
    vertical: float = 0.1,
) -> Array:
    """Rows (with probability `vertical` columns) darkened by up to `strength` of their value, every `period` pixels."""
    depth, every, upright = number(rng, strength), whole(rng, period), chance(rng, vertical)
    note("scan lines", strength=depth, period=every, vertical=upright)
    phase = int(rng.integers(every))
    length: int = picture.shape[1 if upright else 0]
    wave = 0.5 + 0.5 * np.cos(2 * np.pi * (np.arange(length) + phase) / every)
    dimmed = (1 - depth * wave).astype(np.float32)
    return picture * (dimmed[None, :, None] if upright else dimmed[:, None, None])
