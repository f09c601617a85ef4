"""What a file is, by its first bytes: names lie."""

from upscale.media.formats import (
    AVIF,
    BMP,
    GIF,
    HEIC,
    JPEG,
    JPEG_2000,
    JPEG_XL,
    PNG,
    PPM,
    REFUSED,
    TIFF,
    WEBP,
    Format,
)
from upscale.media.reading.opened import RefusedError

HEAD = 4096
"""Bytes of a file that `sniff` wants to see."""

_STARTS: tuple[tuple[bytes, Format], ...] = (
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"BM", BMP),
    (b"\0\0\0\x0cjP  \r\n\x87\n", JPEG_2000),
    (b"\xff\x4f\xff\x51", JPEG_2000),
    (b"\0\0\0\x0cJXL \r\n\x87\n", JPEG_XL),
    (b"\xff\x0a", JPEG_XL),
    *((start, TIFF) for start in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    *((b"P%d" % kind + space, PPM) for kind in range(1, 7) for space in (b" ", b"\t", b"\n", b"\r", b"#")),
)

_REFUSED_STARTS: tuple[tuple[bytes, str, str], ...] = (
    (b"8BPS", "a Photoshop file", ".psd"),
    (b"\x76\x2f\x31\x01", "OpenEXR", ".exr"),
    (b"#?RADIANCE", "Radiance HDR", ".hdr"),
    (b"#?RGBE", "Radiance HDR", ".hdr"),
    (b"PF\n", "a float map", ".pfm"),
    (b"Pf\n", "a float map", ".pfm"),
    (b"%PDF", "PDF", ".pdf"),
    (b"<svg", "SVG", ".svg"),
    (b"gimp xcf", "a GIMP file", ".xcf"),
    (b"DDS ", "DDS", ".dds"),
    (b"P7\n", "PAM", ".xcf"),
    (b"\0\0\x01\0", "an icon", ".xcf"),
    *((start, "camera RAW", ".raw") for start in (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW", b"FOVb")),
    *((start, "camera RAW", ".raw") for start in (b"\0MRM", b"II\x1a\0\0\0HEAPCCDR")),
)

_BRANDS: tuple[tuple[frozenset[bytes], Format | str], ...] = (
    (frozenset((b"crx ",)), ".cr3"),
    (frozenset((b"avif", b"avis")), AVIF),
    (frozenset((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1")), HEIC),
)
"""ISO/IEC 23008-12 and the AVIF specification; `crx ` is Canon's."""


def sniff(head: bytes) -> Format:
    """The format of a file that begins so. Raises RefusedError for what is not read, and why."""
    if head.startswith(b"II*\0") and head[8:10] == b"CR":
        raise RefusedError(REFUSED[".cr2"])
    for start, format_ in _STARTS:
        if head.startswith(start):
            return format_
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return WEBP
    if head[4:8] == b"ftyp":
        return _by_brand(head)
    for start, name, suffix in _REFUSED_STARTS:
        if head.startswith(start):
            raise RefusedError(f"{name} is not read: {REFUSED[suffix]}")
    if b"<svg" in head[:1024]:
        raise RefusedError(f"SVG is not read: {REFUSED['.svg']}")
    raise RefusedError("not a picture in a known format (PNG, JPEG, TIFF, WebP, AVIF ...); convert it to PNG first")


def _by_brand(head: bytes) -> Format:
    """The major brand decides, then the compatible ones: `mif1` alone says nothing of what is inside."""
    size = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[start : start + 4] for start in range(16, size - 3, 4))}
    for known, found in _BRANDS:
        if known & brands:
            if isinstance(found, str):
                raise RefusedError(REFUSED[found])
            return found
    raise RefusedError("a video or an unknown kind of ISO media file, not a picture; convert it to PNG first")
