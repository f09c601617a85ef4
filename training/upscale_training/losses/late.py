"""Losses that need weights from this machine: named in a recipe, read when a run begins."""

from collections.abc import Callable, Iterable
from functools import cache

import torch
from torch import Tensor, nn

from upscale_training.backbones import Backbone, BackboneName, load_backbone
from upscale_training.terms import Term

Load = Callable[[BackboneName], Backbone]


class Late(nn.Module):
    """A loss that `make` builds, once, for a device. A recipe with such losses can be read on a machine without weights.

    `backbone`: what it needs, None where that is no backbone (a teacher's model): what `--pixel-only` leaves out.
    """

    def __init__(self, make: Callable[[Load], nn.Module], backbone: BackboneName | None) -> None:
        """`make`: given what loads backbones → the loss."""
        super().__init__()
        self.make = make
        self.backbone: BackboneName | None = backbone
        self.built: nn.Module | None = None

    def prepare(self, device: torch.device, load: Load = load_backbone) -> None:
        """Builds the loss, or moves it. Raises what `load` raises: BackboneMissingError with the ways out."""
        built = self.built or self.make(load)
        move: Callable[..., nn.Module] = built.to  # torch leaves this overload untyped
        self.built = move(device=device, memory_format=torch.channels_last)

    def forward(self, *seen: Tensor) -> Tensor:
        """The loss; prepared for the first tensor's device where nobody did that before."""
        if self.built is None:
            self.prepare(seen[0].device)
        assert self.built is not None
        return self.built(*seen)


def prepare(terms: Iterable[Term], device: torch.device, load: Load = load_backbone) -> None:
    """Moves all terms' losses to the device. Terms that look through the same backbone share it."""
    shared = cache(load)
    for term in terms:
        if isinstance(term.loss, Late):
            term.loss.prepare(device, shared)
        elif isinstance(term.loss, nn.Module):
            term.loss.to(device)


def needs_backbone(term: Term) -> bool:
    """Whether `--pixel-only` leaves the term out."""
    return isinstance(term.loss, Late) and term.loss.backbone is not None
