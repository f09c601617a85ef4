"""DISTS (Ding, Ma, Wang, Simoncelli 2020: Image quality assessment: unifying structure and texture similarity)."""

import importlib.resources

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale_training.backbones import Backbone, load_backbone

_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
_WIDTHS = (3, 64, 128, 256, 512, 512)
_C1 = _C2 = 1e-6


class Dists(nn.Module):
    """The distance of pictures (N, 3, H, W), RGB in [0, 1], as a loss: `Dists()(sr, hr)`, a scalar; 0 for equal pictures.

    Pictures are taken in the size they have (the paper's experiments shrank the shorter side to 256 pixels first).
    """

    alpha: Tensor
    beta: Tensor

    def __init__(self, backbone: Backbone | None = None) -> None:
        """Loads VGG16 where none is given. Raises BackboneMissingError, which names the ways out, where there is none."""
        super().__init__()
        backbone = backbone or load_backbone("vgg16")
        if backbone.name != "vgg16":
            raise ValueError(f"DISTS needs vgg16, not {backbone.name}")
        self.backbone = backbone.with_pool(l2_pool)
        with (importlib.resources.files(__package__ or "") / "dists.npz").open("rb") as file, np.load(file) as stored:
            shares = torch.tensor(np.stack([stored["alpha"], stored["beta"]]))
        shares = shares / shares.sum()
        self.register_buffer("alpha", shares[0], persistent=False)
        self.register_buffer("beta", shares[1], persistent=False)
        self.eval()

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """The mean over the pictures, a scalar."""
        return self.per_picture(sr, hr).mean()

    def per_picture(self, sr: Tensor, hr: Tensor) -> Tensor:
        """(N,): each picture's distance. Raises ValueError for different shapes."""
        if sr.shape != hr.shape:
            raise ValueError(f"pictures of different shapes, {tuple(sr.shape)} and {tuple(hr.shape)}")
        first = {"": sr, **self.backbone.features(sr, _LAYERS)}
        second = {"": hr, **self.backbone.features(hr, _LAYERS)}
        pairs = [_similarities(first[layer].float(), second[layer].float()) for layer in ("", *_LAYERS)]
        texture = torch.cat([pair[0] for pair in pairs], 1)
        structure = torch.cat([pair[1] for pair in pairs], 1)
        return 1 - (self.alpha * texture + self.beta * structure).sum(1)


def l2_pool(x: Tensor) -> Tensor:
    """Halves the sides: the root of the mean of squares under a Hanning window of 3 (¼, ½, ¼), zeros beyond the rim.

    Always in fp32: squares of features overflow half precision.
    """
    line = torch.tensor([0.25, 0.5, 0.25], device=x.device)
    window = (line[:, None] * line).expand(x.shape[1], 1, 3, 3)
    with torch.autocast(x.device.type, enabled=False):
        return (F.conv2d(x.float().square(), window, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()


def _similarities(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(N, C) each: of the channels' means (texture), and of their variations about them (structure)."""
    mean_x, mean_y = x.mean((2, 3)), y.mean((2, 3))
    x, y = x - mean_x[:, :, None, None], y - mean_y[:, :, None, None]
    texture = (2 * mean_x * mean_y + _C1) / (mean_x.square() + mean_y.square() + _C1)
    variances = x.square().mean((2, 3)) + y.square().mean((2, 3))
    return texture, (2 * (x * y).mean((2, 3)) + _C2) / (variances + _C2)
