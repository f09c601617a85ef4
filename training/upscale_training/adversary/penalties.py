"""Penalties on the discriminator's gradient with respect to its pictures, which keep the game from running away.

Always computed in float32. Each takes a further pass with a second derivative: three times a plain pass or more, so they
are lazy where their paper allows (StyleGAN2, Karras et al. 2020: every 16 steps, 16 times as strong).
A batch norm in the discriminator mixes the pictures' gradients: choose networks without.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from upscale_training.adversary.net import Logits, by_scale, without_autocast

_TINY = 1e-12  # a root has no slope at 0

Net = Callable[[Tensor], Logits]
Measure = Callable[[Net, Tensor, Tensor, torch.Generator], Tensor]
"""(net, real, fake, chance) → scalar. Pictures are detached (N, 3, H, W) of equal shapes."""


@dataclass(frozen=True, slots=True)
class Penalty:
    """`weight · every · measure(…)` is added to the discriminator's loss at each `every`-th step."""

    name: str
    weight: float
    measure: Measure
    every: int = 1

    def due(self, step: int) -> bool:
        return step % self.every == 0


def r1(gamma: float = 10.0, every: int = 16) -> Penalty:
    """(γ/2)·‖∇D(real)‖²: Mescheder et al. 2018, "Which Training Methods for GANs do actually Converge?". R3GAN: every=1."""
    return Penalty("r1", gamma / 2, at_real, every)


def r2(gamma: float = 10.0, every: int = 16) -> Penalty:
    """(γ/2)·‖∇D(fake)‖²: the same at fake pictures."""
    return Penalty("r2", gamma / 2, at_fake, every)


def gradient_penalty(weight: float = 10.0, every: int = 1) -> Penalty:
    """λ·(‖∇D‖ - 1)² at random points between real and fake: Gulrajani et al. 2017 (WGAN-GP)."""
    return Penalty("gradient penalty", weight, between, every)


def at_real(net: Net, real: Tensor, _fake: Tensor, _chance: torch.Generator) -> Tensor:
    return squared_gradient(net, real)


def at_fake(net: Net, _real: Tensor, fake: Tensor, _chance: torch.Generator) -> Tensor:
    return squared_gradient(net, fake)


def between(net: Net, real: Tensor, fake: Tensor, chance: torch.Generator) -> Tensor:
    """Mean over the batch of (norm of the gradient of a picture's mean logit - 1)²; one point for each pair."""
    share = torch.rand(len(real), 1, 1, 1, generator=chance).to(real.device)
    points = real.lerp(fake, share)
    losses = [
        (gradient.square().flatten(1).sum(1).clamp_min(_TINY).sqrt() / count - 1).square().mean()
        for gradient, count in input_gradients(net, points)
    ]
    return torch.stack(losses).mean()


def squared_gradient(net: Net, pictures: Tensor) -> Tensor:
    """Mean over the batch of ‖∇ΣD‖² / (logits of a picture), and over scales.

    With one logit for a picture this is the papers' (and basicsr's r1_penalty). With maps of logits, sum and division
    make it independent of the pictures' size.
    """
    losses = [gradient.square().flatten(1).sum(1).mean() / count for gradient, count in input_gradients(net, pictures)]
    return torch.stack(losses).mean()


def input_gradients(net: Net, pictures: Tensor) -> list[tuple[Tensor, int]]:
    """For each scale: the gradient of the sum of all logits (N, 3, H, W), differentiable, and how many logits a picture has."""
    pictures = pictures.detach().float().requires_grad_(True)
    with without_autocast(pictures.device):
        scales = by_scale(net(pictures))
        return [(_gradient(logits, pictures), logits[0].numel()) for logits in scales]


def _gradient(logits: Tensor, pictures: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(logits.sum(), pictures, create_graph=True)
    return gradient
