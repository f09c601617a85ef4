"""Before an engine is trusted with a model on a device, a small picture is compared with plain numpy in fp32.

The verdict is remembered in the cache, so that only the first picture of a (model, engine, device, precision) pays for it.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from upscale.bands import Plan
from upscale.checkpoint import Checkpoint
from upscale.engines import Engine
from upscale.engines.machine import device_name
from upscale.engines.reference import ReferenceEngine
from upscale.errors import NotFiniteError, OutOfMemoryError
from upscale.files import cache_dir, replacing
from upscale.image import Floats

SIDE = 16
LIMITS_DB = {"fp32": 80.0, "bf16": 35.0, "fp16": 45.0}
"""Far below what a right engine reaches (fp32 120, fp16 65, bf16 50 dB), far above what a wrong one does."""


EQUAL_8_BIT_DB = 50.0
PERFECT_DB = 200.0


def trusted(engine: Engine, checkpoint: Checkpoint) -> bool:
    """Whether the engine's result agrees with the reference; from memory where it was asked before."""
    if checkpoint.spec.arch == "foreign":
        return True  # there is no second implementation to compare with
    place = cache_dir() / "probes.json"
    key = _key(engine, checkpoint)
    known = remembered(place)
    if key in known:
        return known[key] >= LIMITS_DB[engine.precision]
    try:
        psnr = agreement(engine, checkpoint)
    except OutOfMemoryError:
        return False  # says nothing about the engine: asked again the next time
    remember(place, {**known, key: round(psnr, 2)})
    return psnr >= LIMITS_DB[engine.precision]


def agreement(engine: Engine, checkpoint: Checkpoint) -> float:
    """PSNR in dB between the engine and numpy on a small seeded picture: of float results, or of 8-bit ones if those are
    worse. 8-bit results may differ by a level here and there even in fp32, so 50 dB is as good as equal for them."""
    exact = _psnr(engine, checkpoint, np.float32, 1.0)
    eight_bit = _psnr(engine, checkpoint, np.uint8, 255.0)
    return exact if eight_bit >= EQUAL_8_BIT_DB else min(exact, eight_bit)


def _psnr(engine: Engine, checkpoint: Checkpoint, dtype: npt.DTypeLike, peak: float) -> float:
    picture = probe_picture(checkpoint.spec.multiple)
    side = picture.shape[0]
    plan = Plan(side, side)
    wanted = np.concatenate(list(ReferenceEngine(checkpoint).run(iter([picture]), side, side, plan, dtype)))
    try:
        got = np.concatenate(list(engine.run(iter([picture]), side, side, plan, dtype)))
    except NotFiniteError:
        return -math.inf
    error = float(np.mean((got.astype(np.float64) - wanted.astype(np.float64)) ** 2)) / peak**2
    return PERFECT_DB if error == 0 else -10 * math.log10(error)


def probe_picture(multiple: int) -> Floats:
    """Seeded gradients, edges and noise: (n, n, 3) float32 in [0, 1], n a multiple of `multiple`."""
    side = -(-SIDE // multiple) * multiple
    rng = np.random.default_rng(7)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    smooth = np.stack([x, y, 1 - x * y], axis=2)
    edges = (np.sin(9 * x + 4 * y) > 0)[..., None] * 0.3
    noise = rng.random((side, side, 3), dtype=np.float32) * 0.2
    return np.clip(0.6 * smooth + edges + noise, 0, 1).astype(np.float32)


def _key(engine: Engine, checkpoint: Checkpoint) -> str:
    digest = checkpoint.notes.get("source_sha256") or _digest(checkpoint)
    return "|".join((engine.name, engine.version, device_name(engine.device), engine.precision, digest))


def _digest(checkpoint: Checkpoint) -> str:
    total = hashlib.sha256(checkpoint.spec.to_json().encode())
    for name, values in checkpoint.arrays.items():
        total.update(name.encode())
        total.update(np.ascontiguousarray(values).data)
    return total.hexdigest()


def remembered(place: Path) -> dict[str, float]:
    """Numbers by name that were kept at a place; none where they cannot be read."""
    try:
        loaded: Any = json.loads(place.read_text(encoding="utf-8"))
        return {str(key): float(value) for key, value in loaded.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def remember(place: Path, probes: dict[str, float]) -> None:
    """Keeps numbers by name, where that is possible."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as temporary:
            temporary.write_text(json.dumps(probes, indent=1), encoding="utf-8")
    except OSError:
        return  # without a cache the probe is simply made again
