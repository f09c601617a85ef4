"""The terms of the generator's loss: a name, a weight, a function, and what that function looks at.

`Term("l1", 1.0, F.l1_loss)` is complete: any function (sr, hr) → scalar is a loss as it stands. A loss that looks at
something else says so with `sees`: `Term("consistency", 0.1, low_frequency, sees=sr_and_lr)`.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale_training.errors import RecipeError
from upscale_training.user_code import said

if TYPE_CHECKING:
    from upscale_training.adversary import Adversary

Loss = Callable[..., Tensor]
"""Tensors → scalar. Pictures are float32 (N, 3, H, W), RGB, in [0, 1] but not clipped. An nn.Module is moved to the device."""


@dataclass(frozen=True, slots=True)
class Ramp:
    """A number that changes linearly from `start` to `end` between two shares of a stage (0 its first step, 1 its last)."""

    start: float
    end: float
    begins: float = 0.0
    ends: float = 1.0

    def at(self, share: float) -> float:
        """`start` before the ramp, `end` after it."""
        if share >= self.ends:
            return self.end
        if share <= self.begins:
            return self.start
        return self.start + (self.end - self.start) * (share - self.begins) / (self.ends - self.begins)


@dataclass(frozen=True, slots=True)
class Pull:
    """A weight that is found anew at each step: the term pulls on the output `share` times as strongly as all terms before it
    together, but weighs `most` at most (the adaptive weight of VQGAN, Esser et al. 2021, arXiv:2012.09841, section 3.2).

    What a discriminator's gradient is worth changes a thousandfold in a game; this keeps its say the same. One that guesses has
    little to say: its share is multiplied by `Adversary.skill`, else its noise would be blown up to full strength.
    """

    share: float
    most: float = 100.0


Weight = float | Ramp | Pull


@dataclass(eq=False)
class Seen:
    """What the terms of one step may look at. Pictures are float32 (N, 3, H, W) in [0, 1]; `sr` carries the gradient.

    `chance`: for terms that draw something; the same in each run and after a resume.
    """

    lr: Tensor
    hr: Tensor
    sr: Tensor
    clean: Tensor | None = None
    ema: nn.Module | None = None
    adversary: "Adversary | None" = None
    generator_features: list[Tensor] = field(default_factory=list[Tensor])
    chance: random.Random = field(default_factory=lambda: random.Random(0))

    @cached_property
    def ema_sr(self) -> Tensor:
        """The averaged generator's output, without gradient; computed where a term asks for it. The generator's own where
        no average is kept."""
        if self.ema is None:
            return self.sr.detach()
        with torch.no_grad():
            return self.ema(self.lr).float()


Sees = Callable[[Seen], tuple[Any, ...]]


def sr_and_hr(seen: Seen) -> tuple[Tensor, ...]:
    return seen.sr, seen.hr


def sr_and_lr(seen: Seen) -> tuple[Tensor, ...]:
    return seen.sr, seen.lr


def everything(seen: Seen) -> tuple[Seen]:
    """For losses that take a `Seen`."""
    return (seen,)


def sr_hr_and_ema(seen: Seen) -> tuple[Tensor, ...]:
    return seen.sr, seen.hr, seen.ema_sr


ROOM = 3
"""So many rows and columns at least are left out of a window, so that it can lie anywhere on a grid of four."""


def through_a_window(sees: Sees, share: float, zooms: Sequence[float]) -> Sees:
    """What `sees` gives, through a window that chance puts anywhere, enlarged by one of `zooms` (bilinear). Enlarged it has `share`
    of the result's sides, whatever the zoom. Pictures of another size than the result's stay as they are."""

    def cut(seen: Seen) -> tuple[Any, ...]:
        size, zoom = seen.sr.shape[-2:], seen.chance.choice(zooms)
        high, wide = (min(max(1, int(side * share / zoom)), max(1, side - ROOM)) for side in size)
        top, left = seen.chance.randint(0, size[0] - high), seen.chance.randint(0, size[1] - wide)

        def window(one: Any) -> Any:
            return zoomed(one[..., top : top + high, left : left + wide], zoom) if one.shape[-2:] == size else one

        return tuple(window(one) for one in sees(seen))

    return cut


def zoomed(picture: Tensor, zoom: float) -> Tensor:
    return picture if zoom == 1 else F.interpolate(picture, scale_factor=zoom, mode="bilinear", align_corners=False)


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """`weight · loss(*sees(seen))` is added to the generator's loss."""

    name: str
    weight: Weight
    loss: Loss
    sees: Sees = sr_and_hr

    def __call__(self, seen: Seen) -> Tensor:
        """The unweighted value, a scalar."""
        try:
            return self.loss(*self.sees(seen))
        except SystemExit as error:
            # It would pass for a finished run. Other errors keep their trace, for who wrote the loss.
            raise RecipeError(f"the loss of the term {self.name} calls {said(error)}") from error
