"""Convolution with spectral norm: Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks".

The names (weight_orig, weight_u, weight_v) and the arithmetic are those of torch.nn.utils.spectral_norm, which basicsr's
checkpoints have. A module of its own can be deep-copied after use and stays in fp32 under autocast, which that hook cannot.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale_training.adversary.net import without_autocast

EPSILON = 1e-12
_FIRST_STEPS = 15  # so that the first estimate is near, as in torch.nn.utils.parametrizations


class SpectralConv2d(nn.Module):
    """A convolution whose kernel, as a matrix (outputs, inputs·k·k), is divided by its largest singular value.

    That value is estimated by one step of power iteration at each forward pass in training mode; in eval mode the
    estimate stays.
    """

    weight_u: Tensor
    weight_v: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = False) -> None:
        super().__init__()
        plain = nn.Conv2d(inputs, outputs, kernel, bias=bias)
        self.stride, self.padding = stride, (kernel - 1) // 2
        self.weight_orig = nn.Parameter(plain.weight.detach())
        self.bias = nn.Parameter(plain.bias.detach()) if plain.bias is not None else None
        self.register_buffer("weight_u", F.normalize(torch.randn(outputs), dim=0, eps=EPSILON))
        self.register_buffer("weight_v", F.normalize(torch.randn(inputs * kernel**2), dim=0, eps=EPSILON))
        for _ in range(_FIRST_STEPS):
            self._iterate(self.weight_orig.detach().flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.bounded(), self.bias, self.stride, self.padding)

    def bounded(self) -> Tensor:
        """The kernel in effect, (outputs, inputs, k, k). In training mode, one more step of power iteration."""
        with without_autocast(self.weight_orig.device):
            matrix = self.weight_orig.flatten(1)
            if self.training:
                self._iterate(matrix.detach())
            u, v = (
                self.weight_u.clone(),
                self.weight_v.clone(),
            )  # the next pass changes the buffers before this one's backward
            return self.weight_orig / torch.dot(u, torch.mv(matrix, v))

    @torch.no_grad()
    def _iterate(self, matrix: Tensor) -> None:
        self.weight_v.copy_(F.normalize(torch.mv(matrix.t(), self.weight_u), dim=0, eps=EPSILON))
        self.weight_u.copy_(F.normalize(torch.mv(matrix, self.weight_v), dim=0, eps=EPSILON))
