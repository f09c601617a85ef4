"""Judges the averaged generator on held-out pictures: metrics, the health of its pictures, and strips to look at."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from upscale.image import from_float, to_float
from upscale.nets import Network
from upscale_training.data.held_out import Pair
from upscale_training.data.samples import Bytes
from upscale_training.degrade.resize import resized_to
from upscale_training.losses import needs_backbone
from upscale_training.metrics.suite import BETTER, Measure, MetricName
from upscale_training.recipe import Stage

DECIDING: tuple[MetricName, ...] = ("lpips_alex", "lpips_vgg", "dists", "psnr_y")
"""The first of these that can be measured decides which step was the best."""

Checkup = Callable[[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]], dict[str, Any]]
"""(sr, hr, lr), one tensor (1, 3, H, W) for each picture → the measures of the log's "health"."""


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """Means over the pictures; `pictures`: the first results, uint8 (H, W, 3), by name. `score`: lower is better."""

    metrics: dict[str, float]
    health: dict[str, Any]
    pictures: dict[str, Bytes]
    score: float

    @property
    def by_pixels(self) -> float:
        """The score of who learns from pixels alone: LPIPS would prefer almost any noise to what such a network is taught."""
        psnr = self.metrics.get("psnr_y", math.nan)
        return -psnr if math.isfinite(psnr) else self.score


def learns_to_see(stage: Stage) -> bool:
    """Whether anything but pixels is to become better: features of a backbone, or what an adversary says."""
    return stage.adversary is not None or any(needs_backbone(term) for term in stage.terms)


class Judge:
    """The same pictures every time, one by one, so that memory stays small."""

    def __init__(
        self, pairs: Sequence[Pair], measures: Mapping[MetricName, Measure], checkup: Checkup, strips: int = 4
    ) -> None:
        self.pairs = tuple(pairs)
        self._measures, self._checkup, self._strips = dict(measures), checkup, strips
        self.deciding: MetricName = next(name for name in DECIDING if name in measures)

    @torch.no_grad()
    def __call__(self, network: Network) -> Verdict:
        """Computed in fp32, whatever the training's precision. Outputs that are no numbers give NaN, never an error."""
        device = next(network.parameters()).device
        small = [tensor(pair.lr, device) for pair in self.pairs]
        large = [tensor(pair.hr, device) for pair in self.pairs]
        made = [network(lr).float() for lr in small]
        finite = all(bool(torch.isfinite(one).all()) for one in made)
        results = [bytes_of(one) for one in made]
        metrics = {name: self._mean(measure, results, network.spec.scale) for name, measure in self._measures.items()}
        if not finite:
            metrics = dict.fromkeys(metrics, float("nan"))
        score = metrics[self.deciding] * (1 if BETTER[self.deciding] == "lower" else -1)
        shown = zip(self.pairs[: self._strips], results, strict=False)
        pictures = {pair.name: result for pair, result in shown}
        return Verdict({**metrics}, self._checkup(made, large, small), pictures, score if finite else float("inf"))

    def bicubic(self, scale: int) -> dict[str, float]:
        """What plain bicubic enlargement reaches on the same pictures."""
        sizes = [(pair.hr.shape[0], pair.hr.shape[1]) for pair in self.pairs]
        made = [
            resized_to(to_float(pair.lr), size, "antialiased bicubic")
            for pair, size in zip(self.pairs, sizes, strict=True)
        ]
        results = [from_float(one, np.uint8) for one in made]
        return {name: self._mean(measure, results, scale) for name, measure in self._measures.items()}

    def reals(self, crop: int, device: torch.device) -> Tensor | None:
        """Crops of the truths, (N, 3, crop, crop), as a discriminator knows them; None where all pictures are smaller."""
        large = [pair.hr[:crop, :crop] for pair in self.pairs if min(pair.hr.shape[:2]) >= crop]
        return torch.cat([tensor(picture, device) for picture in large]) if large else None

    def _mean(self, measure: Measure, results: Sequence[Bytes], border: int) -> float:
        pairs = zip(results, self.pairs, strict=True)
        return float(np.mean([measure(to_float(result), to_float(pair.hr), border) for result, pair in pairs]))


def tensor(picture: Bytes, device: torch.device) -> Tensor:
    """uint8 (H, W, 3) → float32 (1, 3, H, W) in [0, 1] on the device."""
    return torch.tensor(picture.transpose(2, 0, 1)[None]).to(device).float() / 255


def bytes_of(picture: Tensor) -> Bytes:
    """float32 (1, 3, H, W) → uint8 (H, W, 3); what is no number becomes black."""
    pixels = torch.nan_to_num(picture[0]).permute(1, 2, 0).cpu().numpy()
    return from_float(np.ascontiguousarray(pixels), np.uint8)
