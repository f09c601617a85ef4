"""Colors that the networks do not know, CMYK and L*a*b*, made sRGB; and which ICC profile belongs to which pixels."""

import functools
import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pil
from PIL import ImageCms

from upscale.image import Array, Color, Floats

_cms: Any = ImageCms
_ROWS = 256
"""Rows that are converted at once, so that the floats in between stay small."""
_WHITE_D50 = np.array([0.96422, 1.0, 0.82521], np.float32)
_XYZ_TO_SRGB = np.array(
    [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]],
    np.float32,
)
"""XYZ (D50) → linear sRGB, adapted by Bradford (B. Lindbloom, "RGB/XYZ Matrices")."""


def space_of(icc: bytes | None) -> str | None:
    """ "RGB", "GRAY", "CMYK" ... as a profile's header says (ICC.1:2022, 7.2); None where it is no profile."""
    if icc is None or len(icc) < 132 or icc[36:40] != b"acsp" or struct.unpack(">I", icc[:4])[0] > len(icc):
        return None
    return icc[16:20].decode("ascii", "replace").strip()


def fitting(icc: bytes | None, gray: bool) -> tuple[bytes | None, list[str]]:
    """The profile if it is one for such pixels, else None and a warning: attached to others it would misread them."""
    if icc is None:
        return None, []
    space, wanted = space_of(icc), "GRAY" if gray else "RGB"
    if space == wanted:
        return icc, []
    if space is None:
        return None, ["its ICC profile is damaged: ignored"]
    return None, [f"its ICC profile is for {space}, its pixels are {wanted}: ignored"]


def of_inks(icc: bytes | None, bits: int) -> tuple[Color, bytes | None, list[str]]:
    """For CMYK: the color of the sRGB pixels that it becomes, the profile to go through, and warnings."""
    if space_of(icc) != "CMYK":
        return Color(bits), None, ["CMYK without a profile: converted as if inks were perfect"]
    with_bits = " with 8 bits" if bits > 8 else ""
    return Color(bits, icc=srgb_profile()), icc, [f"CMYK becomes sRGB, through its profile{with_bits}"]


@functools.cache
def srgb_profile() -> bytes:
    """An sRGB profile, the same bytes at every run."""
    profile = bytearray(_cms.ImageCmsProfile(_cms.createProfile("sRGB")).tobytes())
    profile[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)  # else the time of day
    return bytes(profile)


def cmyk_to_srgb(cmyk: Array, icc: bytes | None) -> Array:
    """uint8 or uint16 (H, W, 4), 0 for no ink, as sRGB (H, W, 3) of the same dtype.

    Through the profile (relative colorimetric with black point compensation, as is usual for photographs), which knows
    8 bits: uint16 is rounded to them. Without one as if inks were perfect, (1 - C)(1 - K), in full depth.
    """
    if icc is None:
        full = int(np.iinfo(cmyk.dtype).max)
        return _by_rows(cmyk, functools.partial(_plain, full=full))
    if cmyk.dtype == np.uint16:
        return _by_rows(
            cmyk, lambda part: _through(np.rint(part / 257.0).astype(np.uint8), icc).astype(np.uint16) * 257
        )
    return _by_rows(cmyk, lambda part: _through(part, icc))


def _plain(cmyk: Array, full: int) -> Array:
    light = (full - cmyk[..., :3]).astype(np.float32) * (full - cmyk[..., 3:]).astype(np.float32) / full
    return np.rint(light).astype(cmyk.dtype)


def to_srgb_transform(icc: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    """From a profile's 8-bit pixels of Pillow's `mode` to sRGB: relative colorimetric, with black point compensation."""
    source, target = (_cms.getOpenProfile(io.BytesIO(data)) for data in (icc, srgb_profile()))
    how = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    return ImageCms.buildTransform(source, target, mode, "RGB", *how)


_of_cmyk = functools.lru_cache(maxsize=2)(functools.partial(to_srgb_transform, mode="CMYK"))


def _through(cmyk: Array, icc: bytes) -> Array:
    picture = Pil.frombuffer("CMYK", (cmyk.shape[1], cmyk.shape[0]), np.ascontiguousarray(cmyk), "raw", "CMYK", 0, 1)
    converted = ImageCms.applyTransform(picture, _of_cmyk(icc))
    if converted is None:
        raise ValueError("a profile that converts nothing")
    return np.asarray(converted)


def lab_to_srgb(lab: Floats, dtype: npt.DTypeLike) -> Array:
    """float32 (H, W, 3): L* in 0..100, a* and b*, white D50; as sRGB of an integer `dtype`. By the formulas of CIE 15;
    colors outside of sRGB are clipped."""
    lightness = (lab[..., 0] + 16) / 116
    roots = np.stack((lightness + lab[..., 1] / 500, lightness, lightness - lab[..., 2] / 200), axis=2)
    xyz = np.where(roots > 6 / 29, roots**3, (roots - 16 / 116) * (3 * (6 / 29) ** 2)) * _WHITE_D50
    return np.rint(_encoded(xyz @ _XYZ_TO_SRGB.T) * np.iinfo(dtype).max).astype(dtype)


def _encoded(linear: Floats) -> Floats:
    """IEC 61966-2-1."""
    clipped = np.clip(linear, 0, 1)
    return np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * clipped ** (1 / 2.4) - 0.055)


def _by_rows(pixels: Array, convert: Callable[[Array], Array]) -> Array:
    result = np.empty((*pixels.shape[:2], 3), pixels.dtype)
    for start in range(0, len(pixels), _ROWS):
        result[start : start + _ROWS] = convert(pixels[start : start + _ROWS])
    return result
