"""Compressed video: the picture as one frame in the middle of a short pan, coded with its neighbors by a real codec.

What makes video look like video is that a frame is predicted from others: detail that moved is smeared, and what did not change is
kept from the frame before. The picture is moved over itself (mirrored at its rim), so that the frame taken lies exactly
where the picture lies. The grid of blocks is moved by a random part of a block.
"""

import cv2
import numpy as np

from upscale.image import Array, Color, Floats
from upscale_training.degrade import note
from upscale_training.degrade.codecs import AV1, H264, HEVC, MPEG2, SMALLEST, VP9, Codec, packed, through, unpacked
from upscale_training.degrade.combine import step
from upscale_training.degrade.draw import Range, choice, number, whole
from upscale_training.degrade.noise import white
from upscale_training.degrade.television import moved

FRAMES = 7
"""Of the group: two groups of references around it (x264's and x265's B frames), or one of MPEG-2's."""

_GRID = 16
_COLOR = Color(matrix="bt709", full_range=False, chroma_location="left")

FAST = ("superfast", "veryfast", "faster")
"""Presets of x264 that cost little; slower ones differ less in looks than in time."""


@step
def h264(
    picture: Floats,
    rng: np.random.Generator,
    crf: Range = (20, 36),
    motion: Range = (0.0, 3.0),
    noise: Range = 0.0,
    presets: tuple[str, ...] = FAST,
) -> Array:
    """x264. `crf` 0 to 51. `motion`: of the pan, in pixels a frame. `noise`: in each frame anew, in levels, before coding."""
    return _coded(picture, rng, H264, crf, motion, noise, choice(rng, presets))


@step
def hevc(
    picture: Floats, rng: np.random.Generator, crf: Range = (22, 38), motion: Range = (0.0, 3.0), noise: Range = 0.0
) -> Array:
    """x265, as `h264`."""
    return _coded(picture, rng, HEVC, crf, motion, noise, "ultrafast")


@step
def mpeg2(
    picture: Floats,
    rng: np.random.Generator,
    quantizer: Range = (2, 12),
    motion: Range = (0.0, 3.0),
    noise: Range = 0.0,
) -> Array:
    """FFmpeg's MPEG-2, as on DVDs and in early digital television. `quantizer` 1 to 31."""
    return _coded(picture, rng, MPEG2, quantizer, motion, noise)


@step
def vp9(
    picture: Floats, rng: np.random.Generator, crf: Range = (28, 54), motion: Range = (0.0, 3.0), noise: Range = 0.0
) -> Array:
    """libvpx. `crf` 0 to 63."""
    return _coded(picture, rng, VP9, crf, motion, noise)


@step
def av1(
    picture: Floats, rng: np.random.Generator, crf: Range = (28, 56), motion: Range = (0.0, 3.0), noise: Range = 0.0
) -> Array:
    """SVT-AV1. `crf` 0 to 63."""
    return _coded(picture, rng, AV1, crf, motion, noise)


def _coded(
    picture: Floats,
    rng: np.random.Generator,
    codec: Codec,
    quality: Range,
    motion: Range,
    noise: Range,
    preset: str | None = None,
) -> Array:
    level, speed, sigma = whole(rng, quality), number(rng, motion), number(rng, noise)
    angle, taken = rng.uniform(-np.pi, np.pi), int(rng.integers(2, FRAMES - 1))
    note(codec.name, quality=level, motion=speed, angle=angle, frame=taken, noise=sigma)
    top, left = rng.integers(_GRID, size=2).tolist()
    canvas = _canvas(picture, top, left)
    shifts = [
        ((index - taken) * speed * np.cos(angle), (index - taken) * speed * np.sin(angle)) for index in range(FRAMES)
    ]
    frames = [packed(_noisy(moved(canvas, x, y) if x or y else canvas, rng, sigma), _COLOR) for x, y in shifts]
    result = unpacked(through(codec, frames, level, preset)[taken], _COLOR)
    return result[top : top + picture.shape[0], left : left + picture.shape[1]]


def _canvas(picture: Floats, top: int, left: int) -> Array:
    """The picture with mirrored surroundings: sides that are multiples of 4, and large enough for every encoder."""
    height, width = top + picture.shape[0], left + picture.shape[1]
    bottom, right = (max(SMALLEST, -(-side // 4) * 4) - side for side in (height, width))
    return cv2.copyMakeBorder(picture, top, bottom, left, right, cv2.BORDER_REFLECT_101)


def _noisy(frame: Floats, rng: np.random.Generator, sigma: float) -> Array:
    if not sigma:
        return frame
    return frame + white(rng, frame, gray=False) * np.float32(sigma / 255)
