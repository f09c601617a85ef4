"""Any checkpoint file → (ModelSpec, arrays) under one key scheme; our own form is safetensors with the spec in its metadata."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, deserialize, safe_open  # pyright: ignore[reportUnknownVariableType]
from safetensors.numpy import save

from upscale.errors import ModelError
from upscale.files import replacing
from upscale.image import Floats
from upscale.keys import Weights, canonical, from_layers
from upscale.ncnn_file import read_ncnn
from upscale.spec import ModelSpec

SPEC_KEY = "upscale.spec"
_PICKLES = (".pth", ".pt", ".ckpt", ".pkl")
_NESTED = ("params_ema", "params", "state_dict", "model_state_dict", "model", "net_g")


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A network's spec and parameters: float32 arrays under BasicSR's names. `notes` is further metadata, text by text."""

    spec: ModelSpec
    arrays: Weights
    notes: dict[str, str] = field(default_factory=dict[str, str])

    def named(self, name: str, license_: str | None = None) -> "Checkpoint":
        return replace(self, spec=self.spec.named(name, license_))


def digest(checkpoint: Checkpoint) -> str:
    """A sha256 that changes with the network or any of its parameters, whatever file they came from."""
    whole = hashlib.sha256(checkpoint.spec.to_json().encode())
    for name in sorted(checkpoint.arrays):
        whole.update(name.encode())
        whole.update(np.ascontiguousarray(checkpoint.arrays[name]).data)
    whole.update(checkpoint.notes.get("sha256", "").encode())  # of a foreign file, whose parameters are not here
    return whole.hexdigest()


def read_checkpoint(path: Path) -> Checkpoint:
    """Opens .safetensors, .pth/.pt/.ckpt (tensors only, never code) and ncnn's .param/.bin.

    Raises UnknownArchitectureError for networks that are not this repository's, ModelError for all other faults.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file; `upscale-models list` shows the known models")
    try:
        match path.suffix.lower():
            case ".safetensors":
                return _read_safetensors(path)
            case ".param" | ".bin" if path.with_suffix(".param").is_file():
                spec, arrays = from_layers(read_ncnn(path.with_suffix(".param"), path.with_suffix(".bin")), path.stem)
                return _finite(Checkpoint(spec, arrays), path)
            case suffix if suffix in _PICKLES:
                spec, arrays = canonical(_read_pickle(path), path.stem)
                return _finite(Checkpoint(spec, arrays), path)
            case _:
                raise ModelError(
                    f"{path}: not a checkpoint; expected .safetensors, .pth or ncnn's .param with its .bin"
                )
    except OSError as error:
        raise ModelError(f"{error.filename or path}: cannot be read ({error.strerror or error})") from error


def write_safetensors(checkpoint: Checkpoint, path: Path) -> None:
    """Our own form: the arrays as they are, the spec as JSON in the metadata. Raises OSError; never leaves half a file."""
    metadata = {**checkpoint.notes, SPEC_KEY: checkpoint.spec.to_json(), "format": "pt"}
    arrays = {key: np.ascontiguousarray(value) for key, value in checkpoint.arrays.items()}
    with replacing(path) as temporary:
        # Not safetensors' own save_file: it makes the file private, and a full disk is no OSError there.
        temporary.write_bytes(save(arrays, metadata))


def write_pth(checkpoint: Checkpoint, path: Path) -> None:
    """The form that Real-ESRGAN and BasicSR read: {"params_ema": state_dict}. Needs torch.

    Raises ModelError for alias-free networks: nothing in the file would tell them apart from others.
    """
    import torch

    if checkpoint.spec.upsampling != "nearest":
        raise ModelError(f"{path}: a .pth cannot say that a network's upsampling is alias-free; use .safetensors")
    state = {key: torch.tensor(value) for key, value in checkpoint.arrays.items()}
    with replacing(path) as temporary:
        torch.save({"params_ema": state}, temporary)


def blend(first: Checkpoint, second: Checkpoint, share: float, name: str) -> Checkpoint:
    """Parameters (1 - share)·first + share·second (network interpolation, Wang et al. 2018, section 3.4).

    Raises ModelError where the networks differ in shape, ValueError for a share outside [0, 1].
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"the share must lie in 0..1, not {share}")
    if first.spec.named("", "unknown") != second.spec.named("", "unknown"):
        raise ModelError(f"{first.spec.name} and {second.spec.name} differ in shape and cannot be blended")
    weight = np.float32(share)
    arrays: Weights = {
        key: np.asarray((1 - weight) * value + weight * second.arrays[key], np.float32)
        for key, value in first.arrays.items()
    }
    license_ = first.spec.license if first.spec.license == second.spec.license else "unknown"
    return Checkpoint(first.spec.named(name, license_), arrays)


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        opened: Any = safe_open(path, framework="numpy")
        with opened as file:
            metadata: dict[str, str] = file.metadata() or {}
        arrays: Weights = {}
        for key, tensor in deserialize(path.read_bytes()):  # pyright: ignore[reportUnknownVariableType]
            arrays[key] = _decoded(tensor)  # pyright: ignore[reportUnknownArgumentType]
    except (SafetensorError, KeyError) as error:
        raise ModelError(f"{path}: not a readable safetensors file ({error})") from error
    spec, found = canonical(arrays, path.stem)
    if SPEC_KEY in metadata:
        spec = _agreed(_written_spec(metadata[SPEC_KEY], path), spec, path)
    notes = {key: value for key, value in metadata.items() if key not in (SPEC_KEY, "format")}
    return _finite(Checkpoint(spec, found, notes), path)


def _written_spec(text: str, path: Path) -> ModelSpec:
    try:
        return ModelSpec.from_json(text)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _agreed(written: ModelSpec, seen: ModelSpec, path: Path) -> ModelSpec:
    """The written spec: the shapes do not show name and license, nor a compact network's growth, which it has not.

    Nor can they tell relu from leakyrelu, nor how an RRDBNet doubles, which have no parameters; all the rest must agree.
    """
    known = replace(seen, name=written.name, license=written.license, upsampling=written.upsampling)
    if seen.arch == "compact":
        known = replace(known, growth=written.growth)
    if {seen.activation, written.activation} == {"relu", "leakyrelu"}:
        known = replace(known, activation=written.activation)
    if known != written:
        raise ModelError(f"{path}: its spec says {written.to_json()}, its tensors {seen.to_json()}")
    return written


def _read_pickle(path: Path) -> dict[str, Floats]:
    import torch

    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # the unpickler meets damaged bytes with errors of almost any type
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{path}: refused, not a plain set of tensors or damaged ({reason[:120]})") from error
    for key in _NESTED:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):  # pyright: ignore[reportUnknownMemberType]
            loaded = loaded[key]  # pyright: ignore[reportUnknownVariableType]
            break
    if not isinstance(loaded, Mapping):
        raise ModelError(f"{path}: holds no set of named tensors")
    state: dict[Any, Any] = dict(loaded)  # pyright: ignore[reportUnknownArgumentType]
    return {str(key): value.detach().float().numpy() for key, value in state.items() if isinstance(value, torch.Tensor)}


def _decoded(tensor: Mapping[str, Any]) -> Floats:
    """A stored tensor as fp32. numpy has no bf16, but a bf16's bits are the upper half of an fp32's."""
    kind, data = tensor["dtype"], tensor["data"]
    if kind == "BF16":
        values = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    else:
        values = np.frombuffer(data, {"F16": "<f2", "F32": "<f4", "F64": "<f8"}[kind])
    return values.reshape(tensor["shape"]).astype(np.float32)


def _finite(checkpoint: Checkpoint, path: Path) -> Checkpoint:
    for key, value in checkpoint.arrays.items():
        if not np.isfinite(value).all():
            raise ModelError(f"{path}: {key} holds NaN or infinity; the file is damaged or its training diverged")
    return checkpoint
