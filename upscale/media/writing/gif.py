"""GIF, still and animated, written frame by frame.

Each frame has a palette of its own, which photographs need; that nothing flickers for it, a pixel that has not changed
is left as it stands. Where there is transparency, every frame is whole and is cleared away before the next.

Format: GIF89a specification (CompuServe, 1990); repetitions: Netscape's application extension, as browsers read it.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image as Pil

from upscale.image import Animation, Array
from upscale.media.writing.layout import Content, Pixels

_COLORS = 256
_SAMPLE = 1 << 15  # pixels a palette is made from: more takes longer and shows no difference
_GOOD_ENOUGH = 50  # pixels of the sample that may still change places when k-means ends
_COMMON = 0.004  # of the sample: a color with this share is kept as it is, so that flat areas stay flat
_MOST_COMMON = 64
_UNSEEN = 2  # levels: less than what dithering adds
_STAY, _CLEAR = 1, 2


def write_gif(file: BinaryIO, content: Content, frames: Iterator[Iterator[Pixels]]) -> None:
    """One frame, or as many as `content.animation` has durations. Alpha below a half is clear, the rest opaque."""
    animation = content.animation or Animation((0.0,), 1)
    file.write(struct.pack("<6sHHBBB", b"GIF89a", content.width, content.height, 0x70, 0, 0))
    if animation.plays != 1:
        repeats = min(65535, animation.plays - 1) if animation.plays else 0
        file.write(b"!\xff\x0bNETSCAPE2.0" + struct.pack("<BBHB", 3, 1, repeats, 0))
    before: Array | None = None
    for delay, frame in zip(centiseconds(animation.durations), frames, strict=True):
        before = _frame(file, content, np.concatenate(list(frame)), delay, before)
    file.write(b";")


def centiseconds(durations: tuple[float, ...]) -> list[int]:
    """Milliseconds in GIF's hundredths of a second, each rounded so that the sum never drifts from the true one."""
    at = np.rint(np.cumsum((0.0, *durations)) / 10).astype(np.int64)
    return [min(65535, int(step)) for step in np.diff(at)]


def _frame(file: BinaryIO, content: Content, pixels: Pixels, delay: int, before: Array | None) -> Array | None:
    """Writes a frame, and gives what stands now: for each pixel the color that was meant when it was last drawn."""
    rgb, seen = _parts(pixels)
    if content.layout.alpha:
        _picture(file, rgb, seen, delay, _CLEAR)
        return None
    if before is not None:
        fresh = np.abs(rgb.astype(np.int16) - before).max(axis=2) > _UNSEEN
        rgb_now = np.where(fresh[..., None], rgb, before)
        _picture(file, rgb, fresh, delay, _STAY)
        return rgb_now
    _picture(file, rgb, seen, delay, _STAY)
    return rgb


def _parts(pixels: Pixels) -> tuple[Array, Array]:
    """(H, W, 3) color and (H, W) whether it is seen."""
    channels = pixels.shape[2]
    color = pixels[..., :3] if channels > 2 else np.repeat(pixels[..., :1], 3, axis=2)
    seen = pixels[..., -1] >= 128 if channels in (2, 4) else np.ones(pixels.shape[:2], np.bool_)
    return np.ascontiguousarray(color), seen


def _picture(file: BinaryIO, rgb: Array, drawn: Array, delay: int, disposal: int) -> None:
    """The part of a picture that has all pixels to be drawn; the others in it are left clear.

    What will be cleared away is written whole: programs differ in what they see around a smaller part.
    """
    top, left, bottom, right = _box(drawn) if disposal == _STAY else (0, 0, *drawn.shape)
    rgb, drawn = rgb[top:bottom, left:right], drawn[top:bottom, left:right]
    palette, indices = indexed(rgb, drawn)
    clear = None if drawn.all() else len(palette)
    if clear is not None:
        indices = np.where(drawn, indices, np.uint8(clear))
    table = palette.tobytes().ljust(3 * _COLORS, b"\0")
    file.write(struct.pack("<BBBBHBB", 0x21, 0xF9, 4, disposal << 2 | (clear is not None), delay, clear or 0, 0))
    file.write(struct.pack("<BHHHHB", 0x2C, left, top, right - left, bottom - top, 0x87))
    file.write(table + b"\x08" + _compressed(indices) + b"\0")


def _box(drawn: Array) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of what is drawn; one pixel where nothing is."""
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    return (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1) if len(rows) else (0, 0, 1, 1)


def _compressed(indices: Array) -> bytes:
    picture = Pil.frombuffer("P", indices.shape[::-1], np.ascontiguousarray(indices), "raw", "P", 0, 1)
    return picture.tobytes("gif", "P", 8, 0)


def indexed(rgb: Array, drawn: Array) -> tuple[Array, Array]:
    """A palette, (n, 3) uint8, and (H, W) uint8 places in it. n leaves room for a clear one where not all is drawn.

    Exact where the colors are few enough. Else the common colors are kept as they are, the rest is chosen by median cut
    and improved by k-means, and the error is dithered away (Floyd–Steinberg).
    """
    most = _COLORS if drawn.all() else _COLORS - 1
    wanted = rgb[drawn]
    if not len(wanted):
        return np.zeros((1, 3), np.uint8), np.zeros(rgb.shape[:2], np.uint8)
    exact = _colors(wanted, most)
    if exact is not None:
        return _unpacked(exact), np.searchsorted(exact, _packed(rgb)).clip(0, len(exact) - 1).astype(np.uint8)
    palette = _palette(wanted, most)
    filled = np.where(drawn[..., None], rgb, palette[0])  # what is hidden must not disturb the dithering
    chosen = Pil.new("P", (1, 1))
    chosen.putpalette(palette.tobytes())
    dithered = Pil.fromarray(filled).quantize(palette=chosen, dither=Pil.Dither.FLOYDSTEINBERG)
    return palette, np.minimum(np.asarray(dithered), len(palette) - 1)


def _packed(rgb: Array) -> Array:
    wide = rgb.astype(np.uint32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _unpacked(colors: Array) -> Array:
    return np.stack((colors >> 16, colors >> 8 & 255, colors & 255), axis=-1).astype(np.uint8)


def _colors(wanted: Array, most: int) -> Array | None:
    """All colors, packed and in order, or None if there are more than `most`. A sample tells in most cases."""
    if len(np.unique(_packed(_sample(wanted)))) > most:
        return None
    found = np.unique(_packed(wanted))
    return found if len(found) <= most else None


def _sample(wanted: Array) -> Array:
    """Evenly strewn; the step shares no factor with usual widths."""
    step = max(1, len(wanted) // _SAMPLE)
    return wanted[:: step | 1] if step > 1 else wanted


def _palette(wanted: Array, most: int) -> Array:
    sample = _sample(wanted)
    colors, counts = np.unique(_packed(sample), return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_MOST_COMMON]
    common = colors[order[counts[order] >= max(2, _COMMON * len(sample))]]
    rest = sample[~np.isin(_packed(sample), common)]
    if not len(rest):
        return _unpacked(common)
    line = Pil.fromarray(np.ascontiguousarray(rest[None]))
    left = most - len(common)
    chosen = line.quantize(left, method=Pil.Quantize.MEDIANCUT, kmeans=_GOOD_ENOUGH)
    found = np.array((chosen.getpalette() or [])[: 3 * left], np.uint8).reshape(-1, 3)
    return np.concatenate((_unpacked(common), found))
