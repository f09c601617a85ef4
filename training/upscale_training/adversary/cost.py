"""What a network costs, so that a recipe's discriminator can be weighed against its generator."""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def macs_per_pixel(net: nn.Module, side: int = 128) -> float:
    """Multiply-adds of all convolutions and matrix products of one forward pass, for each pixel of the input (N, 3, side, side).

    Computes nothing: the copy lives on PyTorch's meta device. A step of a discriminator is about eight forward passes (real
    and fake forward, backward; forward and backward to the picture for the generator).
    """
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        copy.deepcopy(net).to("meta")(torch.empty(1, 3, side, side, device="meta"))
    return counter.get_total_flops() / 2 / side**2
