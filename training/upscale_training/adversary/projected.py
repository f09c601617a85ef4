"""A discriminator on frozen features: Sauer et al. 2021, "Projected GANs Converge Faster".

A pretrained network looks at the picture; fixed random convolutions mix its channels and pass coarse layers down to finer
ones, so that no layer can be ignored; a small trained head judges each. Here on VGG instead of an EfficientNet, since the
perceptual loss has VGG loaded already.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale_training.adversary.net import SLOPE, Discriminator
from upscale_training.adversary.spectral import SpectralConv2d
from upscale_training.backbones import Backbone, BackboneName, load_backbone

LAYERS: dict[BackboneName, tuple[str, ...]] = {
    "alexnet": ("relu1", "relu2", "relu5"),
    "vgg16": ("relu2_2", "relu3_3", "relu4_3"),
    "vgg19": ("relu2_2", "relu3_4", "relu4_4"),
}
_PROBE = 64  # pixels; enough for the last layer of every backbone


class ProjectedDiscriminator(Discriminator):
    """(N, 3, H, W) → logits (N, 1, h/2, w/2) for each of the backbone's `layers` (h, w), fine to coarse.

    The backbone is not part of `state_dict`; the random mixers are.
    """

    def __init__(self, backbone: Backbone, layers: tuple[str, ...] = (), width: int = 64) -> None:
        super().__init__()
        self.backbone = backbone
        self.layers = layers or LAYERS[backbone.name]
        with torch.no_grad():
            probe = backbone.features(torch.zeros(1, 3, _PROBE, _PROBE), self.layers)
        self.channel_mixers = nn.ModuleList(_frozen(probe[name].shape[1], width, 1) for name in self.layers)
        self.scale_mixers = nn.ModuleList(_frozen(width, width, 3) for _ in self.layers)
        self.heads = nn.ModuleList(Head(width) for _ in self.layers)
        self.register_state_dict_post_hook(_leave_backbone_out)  # pyright: ignore[reportUnknownMemberType]
        self.register_load_state_dict_post_hook(_miss_no_backbone)  # pyright: ignore[reportUnknownMemberType]

    def forward(self, x: Tensor) -> list[Tensor]:
        mixed = self.projections(x)
        return [cast(Head, head)(each) for head, each in zip(self.heads, mixed, strict=True)]

    def features(self, x: Tensor) -> list[Tensor]:
        """The heads' inner layers, those of the finest head first."""
        mixed = self.projections(x)
        return [
            inner for head, each in zip(self.heads, mixed, strict=True) for inner in cast(Head, head).features(each)
        ]

    def projections(self, x: Tensor) -> list[Tensor]:
        """What the heads see: (N, width, h, w) for each layer, the coarser ones mixed into the finer ones."""
        seen = self.backbone.features(x, self.layers)
        flat = [mixer(seen[name]) for mixer, name in zip(self.channel_mixers, self.layers, strict=True)]
        mixed: list[Tensor] = []
        for mixer, level in zip(reversed(self.scale_mixers), reversed(flat), strict=True):
            if mixed:
                level = level + F.interpolate(mixed[0], level.shape[2:], mode="bilinear", align_corners=False)
            mixed.insert(0, mixer(level))
        return mixed


class Head(nn.Module):
    """(N, width, h, w) → (N, 1, h/2, w/2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = SpectralConv2d(width, width, 3, bias=True)
        self.second = SpectralConv2d(width, 2 * width, 4, stride=2, bias=True)
        self.last = SpectralConv2d(2 * width, 1, 3, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.features(x)[-1])

    def features(self, x: Tensor) -> list[Tensor]:
        first = F.leaky_relu(self.first(x), SLOPE)
        return [first, F.leaky_relu(self.second(first), SLOPE)]


def projected(name: BackboneName = "vgg16", width: int = 64) -> ProjectedDiscriminator:
    """On a backbone with its pretrained weights: `net=partial(projected, "vgg19")`. Raises BackboneMissingError."""
    return ProjectedDiscriminator(load_backbone(name), width=width)


def _frozen(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    """A random convolution that keeps the size of what passes (Kaiming et al. 2015) and is never trained."""
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="linear")
    return convolution.requires_grad_(False)


def _leave_backbone_out(_net: nn.Module, state: dict[str, Any], prefix: str, _metadata: dict[str, Any]) -> None:
    for key in [key for key in state if key.startswith(f"{prefix}backbone.")]:
        del state[key]


def _miss_no_backbone(_net: nn.Module, keys: Any) -> None:
    keys.missing_keys[:] = [key for key in keys.missing_keys if "backbone." not in key]
