"""The generator: made anew or begun from trained parameters, averaged, and written as a file that `upscale --model` opens."""

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from upscale.checkpoint import Checkpoint
from upscale.errors import ModelError
from upscale.image import Floats
from upscale.model import open_model
from upscale.nets import Network, build
from upscale.spec import ModelSpec
from upscale_training.errors import RecipeError

DENSE_GAIN = 0.1
"""ESRGAN's initialization: dense blocks begin near the identity (Wang et al. 2018, section 3.1)."""

_LEAST = 0.05
"""Share of a network's values below which what fits is an accident (biases of equal length), not an inheritance."""

Arrays = dict[str, Floats]


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """A network to begin with, and in words how much of it came from where."""

    network: Network
    story: str


def begun(spec: ModelSpec, start: str | None, seed: int) -> Start:
    """A network of `spec`: new, or with all that fits of the model called `start` (a name or a file).

    Raises ModelError where that cannot be opened, RecipeError where nothing of it fits.
    """
    network = fresh(spec, seed)
    if start is None:
        return Start(network, f"{spec.name}: new, from seed {seed}")
    return inherited(network, open_model(start))


def fresh(spec: ModelSpec, seed: int) -> Network:
    """New parameters, the same for the same seed: PyTorch's for all layers, a tenth of He's in dense blocks, and equal
    kernels for all sub-pixels of a pixel-shuffle (ICNR, Aitken et al. 2017, arXiv:1707.02937), which otherwise begins as a
    checkerboard."""
    with torch.random.fork_rng(devices=[]):  # pyright: ignore[reportUnknownMemberType]
        torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
        network = build(spec)
        for name, parameter in network.named_parameters():
            if re.search(r"rdb\d\.conv\d\.weight$", name):
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
                parameter.data.mul_(DENSE_GAIN)
            elif re.search(r"rdb\d\.conv\d\.bias$", name):
                nn.init.zeros_(parameter)
    if spec.arch == "compact":
        last = network.get_submodule(f"body.{2 * spec.blocks + 2}")
        assert isinstance(last, nn.Conv2d)
        for parameter in last.parameters():
            one = parameter.data[:: spec.scale**2]
            parameter.data.copy_(one.repeat_interleave(spec.scale**2, dim=0))
    return network


def inherited(network: Network, parent: Checkpoint) -> Start:
    """`network` with all parameters of `parent` that fit: same layers, and last layers re-cut for another scale."""
    spec = network.spec
    if parent.spec.arch != spec.arch:
        raise RecipeError(
            f"{parent.spec.name} is {parent.spec.arch}, the recipe's network {spec.arch}: nothing to take over"
        )
    given = _rescaled(parent.spec, parent.arrays, spec)
    state = network.state_dict()
    taken = {key: value for key, value in given.items() if key in state and tuple(state[key].shape) == value.shape}
    if sum(value.size for value in taken.values()) < _LEAST * sum(value.numel() for value in state.values()):
        raise RecipeError(
            f"{parent.spec.name}: hardly a layer has the shape of the recipe's network; give its features and blocks"
        )
    network.load_state_dict({**state, **{key: torch.tensor(value) for key, value in taken.items()}})
    return Start(network, f"{spec.name}: {len(taken)} of {len(state)} parameters from {parent.spec.name}")


def spec_for(start: str, name: str, scale: int | None) -> ModelSpec:
    """The shape of a network that is to be fine-tuned from `start`: the same, with another scale if wished."""
    from dataclasses import replace

    parent = open_model(start).spec
    if parent.arch == "foreign":
        raise ModelError(
            f"{start}: networks opened through spandrel cannot be trained here; begin from an RRDBNet or compact one"
        )
    if scale is None or scale == parent.scale:
        return parent.named(name)
    return replace(parent.named(name), scale=scale, unshuffle=1 if scale * parent.unshuffle > 8 else parent.unshuffle)


def grown(network: Network, spec: ModelSpec, seed: int) -> Network:
    """A network of another scale that goes on where `network` stands."""
    parent = Checkpoint(network.spec, arrays_of(network))
    return inherited(fresh(spec, seed), parent).network


class Ema:
    """A running mean of a network's parameters (Polyak averaging; StyleGAN's and Real-ESRGAN's generator average).

    After n updates no more than (1 + n) / (10 + n) of the mean is kept, so that it follows a young network closely.
    """

    def __init__(self, network: Network, keep: float) -> None:
        self.keep = keep
        self.updates = 0
        self.network = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)

    @torch.no_grad()
    def update(self, network: Network) -> None:
        """mean ← keep · mean + (1 - keep) · parameters."""
        keep = min(self.keep, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for mean, value in zip(self.network.parameters(), network.parameters(), strict=True):
            mean.lerp_(value.detach(), 1 - keep)


def arrays_of(network: Network) -> Arrays:
    """The parameters as float32 arrays under the checkpoint's names."""
    return {
        key: value.detach().to("cpu", torch.float32, copy=True).numpy() for key, value in network.state_dict().items()
    }


def checkpoint_of(network: Network, notes: Mapping[str, str]) -> Checkpoint:
    """What is written as model.safetensors. `notes` go into its metadata."""
    return Checkpoint(network.spec, arrays_of(network), dict(notes))


def _rescaled(parent: ModelSpec, arrays: Mapping[str, Floats], spec: ModelSpec) -> Arrays:
    given = dict(arrays)
    if spec.arch == "rrdb":
        known = [given[f"conv_up{parent.doublings}.{kind}"] for kind in ("weight", "bias")] if parent.doublings else []
        for k in range(parent.doublings + 1, spec.doublings + 1):
            given.update({f"conv_up{k}.{kind}": array for kind, array in zip(("weight", "bias"), known, strict=False)})
        return given
    ours, theirs = f"body.{2 * spec.blocks + 2}", f"body.{2 * parent.blocks + 2}"
    last = {kind: given.pop(f"{theirs}.{kind}") for kind in ("weight", "bias")}
    return given | {f"{ours}.{kind}": _subpixels(array, parent.scale, spec.scale) for kind, array in last.items()}


def _subpixels(array: Floats, old: int, new: int) -> Floats:
    """A pixel-shuffle's last layer (3·old², …) as (3·new², …): each sub-pixel takes the mean of those it covers."""
    cells = array.reshape(3, old, old, *array.shape[1:])
    cover = np.float32(np.stack([_covered(old, new, k) for k in range(new)]))
    mixed = np.einsum("ia,jb,cab...->cij...", cover, cover, cells)
    return np.ascontiguousarray(mixed.reshape(3 * new**2, *array.shape[1:]), np.float32)


def _covered(old: int, new: int, k: int) -> Floats:
    """How much of each of `old` equal parts of a line the k-th of `new` parts covers; adds up to 1."""
    edges = np.arange(old + 1) / old
    low, high = k / new, (k + 1) / new
    shared = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
    return np.asarray(np.maximum(shared, 0) * new, np.float32)


def outputs_of(
    network: nn.Module, layers: tuple[str, ...], kept: list[Tensor]
) -> list[torch.utils.hooks.RemovableHandle]:
    """Hooks that put the outputs of the named modules into `kept`, in the order of `layers`. Raises RecipeError."""
    names: dict[str, nn.Module] = dict(network.named_modules())  # pyright: ignore[reportUnknownArgumentType]
    if unknown := [layer for layer in layers if layer not in names]:
        raise RecipeError(f"the network has no module {unknown[0]}; it has {', '.join(list(names)[1:6])} …")
    kept[:] = [torch.empty(0)] * len(layers)

    def keep(place: int) -> torch.utils.hooks.RemovableHandle:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            kept[place] = output

        return names[layers[place]].register_forward_hook(hook)

    return [keep(place) for place in range(len(layers))]
