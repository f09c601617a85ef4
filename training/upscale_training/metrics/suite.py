"""All metrics behind one kind of function, each ready or said to be missing."""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from upscale.image import Floats
from upscale_training.backbones import Backbone, BackboneName, load_backbone
from upscale_training.errors import BackboneMissingError
from upscale_training.metrics.dists import Dists
from upscale_training.metrics.lpips import Lpips
from upscale_training.metrics.niqe import niqe
from upscale_training.metrics.psnr import psnr, psnr_y
from upscale_training.metrics.ssim import ssim, ssim_y

MetricName = Literal["psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb", "lpips_alex", "lpips_vgg", "dists", "niqe"]
METRICS: tuple[MetricName, ...] = get_args(MetricName)

BETTER: dict[MetricName, Literal["higher", "lower"]] = {
    name: "higher" if name.startswith(("psnr", "ssim")) else "lower" for name in METRICS
}

Measure = Callable[[Floats, Floats, int], float]
"""(result, original, border) → value. The border is cut for PSNR and SSIM; the others see whole pictures."""

_PIXELWISE: dict[MetricName, Measure] = {"psnr_y": psnr_y, "ssim_y": ssim_y, "psnr_rgb": psnr, "ssim_rgb": ssim}


def open_metrics(
    names: Sequence[MetricName] = METRICS,
    device: str | torch.device = "cpu",
    files: Mapping[BackboneName, Path] | None = None,
) -> tuple[dict[MetricName, Measure], list[str]]:
    """The metrics that can be measured here, in the order asked for, and one line for each that cannot, with the remedy.

    `files`: backbones' weights to use instead of those that are found. A file that is there but wrong raises ModelError.
    """
    ready: dict[MetricName, Measure] = {}
    missing: list[str] = []

    @functools.cache
    def load(name: BackboneName) -> Backbone:
        return load_backbone(name, (files or {}).get(name))

    for name in names:
        try:
            ready[name] = _measure(name, torch.device(device), load)
        except BackboneMissingError as error:
            missing.append(f"{name} is not measured ({error})")
    return ready, missing


def _measure(name: MetricName, device: torch.device, load: Callable[[BackboneName], Backbone]) -> Measure:
    match name:
        case "lpips_alex":
            return _deep(Lpips("alex", load("alexnet")).to(device).per_picture, device)
        case "lpips_vgg":
            return _deep(Lpips("vgg", load("vgg16")).to(device).per_picture, device)
        case "dists":
            return _deep(Dists(load("vgg16")).to(device).per_picture, device)
        case "niqe":
            return _alone
        case _:
            return _PIXELWISE[name]


def _deep(distance: Callable[[Tensor, Tensor], Tensor], device: torch.device) -> Measure:
    @torch.inference_mode()
    def measure(sr: Floats, hr: Floats, border: int) -> float:
        with torch.autocast(device.type, enabled=False), _exact(device):
            return float(distance(_tensor(sr, device), _tensor(hr, device)))

    return measure


def _exact(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Convolutions in full fp32: a measure does not take part in a run's TF32."""
    if device.type != "cuda":
        return contextlib.nullcontext()
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def _alone(sr: Floats, hr: Floats, border: int) -> float:
    return niqe(sr)


def _tensor(picture: Floats, device: torch.device) -> Tensor:
    return torch.tensor(np.ascontiguousarray(picture.transpose(2, 0, 1))[np.newaxis], device=device)
