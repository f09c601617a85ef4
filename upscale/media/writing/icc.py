"""ICC profiles: small ones made for colors that a PNG names in other ways, or to change between gray and RGB.

Formats: ICC.1:2001-04 (version 2 profiles, matrix/TRC), ICC.1:2022 (parametric curves); PNG third edition, section
11.3.2 (gAMA, cHRM, sRGB, cICP); H.273 (2021) tables 2 and 3 (primaries, transfer). Chromatic adaptation: Bradford.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image as Pil
from PIL import ImageCms

from upscale.image import Array, Color
from upscale.media.reading.profiles import to_srgb_transform

_Matrix = npt.NDArray[np.float64]
_Curve = Callable[[_Matrix], _Matrix]

_D50 = np.array((0.9642, 1.0, 0.8249))
_BRADFORD = np.array(((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296)))
_D65 = (0.3127, 0.3290)
_BT709 = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_PRIMARIES = {
    1: _BT709,
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
"""White and primaries (x, y) by their number in H.273."""

_POINTS = 1024
_GAMMA_OF_SRGB = range(45000, 45911)  # 1/2.2 and what is written for it, times 100,000


def _srgb(levels: _Matrix) -> _Matrix:
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def _bt709(levels: _Matrix) -> _Matrix:
    return np.where(levels < 0.081, levels / 4.5, ((levels + 0.099) / 1.099) ** (1 / 0.45))


def _power(gamma: float) -> _Curve:
    return lambda levels: levels**gamma


_TRANSFERS: dict[int, _Curve] = {
    **dict.fromkeys((1, 6, 14, 15), _bt709),
    **{4: _power(2.2), 5: _power(2.8), 8: _power(1.0), 13: _srgb},
}


@dataclass(frozen=True, slots=True)
class Space:
    """An RGB color space: white and primaries as eight (x, y) numbers, and levels in [0, 1] → light in [0, 1]."""

    points: tuple[float, ...]
    curve: _Curve


def told_by_chunks(color: Color) -> Space | None:
    """The space that a PNG's chunks name; None for sRGB, which is what readers take anyway. Raises ValueError for
    spaces that a profile cannot express (PQ, HLG and other rarities)."""
    chunks = dict(color.chunks)
    if "cICP" in chunks and len(chunks["cICP"]) >= 2:
        primaries, transfer = chunks["cICP"][:2]
        if (primaries, transfer) == (1, 13):
            return None
        if primaries not in _PRIMARIES or transfer not in _TRANSFERS:
            raise ValueError(f"cICP {primaries}/{transfer}")
        return Space(_PRIMARIES[primaries], _TRANSFERS[transfer])
    if "sRGB" in chunks:
        return None
    return _measured(chunks)


def _measured(chunks: dict[str, bytes]) -> Space | None:
    points, curve = _BT709, _srgb
    told = chunks.get("cHRM", b"")
    if len(told) == 32:
        read = tuple(value / 100000 for value in struct.unpack(">8I", told))
        if read[1] and np.abs(np.subtract(read, _BT709)).max() > 0.002:
            points = read
    gamma = int.from_bytes(chunks.get("gAMA", b""), "big")
    if gamma and gamma not in _GAMMA_OF_SRGB:
        curve = _power(100000 / gamma)
    return None if points == _BT709 and curve is _srgb else Space(points, curve)


def rgb_profile(space: Space, name: str = "from PNG chunks") -> bytes:
    """An ICC profile of a space. Raises ValueError where the primaries span no space."""
    curve = _curve_tag(space.curve(np.linspace(0, 1, _POINTS)))
    colorants = {
        tag: _xyz_tag(column) for tag, column in zip(("rXYZ", "gXYZ", "bXYZ"), _to_d50(space.points).T, strict=True)
    }
    return _profile(b"RGB ", name, colorants | dict.fromkeys(("rTRC", "gTRC", "bTRC"), curve))


def gray_profile_of(space: Space) -> bytes:
    """An ICC profile for one channel with a space's tones."""
    return _gray_profile(space.curve(np.linspace(0, 1, _POINTS)), "from PNG chunks")


def _gray_profile(curve: _Matrix, name: str) -> bytes:
    return _profile(b"GRAY", name, {"kTRC": _curve_tag(curve)})


def to_srgb(icc: bytes) -> Callable[[Array], Array]:
    """What makes 8-bit rows sRGB, (n, width, channels) of a profile's kind with or without alpha: relative colorimetric,
    with black point compensation."""
    gray = icc[16:20] == b"GRAY"
    transform = to_srgb_transform(icc, "L" if gray else "RGB")

    def convert(rows: Array) -> Array:
        color = np.ascontiguousarray(rows[..., 0] if gray else rows[..., :3])
        seen = np.asarray(ImageCms.applyTransform(Pil.fromarray(color), transform))
        return np.concatenate((seen[..., 1:2] if gray else seen, rows[..., 1 if gray else 3 :]), axis=2)

    return convert


def is_srgb(icc: bytes) -> bool:
    """Whether readers that know no profile show the picture as it is meant, to within a level."""
    steps = np.arange(0, 256, 17, dtype=np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(16, -1, 3)
    levels = np.arange(256, dtype=np.uint8)[None, :, None] if icc[16:20] == b"GRAY" else cube
    return bool(np.abs(to_srgb(icc)(levels).astype(int) - levels).max() <= 1)


def for_channels(icc: bytes, gray: bool) -> bytes | None:
    """A profile for one channel (gray) or three out of one that may be for the other: of the same tones on the neutral
    axis. The profile itself where it fits; None where there is no way."""
    kind = icc[16:20]
    if kind == (b"GRAY" if gray else b"RGB "):
        return icc
    try:
        if gray and kind == b"RGB ":
            return _gray_profile(_curve(_tags(icc)["gTRC"]), "gray of an RGB profile")
        if not gray and kind == b"GRAY":
            levels = _curve(_tags(icc)["kTRC"])
            return rgb_profile(Space(_BT709, lambda at: np.interp(at, np.linspace(0, 1, _POINTS), levels)), "of gray")
    except (KeyError, ValueError, struct.error):
        pass
    return None


def _to_d50(points: tuple[float, ...]) -> _Matrix:
    """(3, 3): linear RGB to XYZ under D50, columns red, green, blue."""
    xyz = np.array(
        [
            (x / y, 1.0, (1 - x - y) / y) if y else (x, 0.0, 1 - x)
            for x, y in zip(points[::2], points[1::2], strict=True)
        ]
    )
    white, primaries = xyz[0], xyz[1:].T
    try:
        scaled: _Matrix = primaries * np.asarray(np.linalg.solve(primaries, white), np.float64)
    except np.linalg.LinAlgError as error:
        raise ValueError("primaries on one line") from error
    gain = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white))
    return np.asarray(np.linalg.inv(_BRADFORD) @ gain @ _BRADFORD @ scaled, np.float64)


def _fixed(value: float) -> bytes:
    return struct.pack(">i", int(np.clip(round(value * 65536), -(1 << 31), (1 << 31) - 1)))


def _xyz_tag(xyz: _Matrix) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(_fixed(float(value)) for value in xyz)


def _curve_tag(light: _Matrix) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">I", len(light)) + np.rint(light.clip(0, 1) * 65535).astype(">u2").tobytes()


def _profile(kind: bytes, name: str, tags: dict[str, bytes]) -> bytes:
    text = name.encode("ascii") + b"\0"
    named = {
        "desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78),
        "cprt": b"text\0\0\0\0no copyright, use freely\0",
        "wtpt": _xyz_tag(_D50),
    }
    table, body = b"", b""
    every = {**named, **tags}
    start = 128 + 4 + 12 * len(every)
    placed: dict[bytes, int] = {}
    for tag, data in every.items():
        if data not in placed:
            placed[data] = start + len(body)
            body += data + bytes(-len(data) % 4)
        table += tag.encode("ascii") + struct.pack(">II", placed[data], len(data))
    head = struct.pack(">I4sI4s4s4s6H", start + len(body), b"", 0x02400000, b"mntr", kind, b"XYZ ", 2000, 1, 1, 0, 0, 0)
    head += b"acsp" + bytes(28) + _xyz_tag(_D50)[8:] + bytes(48)
    return head + struct.pack(">I", len(every)) + table + body


def _tags(icc: bytes) -> dict[str, bytes]:
    (count,) = struct.unpack_from(">I", icc, 128)
    entries = [struct.unpack_from(">4sII", icc, 132 + 12 * index) for index in range(min(count, 100))]
    return {name.decode("latin-1"): icc[start : start + length] for name, start, length in entries}


def _curve(tag: bytes) -> _Matrix:
    """(1024,): a curve's light at even levels. Raises ValueError for kinds that are not curves."""
    at = np.linspace(0, 1, _POINTS)
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return at
        if count == 1:
            return at ** (struct.unpack_from(">H", tag, 12)[0] / 256)
        points = np.frombuffer(tag, ">u2", count, 12) / 65535
        return np.interp(at, np.linspace(0, 1, count), points)
    if tag[:4] == b"para":
        return _parametric(tag, at)
    raise ValueError("no curve")


def _parametric(tag: bytes, at: _Matrix) -> _Matrix:
    """ICC.1:2022, table 68: (a·x + b)^g + e from d on, c·x + f below."""
    (kind,) = struct.unpack_from(">H", tag, 8)
    read = [value / 65536 for value in struct.unpack_from(f">{(1, 3, 4, 5, 7)[kind] if kind < 5 else 0}i", tag, 12)]
    if not read:
        raise ValueError("unknown curve")
    gamma, a, b, c, d, e, f = (*read, *(1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)[len(read) :])
    if kind in (1, 2):
        c, e, f = 0.0, (c if kind == 2 else 0.0), (c if kind == 2 else 0.0)
        d = -b / a if a else 0.0
    return np.where(at >= d, np.maximum(a * at + b, 0) ** gamma + e, c * at + f).clip(0, 1)
