"""What a discriminator is: pictures in, logits out, and its inner layers for those who compare them."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

SLOPE = 0.2
"""Of the leaky ReLUs in every discriminator here (Radford et al. 2016, and all that followed)."""

Logits = Tensor | list[Tensor]
"""(N, 1) one for a picture, (N, 1, h, w) one for a place, or a list of those, one for a scale. Large means real."""


class Discriminator(nn.Module):
    """Pictures (N, 3, H, W), RGB in [0, 1] (not clipped) → logits. Subclasses give `forward` and `features`.

    Constructors draw their first weights from torch's default generator; Adversary seeds it for their time and puts it
    back. Parameters that need no gradient stay as they are.
    """

    def forward(self, x: Tensor) -> Logits:
        raise NotImplementedError

    def features(self, x: Tensor) -> list[Tensor]:
        """The inner layers after their activations, from the first to the last before the logits."""
        raise NotImplementedError


def by_scale(logits: Logits) -> list[Tensor]:
    """Logits as a list in float32, one tensor for each scale."""
    return [each.float() for each in (logits if isinstance(logits, list) else [logits])]


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A stretch in which the caller's autocast does not act on `device`."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def initialize_like_dcgan(net: nn.Module) -> None:
    """Convolutions from N(0, 0.02), batch norm's gains from N(1, 0.02) (DCGAN, Radford et al. 2016, and pix2pix)."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)
