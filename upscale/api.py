"""The Python interface: `up = upscale.load("x4plus"); bigger = up(picture, scale=4)`."""

import sys
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import numpy as np
from PIL import Image as Pil

from upscale.chain import Settings, Wrap
from upscale.engines.choose import EngineName, PrecisionName, Wish
from upscale.enlarge import Enlarger
from upscale.image import Array, Image
from upscale.model import open_model
from upscale.plans import Tile, check_tile
from upscale.sizes import Size

Picture = TypeVar("Picture")


class Upscaler:
    """A model ready for pictures. Made by `load`; usable for any number of them, from one thread at a time."""

    def __init__(self, enlarger: Enlarger) -> None:
        self._enlarger = enlarger

    @property
    def scale(self) -> int:
        """How much one pass of the network enlarges."""
        return self._enlarger.scale

    @property
    def description(self) -> str:
        """Engine, device, precision and why."""
        engine = self._enlarger.engine
        return f"{engine.name} on {engine.device} in {engine.precision}: {self._enlarger.reason}"

    def __call__(self, picture: Picture, scale: float | None = None, *, size: tuple[int, int] | None = None) -> Picture:
        """The picture `scale` times larger (default: the model's own scale), or of `size` (width, height), of the type that
        came in.

        numpy   (H, W, 3) RGB, (H, W, 4) with straight alpha, (H, W) or (H, W, 1) gray; uint8, uint16, or float in [0, 1].
        PIL     modes L, LA, RGB, RGBA and I;16; 1, P, CMYK and the like as RGB, or RGBA where they have transparency.
        torch   (3, H, W) or (N, 3, H, W), uint8 or float in [0, 1]; same dtype and device back.

        Each side becomes round(side · scale). Raises ValueError for other shapes, dtypes or values, for a scale outside
        0.5..16, a size of more than 16 times the picture, and for both at once; OutOfMemoryError where nothing fits.
        """
        wanted = self._target(scale, size)
        given: Any = picture
        if isinstance(given, np.ndarray):
            result: Any = self._array(cast("Array", given), wanted)
        elif isinstance(given, Pil.Image):
            result = self._pillow(given, wanted)
        elif _is_tensor(given):
            result = self._tensor(given, wanted)
        else:
            raise ValueError(f"a picture is a numpy array, a PIL image or a torch tensor, not {type(given).__name__}")
        return result

    def _target(self, scale: float | None, size: tuple[int, int] | None) -> Size:
        if size is not None:
            return Size(scale=scale, width=size[0], height=size[1])
        return Size(scale=float(self.scale if scale is None else scale))

    def close(self) -> None:
        """Gives back the engine's memory."""
        self._enlarger.close()

    def _array(self, pixels: Array, target: float | Size) -> Array:
        kind = _dtype(pixels)
        image, channels = _as_image(pixels.astype(kind, copy=False))
        result = self._enlarger.enlarge(image, target)
        if channels == 1:
            exact = result.rgb.mean(axis=2, dtype=np.float64)
            gray = (np.rint(exact) if kind != np.float32 else exact).astype(kind)
            return (gray if pixels.ndim == 2 else gray[..., None]).astype(pixels.dtype, copy=False)
        whole = result.rgb if result.alpha is None else np.dstack((result.rgb, result.alpha))
        return whole.astype(pixels.dtype, copy=False)

    def _pillow(self, picture: Pil.Image, target: float | Size) -> Pil.Image:
        result = Pil.fromarray(self._pillow_pixels(picture, target))
        if "icc_profile" in picture.info:
            result.info["icc_profile"] = picture.info["icc_profile"]
        return result

    def _pillow_pixels(self, picture: Pil.Image, target: float | Size) -> Array:
        if picture.mode in ("I", "F"):
            raise ValueError(f"a PIL image of mode {picture.mode} has no known range; give a numpy array")
        if picture.mode == "LA":
            pixels = self._array(np.asarray(picture.convert("RGBA")), target)
            gray = np.rint(pixels[..., :3].mean(axis=2, dtype=np.float64)).astype(np.uint8)
            return np.dstack((gray, pixels[..., 3]))
        if picture.mode not in ("L", "RGB", "RGBA", "I;16"):
            picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
        return self._array(np.asarray(picture), target)

    def _tensor(self, tensor: Any, target: float | Size) -> Any:
        torch = sys.modules["torch"]
        if tensor.ndim == 4 and len(tensor):
            return torch.stack([self._tensor(one, target) for one in tensor])
        if tensor.ndim != 3 or tensor.shape[0] != 3:
            raise ValueError(f"a tensor is (3, H, W) or (N, 3, H, W), not {tuple(tensor.shape)}")
        if tensor.dtype != torch.uint8 and not tensor.is_floating_point():
            raise ValueError(f"a tensor is uint8 or float in [0, 1], not {tensor.dtype}")
        kept = tensor.dtype if tensor.dtype == torch.uint8 else torch.float32
        pixels = np.ascontiguousarray(tensor.detach().to("cpu", kept).permute(1, 2, 0).numpy())
        result = torch.from_numpy(np.ascontiguousarray(self._array(pixels, target))).permute(2, 0, 1)
        return result.contiguous().to(tensor.device, tensor.dtype)


def load(
    model: str | Path = "x4plus",
    *,
    device: str = "auto",
    engine: EngineName = "auto",
    precision: PrecisionName = "auto",
    tile: Tile = "auto",
    wrap: Wrap = "none",
    denoise: float | None = None,
    color_fix: bool = True,
    strength: float = 1.0,
    tta: bool = False,
    bleed: bool = True,
) -> Upscaler:
    """Opens a model by name (`upscale-models list`) or file. The options are those of the command; see `upscale --help`.
    `bleed`: whether color under transparency gives way to the visible one beside it.

    Raises ModelError, EngineError, UpscaleError for a tile that is too small, ValueError for options that do not exist.
    """
    for given, known in ((engine, EngineName), (precision, PrecisionName), (wrap, Wrap)):
        if given not in get_args(known):
            raise ValueError(f"{given!r} is none of {', '.join(get_args(known))}")
    if tile not in ("auto", "whole") and type(tile) is not int:
        raise ValueError(f"tile is auto, whole or a number of rows, not {tile!r}")
    settings = Settings(check_tile(tile), wrap, color_fix, strength, tta, bleed)
    checkpoint = open_model(str(model), denoise)
    return Upscaler(Enlarger(checkpoint, Wish(engine, device, precision), settings))


def _is_tensor(picture: Any) -> bool:
    """torch is not imported for this: who has a tensor has imported it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(picture, torch.Tensor)


def _dtype(pixels: Array) -> type[np.uint8 | np.uint16 | np.float32]:
    if pixels.dtype == np.uint8:
        return np.uint8
    if pixels.dtype == np.uint16:
        return np.uint16
    if not np.issubdtype(pixels.dtype, np.floating):
        raise ValueError(f"pixels are uint8, uint16 or float in [0, 1], not {pixels.dtype}")
    if not np.isfinite(pixels).all() or pixels.min(initial=0) < 0 or pixels.max(initial=0) > 1:
        raise ValueError("float pixels must be finite and lie in [0, 1]")
    return np.float32


def _as_image(pixels: Array) -> tuple[Image, int]:
    """The picture as an Image, and how many channels it had."""
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in pixels.shape:
        raise ValueError(f"a picture is (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), not {pixels.shape}")
    if channels == 1:
        return Image(np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)), 1
    alpha = np.ascontiguousarray(pixels[..., 3]) if channels == 4 else None
    return Image(np.ascontiguousarray(pixels[..., :3]), alpha), channels


__all__ = ["Upscaler", "load"]
