"""How good a picture is: PSNR, SSIM, LPIPS, DISTS (against the original) and NIQE (alone), as functions and modules.

Pictures are float32 (H, W, 3) RGB in [0, 1]; those of the modules, which are losses too, float32 (N, 3, H, W) tensors.
"""

from upscale_training.metrics.dists import Dists
from upscale_training.metrics.lpips import Lpips
from upscale_training.metrics.niqe import niqe
from upscale_training.metrics.psnr import psnr, psnr_y
from upscale_training.metrics.ssim import ssim, ssim_y
from upscale_training.metrics.suite import BETTER, METRICS, Measure, MetricName, open_metrics

__all__ = [
    "BETTER",
    "METRICS",
    "Dists",
    "Lpips",
    "Measure",
    "MetricName",
    "niqe",
    "open_metrics",
    "psnr",
    "psnr_y",
    "ssim",
    "ssim_y",
]
