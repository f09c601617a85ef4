"""Losses that compare layers of a pretrained network (Johnson et al. 2016, arXiv:1603.08155), before activation as in ESRGAN
(Wang et al. 2018, arXiv:1809.00219, section 3.2).
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale_training.losses.pixel import full

Compared = Literal["features", "style"]

LAYERS: dict[str, dict[str, float]] = {
    "vgg19": {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0},
    "vgg16": {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_3": 1.0, "conv4_3": 1.0, "conv5_3": 1.0},
}
"""Real-ESRGAN's layers and weights (Wang et al. 2021, arXiv:2107.10833, section 4), and VGG16's last layer of each stage."""


class Eye(Protocol):
    """What is asked of a backbone; upscale_training.backbones.Backbone is one."""

    def features(self, x: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Pictures (N, 3, H, W) in [0, 1] → the named layers."""
        ...


class Perceptual(nn.Module):
    """Σ weight · L1 between the layers of both pictures, or, as `style`, between the layers' Gram matrices (Gatys et al. 2016,
    arXiv:1508.06576; divided by channels × height × width). The original's side gets no gradient.
    """

    def __init__(self, eye: Eye, layers: Mapping[str, float], compared: Compared = "features") -> None:
        """`layers`: the network's layer → its weight, such as LAYERS["vgg19"]."""
        super().__init__()
        self.eye = eye
        self.layers = dict(layers)
        self.compared: Compared = compared

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """(N, 3, H, W) both → scalar; at least fp32, whatever the network computes in."""
        with torch.no_grad():
            wanted = self._seen_in(hr)
        found = self._seen_in(sr)
        return torch.stack(
            [weight * F.l1_loss(found[name], wanted[name]) for name, weight in self.layers.items()]
        ).sum()

    def _seen_in(self, picture: Tensor) -> dict[str, Tensor]:
        features = self.eye.features(picture, list(self.layers))
        if self.compared == "features":
            return {name: full(layer) for name, layer in features.items()}
        return {name: gram(layer) for name, layer in features.items()}


def gram(layer: Tensor) -> Tensor:
    """(N, C, H, W) → (N, C, C): products of channels, summed over the places, divided by C · H · W."""
    rows = full(layer).flatten(2)
    with torch.autocast(layer.device.type, enabled=False):
        return rows @ rows.transpose(1, 2) / layer[0].numel()
