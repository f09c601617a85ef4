"""The generator's losses. `ready` has terms for recipes (`l1(1.0)`, `perceptual(1.0, "vgg16")`); the other modules hold the
functions and modules behind them, each on (N, 3, H, W) pictures in [0, 1].
"""

from upscale_training.losses.late import Late, needs_backbone, prepare
from upscale_training.losses.ready import (
    amplitude,
    attention,
    charbonnier,
    consistency,
    distilled,
    dists,
    feature_matching,
    flat,
    frequency,
    grid,
    jittered,
    l1,
    ldl,
    lpips,
    mse,
    perceptual,
    steady,
    style,
    wavelet,
)

__all__ = [
    "Late",
    "amplitude",
    "attention",
    "charbonnier",
    "consistency",
    "distilled",
    "dists",
    "feature_matching",
    "flat",
    "frequency",
    "grid",
    "jittered",
    "l1",
    "ldl",
    "lpips",
    "mse",
    "needs_backbone",
    "perceptual",
    "prepare",
    "steady",
    "style",
    "wavelet",
]
