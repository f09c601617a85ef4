"""Distillation: a trained network's results, or its inner layers, as what is to be reached (Hinton et al. 2015,
arXiv:1503.02531). The teacher may be of another shape, and of a higher scale than the student.
"""

from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale.checkpoint import Checkpoint
from upscale.nets import build
from upscale_training.errors import RecipeError
from upscale_training.generator import outputs_of
from upscale_training.losses.coarse import shrunk
from upscale_training.losses.pixel import full
from upscale_training.terms import Loss, Seen


class Teacher(nn.Module):
    """A frozen network: (N, 3, h, w) → its output, and the outputs of the modules named in `layers`.

    The last result is kept, so that two terms which ask about the same tensor cost one pass.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str] = ()) -> None:
        super().__init__()
        self.network = network.requires_grad_(requires_grad=False).eval()
        self.layers = tuple(layers)
        self._last: tuple[Tensor, Tensor, list[Tensor]] | None = None

    def forward(self, lr: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The enlarged picture and the layers, without gradient, in the precision around. Raises RecipeError for a layer
        that the network has not."""
        if self._last is None or self._last[0] is not lr:
            kept: list[Tensor] = []
            hooks = outputs_of(self.network, self.layers, kept)
            try:
                with torch.no_grad():
                    self._last = lr, self.network(lr), kept
            finally:
                for hook in hooks:
                    hook.remove()
            for name, layer in zip(self.layers, kept, strict=True):
                if layer.ndim != 4:  # what was never called has left no picture
                    raise RecipeError(
                        f"the teacher's {name} cannot be looked at; name a block or an activation, such as body.1"
                    )
        return self._last[1:]

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode, whatever it is part of."""
        return super().train(False)


def taught_by(checkpoint: Checkpoint, layers: Sequence[str] = ()) -> Teacher:
    """A teacher from a model's parameters (`upscale.model.open_model`)."""
    network = build(checkpoint.spec)
    network.load_state_dict({key: torch.tensor(value) for key, value in checkpoint.arrays.items()})
    return Teacher(network, layers)


class Outputs(nn.Module):
    """`compare` (L1 unless told otherwise) between the student's and the teacher's pictures; a larger one is shrunk."""

    def __init__(self, teacher: Teacher, compare: Loss = F.l1_loss) -> None:
        super().__init__()
        self.teacher, self.compare = teacher, compare

    def forward(self, sr: Tensor, lr: Tensor) -> Tensor:
        wanted = full(self.teacher(lr)[0])
        if wanted.shape[-1] < sr.shape[-1] or wanted.shape[-2] < sr.shape[-2]:
            raise RecipeError(
                f"the teacher makes {_size(wanted)}, the student {_size(sr)}; choose a teacher of its scale or more"
            )
        return self.compare(full(sr), shrunk(wanted, sr.shape[-2:]))


class Attention(nn.Module):
    """Squared distance between where the student's layers and the teacher's are strong: maps of mean squares over channels,
    scaled to unit length (Zagoruyko & Komodakis 2017, arXiv:1612.03928, squared as they train it). No projection, so that
    the widths may differ; pairs are by order, and the teacher's map is resized to the student's.
    """

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.teacher = teacher

    def forward(self, lr: Tensor, *layers: Tensor) -> Tensor:
        theirs = self.teacher(lr)[1]
        if len(theirs) != len(layers):
            raise RecipeError(
                f"{len(layers)} layers of the student, {len(theirs)} of the teacher; set Stage.feature_layers"
            )
        pairs = zip(layers, theirs, strict=True)
        return torch.stack([_distance(attention_map(a), attention_map(b)) for a, b in pairs]).mean()


def attention_map(layer: Tensor) -> Tensor:
    """(N, C, H, W) → (N, 1, H, W)."""
    return full(layer).square().mean(1, keepdim=True)


def sr_and_clean(seen: Seen) -> tuple[Tensor, ...]:
    """The teacher looks at the undegraded small picture, so that the student learns to restore as well. Raises RecipeError."""
    if seen.clean is None:
        raise RecipeError("the teacher is to see the clean small pictures; set with_clean=True in the stage")
    return seen.sr, seen.clean


def lr_and_features(seen: Seen) -> tuple[Tensor, ...]:
    """The input and the student's layers that the stage's `feature_layers` name."""
    return seen.lr, *seen.generator_features


def _distance(ours: Tensor, theirs: Tensor) -> Tensor:
    theirs = F.interpolate(theirs, ours.shape[-2:], mode="area") if theirs.shape != ours.shape else theirs
    a, b = (F.normalize(x.flatten(1), dim=1) for x in (ours, theirs))
    return (a - b).square().mean()


def _size(picture: Tensor) -> str:
    return f"{picture.shape[-1]}×{picture.shape[-2]}"
