"""What a video says of its colors, in the numbers of ITU-T H.273; and what is taken for said where it is silent."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from upscale.errors import VideoError
from upscale.image import Color

UNSPECIFIED = 2
LIMITED, FULL = 1, 2
"""FFmpeg's numbers for the range; 0 is unspecified."""

MATRIX_NAMES: Mapping[int, str] = {
    0: "rgb",
    1: "bt709",
    4: "fcc",
    5: "bt601",
    6: "bt601",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020",
}
PRIMARIES_NAMES: Mapping[int, str] = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    10: "smpte428",
    11: "smpte431",
    12: "smpte432",
    22: "ebu3213",
}
TRANSFER_NAMES: Mapping[int, str] = {
    1: "bt709",
    4: "gamma22",
    5: "gamma28",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    11: "iec61966-2-4",
    13: "srgb",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "pq",
    17: "smpte428",
    18: "hlg",
}
_REFUSED = {10: "BT.2020 with constant luminance", 11: "SMPTE 2085", 14: "ICtCp", 15: "IPT-C2"}
_CENTERED = {"mpeg1video", "mjpeg"}
"""Codecs whose chroma samples lie between luma samples unless the file says otherwise (JPEG and MPEG-1 by definition)."""

Location = Literal["unspecified", "left", "center", "topleft", "top", "bottomleft", "bottom"]


@dataclass(frozen=True, slots=True)
class Tags:
    """As the file has them: numbers of H.273, 2 (and for the range 0) where it says nothing."""

    matrix: int = UNSPECIFIED
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    range: int = 0
    location: Location = "unspecified"


@dataclass(frozen=True, slots=True)
class Light:
    """HDR's static metadata (SMPTE ST 2086, CTA-861.3): chromaticities of red, green, blue and white; luminances in cd/m²;
    MaxCLL and MaxFALL in cd/m², None where the file does not say."""

    primaries: tuple[tuple[float, float], ...] | None = None
    white: tuple[float, float] | None = None
    luminance: tuple[float, float] | None = None
    content: tuple[int, int] | None = None

    def __bool__(self) -> bool:
        return self.primaries is not None or self.luminance is not None or self.content is not None


def completed(tags: Tags, width: int, height: int, rgb: bool, codec: str) -> tuple[Tags, list[str]]:
    """The tags with what is silent filled in, and what was assumed, in words. `width` and `height` are the source's, in pixels.

    The rule is that of most players: BT.709 above 576 lines or 1024 columns, else BT.601 (with the primaries of the system
    that has so many lines); limited range; chroma samples at the left. It is written into the result, since a small video
    that says nothing means other colors than a large one that says nothing.
    """
    large = height > 576 or width > 1024
    lines = 5 if height in (576, 288) else 6
    found, assumed = tags, list[str]()
    if rgb:
        found = replace(found, matrix=0, range=found.range or FULL)
    if found.matrix == UNSPECIFIED:
        matrix = 1 if large else 9 if found.primaries == 9 else lines
        found = replace(found, matrix=matrix)
        assumed.append(f"matrix, taken for {'BT.709' if matrix == 1 else 'BT.2020' if matrix == 9 else 'BT.601'}")
    if found.primaries == UNSPECIFIED:
        found = replace(found, primaries={5: lines, 6: 6, 9: 9}.get(found.matrix, 1))
    if found.transfer == UNSPECIFIED:
        found = replace(found, transfer={5: 6, 6: 6, 9: 14}.get(found.matrix, 1))
    if found.range == 0:
        found = replace(found, range=LIMITED)
        assumed.append("range, taken for limited")
    if found.location == "unspecified" and not rgb:
        found = replace(found, location="center" if codec in _CENTERED else "left")
    return found, assumed


def color_of(tags: Tags, depth: int, gray: bool, where: str) -> Color:
    """Completed tags as a Color. Raises VideoError, naming `where`, for a matrix that no plain matrix is."""
    matrix = MATRIX_NAMES.get(tags.matrix)
    if matrix is None:
        name = _REFUSED.get(tags.matrix, f"number {tags.matrix}")
        raise VideoError(f"{where}: its color matrix ({name}) is not supported; convert it to BT.2020 or BT.709 first")
    return Color(
        depth=depth,
        gray=gray,
        matrix=matrix,
        transfer=TRANSFER_NAMES.get(tags.transfer, "unspecified"),
        primaries=PRIMARIES_NAMES.get(tags.primaries, "unspecified"),
        full_range=tags.range == FULL,
        chroma_location=tags.location if tags.location != "unspecified" else "left",
    )


def light_of(side_data: Any) -> Light:
    """From a decoded frame's side data: libavutil's AVMasteringDisplayMetadata (ten rationals, two flags) and
    AVContentLightMetadata (two integers), whose forms are part of its public interface."""
    light = Light()
    mastering, content = side_data.get("MASTERING_DISPLAY_METADATA"), side_data.get("CONTENT_LIGHT_LEVEL")
    if mastering is not None and mastering.buffer_size >= 88:
        values = struct.unpack("=22i", bytes(mastering)[:88])
        parts = [values[2 * k] / values[2 * k + 1] if values[2 * k + 1] else 0.0 for k in range(10)]
        pairs = [(parts[2 * k], parts[2 * k + 1]) for k in range(4)]
        has_primaries, has_luminance = values[20], values[21]
        light = Light(
            tuple(pairs[:3]) if has_primaries else None,
            pairs[3] if has_primaries else None,
            (parts[8], parts[9]) if has_luminance else None,
        )
    if content is not None and content.buffer_size >= 8:
        most, mean = struct.unpack("=2I", bytes(content)[:8])
        light = replace(light, content=(most, mean))
    return light


def orientation_of(side_data: Any) -> int:
    """EXIF's number for how a frame is to be turned: from its display matrix; 1 where there is none, 0 for odd angles."""
    matrix = side_data.get("DISPLAYMATRIX")
    if matrix is None or matrix.buffer_size < 36:
        return 1
    a, b, _, c, d = struct.unpack("=5i", bytes(matrix)[:20])
    signs = tuple((value > 0) - (value < 0) if abs(value) > 1 << 10 else 0 for value in (a, b, c, d))
    return _ORIENTATIONS.get(signs, 0)


_ORIENTATIONS: Mapping[tuple[int, ...], int] = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}
"""Signs of (a, b, c, d), where a point moves to (a·x + c·y, b·x + d·y), y downwards."""
