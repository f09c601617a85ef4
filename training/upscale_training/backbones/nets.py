"""AlexNet, VGG16 and VGG19 up to their last convolution: frozen eyes whose inner layers are compared.

Krizhevsky 2014 (one weird trick, the variant that torchvision has), Simonyan & Zisserman 2015. Layers are named as BasicSR
names them: VGG's convM_N is the Nth convolution of stage M before its activation, reluM_N the same after it, poolM what ends
the stage; AlexNet's are conv1 … conv5, relu1 … relu5, pool1, pool2.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Literal, Self, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BackboneName = Literal["alexnet", "vgg16", "vgg19"]
BACKBONES: tuple[BackboneName, ...] = get_args(BackboneName)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's RGB in [0, 1]; what torchvision's weights expect."""

Pool = Callable[[Tensor], Tensor]

_DEPTHS: dict[BackboneName, tuple[int, ...]] = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
_WIDTHS = (64, 128, 256, 512, 512)


class Backbone(nn.Module):
    """A frozen network, in fp32 and eval mode. Its parameters need no gradient; its input may have one."""

    mean: Tensor
    std: Tensor

    def __init__(self, name: BackboneName, state: Mapping[str, Tensor], pool: Pool | None = None) -> None:
        """`state`: parameters under torchvision's names (`features.0.weight`); others beside them (the classifier's) are
        left out. Raises KeyError for a missing one, ValueError for one of another shape.
        """
        super().__init__()
        self.name: BackboneName = name
        self.plan = _plan(name)
        self._pool = pool or (_pool_alexnet if name == "alexnet" else _pool_vgg)
        self.convolutions = nn.ModuleDict({layer: _convolution(name, layer, state) for layer in _convs(name)})
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def features(self, x: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """The named layers, in the order asked for, of pictures (N, 3, H, W), RGB in [0, 1] (normalized in here).

        Nothing below the last of them is computed. Values outside [0, 1] pass unclipped. Raises ValueError for a layer
        that this network has not.
        """
        if unknown := set(layers) - set(self.plan):
            raise ValueError(f"{self.name} has no layer {', '.join(sorted(unknown))}; it has {', '.join(self.plan)}")
        found: dict[str, Tensor] = {}
        x = (x.to(self.mean.dtype) - self.mean) / self.std
        for layer in self.plan[: max((self.plan.index(layer) + 1 for layer in layers), default=0)]:
            x = self._apply_layer(layer, x)
            if layer in layers:
                found[layer] = x
        return {layer: found[layer] for layer in layers}

    def with_pool(self, pool: Pool) -> "Backbone":
        """The same convolutions (shared, not copied) with another way of halving between the stages."""
        other = Backbone.__new__(Backbone)
        nn.Module.__init__(other)
        other.name, other.plan, other._pool = self.name, self.plan, pool
        other.convolutions = self.convolutions
        other.register_buffer("mean", self.mean, persistent=False)
        other.register_buffer("std", self.std, persistent=False)
        return other.eval()

    def forward(self, x: Tensor) -> Tensor:
        """The last layer. Most want `features`."""
        return self.features(x, self.plan[-1:])[self.plan[-1]]

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode, whatever it is part of."""
        return super().train(False)

    def _apply_layer(self, layer: str, x: Tensor) -> Tensor:
        if layer.startswith("conv"):
            return self.convolutions[layer](x)
        return self._pool(x) if layer.startswith("pool") else F.relu(x)


def parameter_shapes(name: BackboneName) -> dict[str, tuple[int, ...]]:
    """torchvision's name → shape, for every convolution's weight and bias."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (inputs, outputs, kernel) in _convs(name).items():
        index = _plan(name).index(layer)
        shapes[f"features.{index}.weight"] = (outputs, inputs, kernel, kernel)
        shapes[f"features.{index}.bias"] = (outputs,)
    return shapes


def random_backbone(name: BackboneName, seed: int) -> Backbone:
    """A network with random weights (He et al. 2015), for tests of machinery alone: what it sees means nothing."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for key, shape in parameter_shapes(name).items():
        spread = 0.05 if len(shape) == 1 else (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
        state[key] = torch.randn(shape, generator=generator) * spread
    return Backbone(name, state)


def _plan(name: BackboneName) -> tuple[str, ...]:
    """All layers in order. Each layer's place is also its number in torchvision's `features`."""
    if name == "alexnet":
        stages = (("1", "pool1"), ("2", "pool2"), ("3", ""), ("4", ""), ("5", ""))
        return tuple(layer for number, pool in stages for layer in (f"conv{number}", f"relu{number}", pool) if layer)
    return tuple(_vgg_layers(_DEPTHS[name]))


def _vgg_layers(depths: Sequence[int]) -> Iterator[str]:
    for stage, depth in enumerate(depths, 1):
        for number in range(1, depth + 1):
            yield f"conv{stage}_{number}"
            yield f"relu{stage}_{number}"
        if stage < len(depths):
            yield f"pool{stage}"


def _convs(name: BackboneName) -> dict[str, tuple[int, int, int]]:
    """Each convolution's inputs, outputs and kernel size."""
    if name == "alexnet":
        sizes = ((3, 64, 11), (64, 192, 5), (192, 384, 3), (384, 256, 3), (256, 256, 3))
        return {f"conv{number}": size for number, size in enumerate(sizes, 1)}
    widths = [3, *(width for width, depth in zip(_WIDTHS, _DEPTHS[name], strict=True) for _ in range(depth))]
    names = [layer for layer in _plan(name) if layer.startswith("conv")]
    return {layer: (*pair, 3) for layer, pair in zip(names, pairwise(widths), strict=True)}


def _convolution(name: BackboneName, layer: str, state: Mapping[str, Tensor]) -> nn.Conv2d:
    inputs, outputs, kernel = _convs(name)[layer]
    stride, padding = (4, 2) if kernel == 11 else (1, kernel // 2)
    with torch.device("meta"):  # no random start to be thrown away
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding)
    for part in ("weight", "bias"):
        key = f"features.{_plan(name).index(layer)}.{part}"
        if state[key].shape != getattr(convolution, part).shape:
            raise ValueError(f"{key} is {tuple(state[key].shape)}, not {tuple(getattr(convolution, part).shape)}")
        setattr(convolution, part, nn.Parameter(state[key].detach().clone().float(), requires_grad=False))
    return convolution


def _pool_vgg(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2, 2)


def _pool_alexnet(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, 2)
