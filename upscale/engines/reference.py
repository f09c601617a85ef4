"""The networks in plain numpy, fp32: slow, short, and independent of any engine, to check engines against."""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from upscale.bands import Plan
from upscale.checkpoint import Checkpoint
from upscale.doubling import REACH, taps
from upscale.engines import Progress
from upscale.image import Array, Floats, from_float
from upscale.rows import unshuffled
from upscale.spec import ModelSpec

Weights = Mapping[str, Floats]


class ReferenceEngine:
    """See `Engine`. Always the whole picture in one piece."""

    name = "reference"
    device = "cpu"
    precision = "fp32"
    version = np.__version__

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.spec = checkpoint.spec
        self._weights = checkpoint.arrays

    def run(
        self,
        rows: Iterator[Floats],
        width: int,
        height: int,
        plan: Plan,
        dtype: npt.DTypeLike,
        progress: Progress | None = None,
    ) -> Iterator[Array]:
        picture = np.concatenate(list(unshuffled(rows, self.spec.unshuffle)))
        result = forward(self.spec, self._weights, picture)
        yield from_float(result, np.float32 if np.dtype(dtype) == np.float16 else dtype)

    def close(self) -> None:
        pass


def forward(spec: ModelSpec, weights: Weights, x: Floats) -> Floats:
    """(H, W, C) unshuffled picture → (H·factor, W·factor, 3), not clipped."""
    return _rrdb(spec, weights, x) if spec.arch == "rrdb" else _compact(spec, weights, x)


def _rrdb(spec: ModelSpec, weights: Weights, x: Floats) -> Floats:
    first = x = _convolve(weights, "conv_first", x)
    for block in range(spec.blocks):
        y = x
        for dense in (1, 2, 3):
            y = _dense(weights, f"body.{block}.rdb{dense}", y)
        x = _sum(x, y)
    x = first + _convolve(weights, "conv_body", x)
    for k in range(1, spec.doublings + 1):
        enlarged = _nearest(x, 2) if spec.upsampling == "nearest" else _doubled(_doubled(x, 0), 1)
        x = _leaky(_convolve(weights, f"conv_up{k}", enlarged), 0.2)
    return _convolve(weights, "conv_last", _leaky(_convolve(weights, "conv_hr", x), 0.2))


def _dense(weights: Weights, name: str, x: Floats) -> Floats:
    features = x
    for k in range(1, 5):
        features = np.concatenate((features, _leaky(_convolve(weights, f"{name}.conv{k}", features), 0.2)), axis=2)
    return _sum(x, _convolve(weights, f"{name}.conv5", features))


def _sum(x: Floats, y: Floats) -> Floats:
    return (x + np.float32(0.2) * y).astype(np.float32, copy=False)


def _compact(spec: ModelSpec, weights: Weights, x: Floats) -> Floats:
    y = x
    for k in range(spec.blocks + 1):
        y = _convolve(weights, f"body.{2 * k}", y)
        match spec.activation:
            case "prelu":
                y = np.where(y >= 0, y, y * weights[f"body.{2 * k + 1}.weight"]).astype(np.float32)
            case "leakyrelu":
                y = _leaky(y, 0.1)
            case "relu":
                y = np.maximum(y, 0)
    y = _convolve(weights, f"body.{2 * spec.blocks + 2}", y)
    height, width, s = *y.shape[:2], spec.scale
    shuffled = y.reshape(height, width, 3, s, s).transpose(0, 3, 1, 4, 2).reshape(height * s, width * s, 3)
    return shuffled + _nearest(x, s)


def _convolve(weights: Weights, name: str, x: Floats) -> Floats:
    """3×3, zeros outside: nine matrix products, one for each shift."""
    kernel, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    height, width = x.shape[:2]
    around = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    total = np.broadcast_to(bias, (height, width, bias.size)).astype(np.float32)
    for dy in range(3):
        for dx in range(3):
            total += around[dy : dy + height, dx : dx + width] @ kernel[:, :, dy, dx].T
    return total


def _leaky(x: Floats, slope: float) -> Floats:
    return np.where(x >= 0, x, np.float32(slope) * x).astype(np.float32)


def _nearest(x: Floats, scale: int) -> Floats:
    return x.repeat(scale, axis=0).repeat(scale, axis=1)


def _doubled(x: Floats, axis: int) -> Floats:
    """Alias-free doubling along one axis: see doubling.py."""
    x = np.moveaxis(x, axis, 0)
    size = len(x)
    around = np.pad(x, ((REACH, REACH), (0, 0), (0, 0)), mode="edge")
    result = np.zeros((2 * size, *x.shape[1:]), np.float32)
    for phase, weights in enumerate(taps()):
        for place, weight in enumerate(weights):
            result[phase::2] += weight * around[place : place + size]
    return np.moveaxis(result, 0, axis)
