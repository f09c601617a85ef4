"""Still pictures: PNG, JPEG, WebP and TIFF, 8 and 16 bit, gray or color, with or without alpha.

8-bit files go through Pillow, which keeps ICC profile, EXIF and DPI; 16-bit color through OpenCV, since Pillow would
silently cut it to 8 bits.
"""

import contextlib
import io
import warnings
from collections.abc import Generator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np
from PIL import Image as Pil
from PIL import UnidentifiedImageError

from upscale.errors import OutputError, PictureError
from upscale.files import replacing
from upscale.image import Array, Color, Image
from upscale.media.metadata import DAMAGE, has_directories, is_transposed, metadata, orientation, upright, writable

SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
_WITHOUT_ALPHA = {"JPEG"}
_DEEP = {"PNG", "TIFF"}
_SAVE: dict[str, dict[str, Any]] = {
    "PNG": {"compress_level": 4},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95, "method": 4},
    "TIFF": {"compression": "tiff_adobe_deflate"},
}
_LARGEST_SIDE = {"JPEG": 65500, "WEBP": 16383}
_PLAIN_MODES = ("L", "LA", "RGB", "RGBA", "P", "1", "PA")
_DEEP_MODES = ("L", "LA", "RGB", "RGBA", "I", "I;16", "I;16B", "I;16L")


def read_image(path: Path) -> Image:
    """Decodes one still picture, upright. Raises PictureError, whose message names the file and what to do."""
    with _faults_explained(path):
        data = path.read_bytes()
        if not data:
            raise PictureError(f"{path}: the file is empty; copy or download it again")
        return _decode(path, data)


def read_size(path: Path) -> tuple[int, int]:
    """(width, height) of a picture, upright, without decoding it. Raises PictureError as `read_image` would, except for
    damage among the pixels."""
    with _faults_explained(path), path.open("rb") as file:
        head = file.read(32)
        if not head:
            raise PictureError(f"{path}: the file is empty; copy or download it again")
        with Pil.open(file) as opened:
            _supported_bits(path, opened, head)
            return (opened.height, opened.width) if is_transposed(opened) else opened.size


@contextlib.contextmanager
def _faults_explained(path: Path) -> Generator[None]:
    """Turns what decoders raise into one line that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd but readable metadata
            yield
    except (UnidentifiedImageError, SyntaxError) as error:
        kinds = "PNG, JPEG, WebP, TIFF"
        raise PictureError(
            f"{path}: not a picture in a known format ({kinds}), or cut off; convert or copy it again"
        ) from error
    except Pil.DecompressionBombError as error:
        most = 2 * (Pil.MAX_IMAGE_PIXELS or 0)
        raise PictureError(
            f"{path}: larger than {most:,} pixels, which is not supported yet; cut it into parts"
        ) from error
    except (*DAMAGE, cv2.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise PictureError(f"{path}: cannot be read ({error.strerror})") from error
        cause = " ".join(str(error).split())[:100] or type(error).__name__
        raise PictureError(f"{path}: damaged or cut off ({cause}); copy or download it again") from error


def _decode(path: Path, data: bytes) -> Image:
    with Pil.open(io.BytesIO(data)) as opened:
        deep = _supported_bits(path, opened, data) == 16
        icc = opened.info.get("icc_profile")
        if deep:
            return _decode_deep(opened, data, icc)
        return _from_pillow(opened, icc)


def _supported_bits(path: Path, opened: Any, head: bytes) -> int:
    """Bits of a channel. Raises PictureError for kinds of pictures that are not supported."""
    if opened.format not in (*SUFFIXES.values(), "MPO"):
        raise PictureError(f"{path}: {opened.format} is not supported yet; convert it to PNG first")
    if getattr(opened, "n_frames", 1) > 1 and opened.format != "MPO":
        raise PictureError(f"{path}: has several frames or pages, which is not supported yet; split it first")
    bits = _bits(opened, head)
    if opened.mode not in (_DEEP_MODES if bits == 16 else _PLAIN_MODES):
        raise PictureError(f"{path}: pixels of kind {opened.mode} are not supported yet; convert it to RGB first")
    return bits


def _bits(opened: Any, head: bytes) -> int:
    """Bits of a channel as the file says, since Pillow shows 16-bit color as 8-bit."""
    if opened.format == "PNG":
        return head[24]
    if opened.format == "TIFF":
        return int(max(opened.tag_v2.get(258, (1,))))
    return 8


def _from_pillow(opened: Any, icc: bytes | None) -> Image:
    transparent = "A" in opened.getbands() or "transparency" in opened.info
    gray = opened.mode in ("L", "LA", "1")
    pixels = upright(np.asarray(opened.convert("RGBA" if transparent else "RGB")), orientation(opened))
    alpha = np.ascontiguousarray(pixels[..., 3]) if transparent else None
    return Image(np.ascontiguousarray(pixels[..., :3]), alpha, Color(8, gray, icc=icc), metadata(opened))


def _decode_deep(opened: Any, data: bytes, icc: bytes | None) -> Image:
    pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError("16-bit pixels that cannot be decoded")
    gray = pixels.ndim == 2
    if opened.format == "PNG":
        pixels = upright(pixels, orientation(opened))
        gray = data[25] in (0, 4)  # gray with alpha comes as color
    color, beside = Color(16, gray, icc=icc), metadata(opened)
    if pixels.ndim == 2:
        return Image(np.repeat(pixels[..., None], 3, axis=2), None, color, beside)
    alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.shape[2] == 4 else None
    return Image(np.ascontiguousarray(pixels[..., 2::-1]), alpha, color, beside)


class StillSink:
    """Collects a picture's bands and writes the file when the block ends well; see `Sink`.

    `like` gives depth, grayness and metadata. What the format cannot hold is converted, and said in `warnings`.
    """

    def __init__(self, path: Path, width: int, height: int, like: Image) -> None:
        self._path, self._like = path, like
        self._format = format_of(path)
        most = _LARGEST_SIDE.get(self._format)
        if most is not None and max(width, height) > most:
            raise OutputError(
                f"{path}: {self._format} holds at most {most} pixels a side, not {width}×{height}; use -o with .png or .tif"
            )
        self._rgb = np.empty((height, width, 3), like.rgb.dtype)
        self._alpha = None if like.alpha is None else np.empty((height, width), like.rgb.dtype)
        self._beside, self.warnings = writable(like.metadata, self._format, width, height)
        self._rows = 0

    def write(self, rgb: Array, alpha: Array | None) -> None:
        stop = self._rows + rgb.shape[0]
        self._rgb[self._rows : stop] = rgb
        if self._alpha is not None and alpha is not None:
            self._alpha[self._rows : stop] = alpha
        self._rows = stop

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            return
        if self._rows != self._rgb.shape[0]:
            raise OutputError(f"{self._path}: {self._rgb.shape[0] - self._rows} rows are missing, nothing written")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self._path) as temporary:
                self._encode(temporary)
                self._check(temporary)
        except OSError as failed:
            raise OutputError(f"{self._path}: cannot be written ({failed.strerror or failed})") from failed
        except SyntaxError as failed:
            raise OutputError(f"{self._path}: what was written cannot be read again ({failed})") from failed

    def _encode(self, path: Path) -> None:
        pixels = self._rgb if self._alpha is None else np.dstack((self._rgb, self._alpha))
        if self._alpha is not None and self._format in _WITHOUT_ALPHA:
            pixels = _on_white(pixels)
            self.warnings.append(f"{self._format} has no transparency: put on white")
        if pixels.dtype != np.uint8 and self._format not in _DEEP:
            pixels = np.rint(pixels / 257.0).astype(np.uint8)
            self.warnings.append(f"{self._format} has 8 bits: 16-bit values rounded")
        if self._like.color.gray:
            # The channels differ by what the network made of gray; their mean is the gray that was meant.
            gray = np.rint(pixels[..., :3].mean(axis=2, dtype=np.float32)).astype(pixels.dtype)
            pixels = gray if pixels.shape[2] == 3 else np.dstack((gray, pixels[..., 3]))
        if pixels.dtype == np.uint16:
            self._encode_deep(path, pixels)
        else:
            self._encode_pillow(path, pixels)

    def _encode_pillow(self, path: Path, pixels: Array) -> None:
        beside = self._beside
        kept = {"icc_profile": self._like.color.icc, "exif": beside.exif, "dpi": beside.dpi, "xmp": beside.xmp}
        options = _SAVE[self._format] | {key: value for key, value in kept.items() if value is not None}
        if self._format == "TIFF" and has_directories(beside.exif):
            options["compression"] = "raw"  # Pillow's compressed TIFF cannot hold the camera's part of EXIF
        try:
            Pil.fromarray(pixels).save(path, self._format, **options)
        except ValueError as error:
            raise OutputError(f"{self._path}: {error}") from error

    def _encode_deep(self, path: Path, pixels: Array) -> None:
        if pixels.ndim == 3:
            if pixels.shape[2] == 2:
                pixels = np.dstack((np.repeat(pixels[..., :1], 3, axis=2), pixels[..., 1]))
            pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
        icc, exif = self._like.color.icc, self._beside.exif
        if self._format == "PNG":
            parts = {cv2.IMAGE_METADATA_ICCP: icc, cv2.IMAGE_METADATA_EXIF: exif and exif.removeprefix(b"Exif\0\0")}
            kept = {kind: np.frombuffer(data, np.uint8) for kind, data in parts.items() if data}
            done, encoded = cv2.imencodeWithMetadata(".png", pixels, list(kept), list(kept.values()))
        else:
            done, encoded = cv2.imencode(".tiff", pixels)
            if exif is not None or icc is not None:
                self.warnings.append(f"16-bit {self._format}: EXIF or ICC profile not kept yet")
        if not done:
            raise OutputError(f"{self._path}: OpenCV could not encode it")
        path.write_bytes(encoded.tobytes())

    def _check(self, path: Path) -> None:
        """Opens what was written, as the next program will."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Pil.open(path) as written:
                if written.size != (self._rgb.shape[1], self._rgb.shape[0]):
                    raise OutputError(f"{self._path}: written with a wrong size of {written.size}")
                if self._format == "PNG":
                    written.verify()


def format_of(path: Path) -> str:
    """The format by a file's suffix. Raises OutputError for suffixes that are not known."""
    found = SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise OutputError(
            f"{path}: cannot write {path.suffix or 'a file without suffix'}; use .png, .jpg, .webp or .tif"
        )
    return found


def _on_white(pixels: Array) -> Array:
    full = float(np.iinfo(pixels.dtype).max)
    share = pixels[..., 3:] / full
    return np.rint(pixels[..., :3] * share + full * (1 - share)).astype(pixels.dtype)
