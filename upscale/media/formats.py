"""Which kinds of files there are, what each can hold, and which are refused by name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upscale.errors import OutputError


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of file. `suffixes`: the first one is given to new files. `pillow`: its name there.

    `deep`: 16 bits a channel. `streamed`: written in bands, so that the picture is never whole in memory.
    `quality`: what `--quality` 0..100 means by default, None where the format has no such thing. `extra`: the optional
    dependency that brings it.
    """

    name: str
    suffixes: tuple[str, ...]
    pillow: str
    deep: bool = False
    alpha: bool = False
    gray: bool = True
    icc: bool = False
    exif: bool = False
    xmp: bool = False
    dpi: bool = False
    animated: bool = False
    streamed: bool = False
    largest_side: int | None = None
    quality: int | None = None
    extra: str | None = None


_ALL: dict[str, Any] = {"icc": True, "exif": True, "xmp": True}

PNG = Format("PNG", (".png", ".apng"), "PNG", deep=True, alpha=True, dpi=True, animated=True, streamed=True, **_ALL)
JPEG = Format("JPEG", (".jpg", ".jpeg", ".jfif"), "JPEG", dpi=True, largest_side=65500, quality=95, **_ALL)
WEBP = Format("WebP", (".webp",), "WEBP", alpha=True, gray=False, animated=True, largest_side=16383, quality=95, **_ALL)
AVIF = Format("AVIF", (".avif",), "AVIF", alpha=True, gray=False, animated=True, largest_side=32768, quality=90, **_ALL)
TIFF = Format("TIFF", (".tif", ".tiff"), "TIFF", deep=True, alpha=True, dpi=True, streamed=True, **_ALL)
BMP = Format("BMP", (".bmp", ".dib"), "BMP", dpi=True, streamed=True)
PPM = Format("PPM", (".ppm", ".pgm", ".pnm", ".pbm"), "PPM", deep=True, streamed=True)
JPEG_2000 = Format("JPEG 2000", (".jp2", ".j2k", ".jpx", ".j2c"), "JPEG2000", deep=True, alpha=True)
GIF = Format("GIF", (".gif",), "GIF", alpha=True, animated=True, largest_side=65535)
HEIC = Format(
    "HEIC", (".heic", ".heif"), "HEIF", alpha=True, gray=False, largest_side=32768, quality=90, extra="heic", **_ALL
)
JPEG_XL = Format("JPEG XL", (".jxl",), "JXL", alpha=True, quality=95, exif=True, xmp=True, extra="jxl")

FORMATS = (PNG, JPEG, WEBP, AVIF, TIFF, BMP, PPM, JPEG_2000, GIF, HEIC, JPEG_XL)

BY_SUFFIX = {suffix: format_ for format_ in FORMATS for suffix in format_.suffixes}

VIDEO_SUFFIXES = frozenset(
    [
        ".mp4",
        ".m4v",
        ".mkv",
        ".webm",
        ".mov",
        ".avi",
        ".ts",
        ".m2ts",
        ".mts",
        ".mpg",
        ".mpeg",
        ".vob",
        ".wmv",
        ".asf",
        ".flv",
        ".f4v",
        ".3gp",
        ".3g2",
        ".ogv",
        ".mxf",
        ".y4m",
        ".nut",
        ".dv",
        ".h264",
        ".264",
        ".h265",
        ".265",
        ".hevc",
        ".ivf",
        ".rm",
        ".rmvb",
        ".divx",
    ]
)
"""Files so called are videos; whatever FFmpeg opens is read."""

READ_ONLY = {".pbm": ".pgm"}
"""Suffixes that are read but not written, since they promise black and white only → what results are called instead."""

_RAW = "camera RAW holds no finished picture; develop it to 16-bit TIFF or PNG first (darktable, RawTherapee)"
_FLOAT = (
    "scene-linear floating point has no upper end, which these networks need; convert it to 16-bit PNG or TIFF first"
)
REFUSED = {
    **dict.fromkeys((".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".dng", ".raf", ".orf"), _RAW),
    **dict.fromkeys((".rw2", ".pef", ".srw", ".3fr", ".iiq", ".erf", ".mrw", ".x3f", ".raw", ".rwl", ".kdc"), _RAW),
    **dict.fromkeys((".exr", ".hdr", ".pfm"), _FLOAT),
    **dict.fromkeys((".psd", ".xcf", ".svg", ".pdf", ".tga", ".dds"), "convert it to PNG first"),
}
"""Suffix → why such a file is not read, and what to do."""


MAX_PIXELS = 250_000_000
"""Pictures that announce more are taken for bombs unless --allow-huge says otherwise."""


def is_video(path: Path) -> bool:
    """By its name."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def format_of(path: Path) -> Format:
    """The format of a result by its suffix. Raises OutputError for suffixes that are not known or only read."""
    if path.suffix.lower() in READ_ONLY:
        raise OutputError(f"{path}: {path.suffix} holds black and white only; use .pgm for gray, .ppm for color")
    found = BY_SUFFIX.get(path.suffix.lower())
    if found is None:
        raise OutputError(
            f"{path}: cannot write {path.suffix or 'a file without suffix'}; use .png, .jpg, .webp, .avif or .tif"
        )
    return found
