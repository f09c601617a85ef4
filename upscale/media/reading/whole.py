"""Formats that are decoded whole: JPEG, WebP, AVIF, JPEG 2000, GIF, HEIC and JPEG XL."""

import importlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image as Pil

from upscale.image import Animation, Array, Band, Color, Header
from upscale.media.formats import HEIC, JPEG_XL, REFUSED, Format
from upscale.media.metadata import metadata_of, orientation_of, transposes
from upscale.media.reading.boxes import av1_facts, boxes, cicp_chunk, jp2_facts, jxl_facts
from upscale.media.reading.frames import Moving, gif_facts, webp_facts
from upscale.media.reading.opened import (
    Limits,
    Opened,
    RefusedError,
    band_of,
    moving,
    not_carried,
    still,
    straight,
    turned,
    widened,
)
from upscale.media.reading.profiles import cmyk_to_srgb, fitting, of_inks

_8_BIT, _16_BIT = np.dtype(np.uint8), np.dtype(np.uint16)
_IPTC = 0x0404
"""Its number among Photoshop's image resources, in a JPEG's APP13."""
_SHOWN_AS = {"1": "L", "YCbCr": "RGB", "RGBX": "RGB", "PA": "RGBA", "La": "LA", "RGBa": "RGBA"}
"""Pillow's modes that are converted, and to which one."""


def open_jpeg(source: Path | bytes, limits: Limits) -> Opened:
    """The first picture, where there are several (MPO). Raises nearly anything for damaged files."""
    kinds = ["JPEG"]  # and with it MPO
    with Pil.open(_file(source), formats=kinds) as opened:
        limits.check(*opened.size)
        header, inks, warnings, orientation = _described(opened.size, _mode(opened), _info(opened))
        warnings += _beside(opened)
    return still(header, lambda: turned(_by_pillow(source, kinds, inks), orientation), warnings)


def _beside(opened: Any) -> list[str]:
    """What of a JPEG is not read, in a line or two."""
    info, pictures = _info(opened), getattr(opened, "n_frames", 1)
    resources = info.get("photoshop")
    named = {
        "the comment": bool(info.get("comment")),
        "IPTC": isinstance(resources, dict) and _IPTC in resources,
        "the HDR gain map": b"hdrgm:Version" in info.get("xmp", b""),
    }
    lost = not_carried(name for name, is_there in named.items() if is_there)
    return [*lost, f"holds {pictures} pictures: only the first one is read"] if pictures > 1 else lost


def _file(source: Path | bytes) -> Any:
    return io.BytesIO(source) if isinstance(source, bytes) else source


def _described(size: tuple[int, int], mode: str, info: dict[str, Any]) -> tuple[Header, bytes | None, list[str], int]:
    """By what Pillow knows before it decodes: the upright header, the inks' profile, warnings, and the orientation."""
    icc = info.get("icc_profile")
    gray = mode in ("L", "LA")
    exif, xmp = info.get("exif"), info.get("xmp")
    if mode == "CMYK":
        color, inks, warnings = of_inks(icc, 8)
    else:
        kept, warnings = fitting(icc, gray)
        color, inks = Color(8, gray, icc=kept), None
    orientation = orientation_of(exif, xmp)
    width, height = size[::-1] if transposes(orientation) else size
    metadata = metadata_of(exif, xmp, info.get("dpi"))
    return Header(width, height, _8_BIT, mode in ("LA", "RGBA"), color, metadata), inks, warnings, orientation


def _info(opened: Any) -> dict[str, Any]:
    return opened.info


def _mode(opened: Any) -> str:
    """One of L, LA, RGB, RGBA, CMYK: how the pixels are taken."""
    if opened.mode == "P":
        return "RGBA" if "transparency" in opened.info else "RGB"
    mode = _SHOWN_AS.get(opened.mode, opened.mode)
    if mode not in ("L", "LA", "RGB", "RGBA", "CMYK"):
        raise RefusedError(f"pixels of kind {mode} are not supported; convert it to RGB first")
    return mode


def _by_pillow(source: Path | bytes, kinds: list[str], inks: bytes | None = None) -> Iterator[Band]:
    with Pil.open(_file(source), formats=kinds) as opened:
        mode = _mode(opened)
        pixels = np.asarray(opened if opened.mode == mode else opened.convert(mode))
    yield band_of(cmyk_to_srgb(pixels, inks) if mode == "CMYK" else pixels)


def _frames(path: Path, kind: str, header: Header, orientation: int, count: int) -> Iterator[Band]:
    """Each frame as it is seen; Pillow blends and disposes."""
    mode = "RGBA" if header.alpha else "RGB"
    with Pil.open(path, formats=[kind]) as opened:
        for number in range(count):
            opened.seek(number)
            yield from turned(iter([band_of(np.asarray(opened.convert(mode)))]), orientation)


def _perhaps_moving(
    path: Path, kind: str, found: tuple[Header, list[str], int], times: Moving, limits: Limits
) -> Opened:
    header, warnings, orientation = found
    count = len(times.durations)
    if count < 2:
        return still(header, lambda: _frames(path, kind, header, orientation, 1), warnings)
    limits.check(header.width, header.height, count)
    animation = Animation(times.durations, times.plays)
    return moving(header, animation, lambda: _frames(path, kind, header, orientation, count), warnings)


def open_gif(path: Path, limits: Limits) -> Opened:
    """Raises nearly anything for damaged files."""
    with path.open("rb") as file:
        times = gif_facts(file)
    limits.check(times.width, times.height)
    with Pil.open(path, formats=["GIF"]) as opened:
        metadata = metadata_of(None, opened.info.get("xmp"), None)
        width, height = opened.size
    header = Header(width, height, _8_BIT, times.alpha, Color(8, times.gray), metadata)
    return _perhaps_moving(path, "GIF", (header, [], 1), times, limits)


def open_webp(path: Path, limits: Limits) -> Opened:
    """Raises nearly anything for damaged files."""
    with path.open("rb") as file:
        times = webp_facts(file)
    if times.width:
        limits.check(times.width, times.height)
    with Pil.open(path, formats=["WEBP"]) as opened:
        limits.check(*opened.size)
        header, _, warnings, orientation = _described(opened.size, _mode(opened), _info(opened))
    if times.durations:
        header = replace(header, alpha=times.alpha)
    return _perhaps_moving(path, "WEBP", (header, warnings, orientation), times, limits)


def open_avif(path: Path, limits: Limits) -> Opened:
    """10 and 12 bits as 16 where OpenCV has a decoder. Raises nearly anything for damaged files."""
    facts = av1_facts(path.read_bytes())
    with Pil.open(path, formats=["AVIF"]) as opened:
        limits.check(*opened.size)
        header, _, warnings, orientation = _described(opened.size, _mode(opened), _info(opened))
        count = getattr(opened, "n_frames", 1)
    chunks = (("cICP", facts.cicp),) if facts.cicp and header.color.icc is None else ()
    header = replace(header, color=replace(header.color, depth=facts.bits, chunks=chunks))
    if count > 1:
        if len(facts.durations) != count:
            raise ValueError(f"times for {len(facts.durations)} of {count} frames")
        times = Moving(header.width, header.height, facts.durations, facts.plays, header.alpha)
        return _perhaps_moving(
            path, "AVIF", (header, _warned(warnings, facts.bits, "animated AVIF"), orientation), times, limits
        )
    if facts.bits > 8 and cv2.haveImageReader(str(path)):
        header = replace(header, dtype=_16_BIT)
        return still(header, lambda: turned(_by_opencv(path, facts.bits), orientation), warnings)
    return still(header, lambda: turned(_by_pillow(path, ["AVIF"]), orientation), _warned(warnings, facts.bits, "AVIF"))


def _warned(warnings: list[str], bits: int, kind: str) -> list[str]:
    return [*warnings, f"{kind} of {bits} bits is read with 8"] if bits > 8 else warnings


def _by_opencv(path: Path, bits: int) -> Iterator[Band]:
    """Channels of more than 8 bits, which Pillow would cut."""
    pixels: Any = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError(f"{bits}-bit pixels that cannot be decoded")
    if pixels.max() >= 1 << bits:
        raise ValueError("values above white")
    if pixels.ndim == 3:
        pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    yield band_of(widened(pixels, bits))


def open_jpeg_2000(path: Path, limits: Limits) -> Opened:
    """Raises nearly anything for damaged files."""
    facts = jp2_facts(path.read_bytes())
    with Pil.open(path, formats=["JPEG2000"]) as opened:
        limits.check(*opened.size)
        mode = "L" if opened.mode == "I;16" else _mode(opened)
        info = {"dpi": opened.info.get("dpi"), "icc_profile": facts.icc, "xmp": facts.xmp, "exif": facts.exif}
        header, inks, warnings, _ = _described(opened.size, mode, info)
    if facts.bits > 16:
        raise RefusedError(f"{facts.bits} bits a channel are not supported; convert it to 16 bits first")
    header = replace(header, color=replace(header.color, depth=facts.bits))
    if facts.bits > 8 and facts.channels in (1, 3, 4) and inks is None:
        return still(replace(header, dtype=_16_BIT), lambda: _by_opencv(path, facts.bits), warnings)
    warnings = _warned(warnings, facts.bits, "JPEG 2000 of this kind")
    return still(header, lambda: _by_pillow(path, ["JPEG2000"], inks), warnings)


def open_heic(path: Path, limits: Limits) -> Opened:
    """The primary picture, upright as the library gives it; 10 and 12 bits as 16."""
    library = _library("pillow_heif", HEIC)
    opened = library.open_heif(path, convert_hdr_to_8bit=False, hdr_to_16bit=False)
    width, height = opened.size
    limits.check(*opened.size)
    info: dict[str, Any] = opened.info
    mode, bits = str(opened.mode).split(";")[0], int(info.get("bit_depth", 8))
    gray = mode in ("L", "LA", "I")
    icc, warnings = fitting(info.get("icc_profile"), gray)
    nclx: dict[str, int] = info.get("nclx_profile") or {}
    cicp = cicp_chunk(nclx.get("color_primaries", 2), nclx.get("transfer_characteristics", 2))
    color = Color(bits, gray, icc=icc, chunks=(("cICP", cicp),) if cicp and icc is None else ())
    metadata = metadata_of(info.get("exif"), info.get("xmp"), None)
    alpha = mode in ("LA", "RGBA", "RGBa")
    header = Header(width, height, _16_BIT if bits > 8 else _8_BIT, alpha, color, metadata)
    if len(opened) > 1:
        warnings.append(f"holds {len(opened)} pictures: only the primary one is read")
    return still(header, lambda: _heic_pixels(path, library, bits), warnings)


def _heic_pixels(path: Path, library: Any, bits: int) -> Iterator[Band]:
    opened = library.open_heif(path, convert_hdr_to_8bit=False, hdr_to_16bit=False)
    pixels = widened(np.asarray(opened), bits)
    if opened.mode == "RGBa":
        pixels = np.dstack((straight(pixels[..., :3], pixels[..., 3:]), pixels[..., 3:]))
    yield band_of(pixels)


def open_jpeg_xl(path: Path, limits: Limits) -> Opened:
    """Decoded when it is opened, since the library knows no other way, but not before its size is known."""
    data = path.read_bytes()
    facts = jxl_facts(data)
    limits.check(facts.width, facts.height)
    if facts.animated:
        raise RefusedError("animated JPEG XL is not supported; convert it to APNG or WebP first")
    if facts.bits > 16:
        raise RefusedError(REFUSED[".exr"])
    decoder = _library("pillow_jxl", JPEG_XL).Decoder(num_threads=-1)
    try:
        is_jpeg, info, pixels, icc, _ = decoder(data)
    except RuntimeError as error:  # which asks its reader to build the library anew
        raise ValueError("its pixels cannot be decoded") from error
    if is_jpeg:
        return open_jpeg(bytes(pixels), limits)
    whole = _jxl_pixels(pixels, str(info.mode).split(";")[0], info.width, info.height)
    gray = whole.shape[2] < 3
    kept, warnings = fitting(icc, gray)
    beside = {box.path: box.content for box in boxes(data)}
    exif = beside.get(b"Exif", b"")  # behind four bytes, which some writers forget
    exif = exif[4:] if exif[4:8] in (b"II*\0", b"MM\0*") else exif
    metadata = metadata_of(exif, beside.get(b"xml "), None)
    color = Color(facts.bits, gray, icc=kept)
    header = Header(info.width, info.height, whole.dtype, whole.shape[2] in (2, 4), color, metadata)
    if whole.dtype == _8_BIT:
        warnings = _warned(warnings, facts.bits, "JPEG XL")
    return still(header, lambda: iter([band_of(whole)]), warnings)


def _jxl_pixels(data: bytes, mode: str, width: int, height: int) -> Array:
    channels = {"L": 1, "I": 1, "LA": 2, "RGB": 3, "RGBA": 4}.get(mode)
    if channels is None:
        raise RefusedError(f"pixels of kind {mode} are not supported; convert it to RGB first")
    dtype = np.uint16 if len(data) == 2 * width * height * channels else np.uint8
    return np.frombuffer(data, dtype).reshape(height, width, channels)


def _library(name: str, format_: Format) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RefusedError(f"{format_.name} needs a library: pip install 'upscale[{format_.extra}]'") from error
