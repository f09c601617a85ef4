"""The VGG-style discriminator of SRGAN (Ledig et al. 2017) in the form that ESRGAN was trained with (Wang et al. 2018)."""

import torch.nn.functional as F
from torch import Tensor, nn

from upscale_training.adversary.net import SLOPE, Discriminator
from upscale_training.errors import RecipeError

_HIDDEN = 100


class VGGDiscriminator(Discriminator):
    """One logit for a picture of exactly 128 or 256 pixels a side: (N, 3, size, size) → (N, 1). Parameters have basicsr's
    names.

    It has batch norm, so a logit depends on the whole batch: real and fake pictures go through it separately, and
    penalties on the gradient of one picture's logit are not what their papers mean.
    """

    def __init__(self, features: int = 64, size: int = 128) -> None:
        super().__init__()
        if size not in (128, 256):
            raise RecipeError(
                f"the VGG-style discriminator takes crops of 128 or 256, not {size}; set the crop, or use a U-Net"
            )
        self.size, self.levels = size, 5 if size == 128 else 6
        inputs = 3
        for level in range(self.levels):
            outputs = features * min(2**level, 8)
            setattr(self, f"conv{level}_0", nn.Conv2d(inputs, outputs, 3, 1, 1, bias=level == 0))
            if level > 0:
                setattr(self, f"bn{level}_0", nn.BatchNorm2d(outputs))
            setattr(self, f"conv{level}_1", nn.Conv2d(outputs, outputs, 4, 2, 1, bias=False))
            setattr(self, f"bn{level}_1", nn.BatchNorm2d(outputs))
            inputs = outputs
        self.linear1 = nn.Linear(inputs * 16, _HIDDEN)
        self.linear2 = nn.Linear(_HIDDEN, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear2(F.leaky_relu(self.linear1(self.features(x)[-1].flatten(1)), SLOPE))

    def features(self, x: Tensor) -> list[Tensor]:
        """Two for each level, the second half as large. Raises RecipeError for pictures of another size."""
        if x.shape[2:] != (self.size, self.size):
            raise RecipeError(
                f"this discriminator takes {self.size}×{self.size} pictures, not {x.shape[3]}×{x.shape[2]}; set the crop"
            )
        found: list[Tensor] = []
        for level in range(self.levels):
            for half in (0, 1):
                x = self.get_submodule(f"conv{level}_{half}")(x)
                if level > 0 or half > 0:
                    x = self.get_submodule(f"bn{level}_{half}")(x)
                x = F.leaky_relu(x, SLOPE, inplace=True)
                found.append(x)
        return found
