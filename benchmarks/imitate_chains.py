"""Hidden chains that spoil pictures: blur → resize → noise → JPEG → perhaps a later resize → a PNG or JPEG file.

Written with OpenCV and Pillow alone, apart from upscale_training.degrade, so that nothing is judged by its own code.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

Levels = npt.NDArray[np.float32]
SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")
SHRINKERS = {
    "area": cv2.INTER_AREA,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "bicubic+": Image.Resampling.BICUBIC,
    "lanczos+": Image.Resampling.LANCZOS,
}
LATER = {
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "bicubic+": Image.Resampling.BICUBIC,
    "lanczos+": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True, slots=True)
class Chain:
    """Blur in pixels of the picture before shrinking; noise in 8-bit levels; `correlation`: σ in pixels of the noise's own blur."""

    blur: float
    scale: float
    shrinker: str
    noise: float
    color: bool
    correlation: float
    quality: int | None
    subsampling: str
    later: float | None
    later_kernel: str
    saved: int | None

    @property
    def seen_blur(self) -> float:
        """Standard deviation of the blur in pixels of the shrunk picture, where noise and JPEG happen."""
        return self.blur / self.scale

    @property
    def last_quality(self) -> int | None:
        return self.quality if self.saved is None else self.saved


def draw(chance: np.random.Generator, correlated: float = 0.0) -> Chain:
    """A chain as the issue names them; `correlated`: share of chains whose noise is spatially correlated."""
    quality = int(chance.integers(30, 96)) if chance.random() < 0.9 else None
    later = float(chance.uniform(0.6, 2.0)) if quality and chance.random() < 0.3 else None
    # Without a later resize, a JPEG file is the chain's own JPEG; after one, the picture is encoded once more.
    again = int(chance.integers(75, 96)) if later else quality
    return Chain(
        blur=float(chance.uniform(0, 3)) if chance.random() < 0.9 else 0.0,
        scale=float(chance.uniform(2, 4)) if chance.random() < 0.6 else 1.0,
        shrinker=str(chance.choice(list(SHRINKERS))),
        noise=float(chance.uniform(0, 20)) if chance.random() < 0.9 else 0.0,
        color=bool(chance.random() < 0.5),
        correlation=float(chance.uniform(0.3, 1.2)) if chance.random() < correlated else 0.0,
        quality=quality,
        subsampling=str(chance.choice(SUBSAMPLINGS, p=[0.35, 0.15, 0.5])),
        later=later,
        later_kernel=str(chance.choice(list(LATER))),
        saved=again if chance.random() < 0.4 else None,
    )


def resized(levels: Levels, width: int, height: int, how: Any) -> Levels:
    """Rounded to whole levels; Pillow's filters smooth what they shrink, OpenCV's do not (its area filter apart)."""
    whole = np.rint(np.clip(levels, 0, 255)).astype(np.uint8)
    if isinstance(how, Image.Resampling):
        return np.asarray(Image.fromarray(whole).resize((width, height), how), np.float32)
    return cv2.resize(whole, (width, height), interpolation=how).astype(np.float32)


def noise(shape: tuple[int, int], chain: Chain, chance: np.random.Generator) -> Levels:
    """(H, W, 3) of the chain's σ, whatever its correlation."""
    grain = chance.standard_normal((*shape, 3 if chain.color else 1)).astype(np.float32)
    if chain.correlation:
        grain = cv2.GaussianBlur(grain, (0, 0), chain.correlation).reshape(*shape, -1)
        grain /= grain.std()
    return np.broadcast_to(grain * chain.noise, (*shape, 3))


def shrunk(levels: Levels, chain: Chain, chance: np.random.Generator) -> Levels:
    """Blurred, shrunk, with noise: what the chain's encoder is given, whole levels."""
    if chain.blur > 0.05:
        levels = cv2.GaussianBlur(levels, (0, 0), chain.blur)
    if chain.scale != 1:
        height, width = (round(side / chain.scale) for side in levels.shape[:2])
        levels = resized(levels, width, height, SHRINKERS[chain.shrinker])
    return np.rint(np.clip(levels + noise(levels.shape[:2], chain, chance), 0, 255))


def encoded(levels: Levels, quality: int, subsampling: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(levels.astype(np.uint8)).save(stream, "jpeg", quality=quality, subsampling=subsampling)
    return stream.getvalue()


def decoded(data: bytes) -> Levels:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float32)


def applied(levels: Levels, chain: Chain, chance: np.random.Generator) -> tuple[Levels, bytes | None]:
    """The final picture, whole levels (H, W, 3), and the JPEG file's bytes where the chain saves one."""
    levels = shrunk(levels, chain, chance)
    data = None
    if chain.quality is not None:
        data = encoded(levels, chain.quality, chain.subsampling)
        levels = decoded(data)
    if chain.later is not None:
        height, width = (round(side * chain.later) for side in levels.shape[:2])
        levels = resized(levels, width, height, LATER[chain.later_kernel])
        if chain.saved is not None:
            data = encoded(levels, chain.saved, "4:2:0")
            levels = decoded(data)
    return levels, data if chain.saved is not None else None


def write(folder: Path, name: str, levels: Levels, data: bytes | None) -> Path:
    path = folder / f"{name}{'.png' if data is None else '.jpg'}"
    if data is None:
        Image.fromarray(levels.astype(np.uint8)).save(path)
    else:
        path.write_bytes(data)
    return path


def original(path: Path) -> Levels:
    return np.asarray(Image.open(path).convert("RGB"), np.float32)
