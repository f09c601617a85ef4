"""Any checkpoint file → (ModelSpec, arrays) under one key scheme; our own form is safetensors with the spec in its metadata."""

import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

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
                raise ModelError(f"{path}: not a checkpoint; expected .safetensors, .pth or ncnn's .param with its .bin")
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error


def write_safetensors(checkpoint: Checkpoint, path: Path) -> None:
    """Our own form: the arrays as they are, the spec as JSON in the metadata. Complete or not at all."""
    metadata = {**checkpoint.notes, SPEC_KEY: checkpoint.spec.to_json(), "format": "pt"}
    arrays = {key: np.ascontiguousarray(value) for key, value in checkpoint.arrays.items()}
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata)


def write_pth(checkpoint: Checkpoint, path: Path) -> None:
    """The form that Real-ESRGAN and BasicSR read: {"params_ema": state_dict}. Needs torch."""
    import torch

    state = {key: torch.from_numpy(np.array(value)) for key, value in checkpoint.arrays.items()}
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
    arrays = {key: (1 - weight) * value + weight * second.arrays[key] for key, value in first.arrays.items()}
    license_ = first.spec.license if first.spec.license == second.spec.license else "unknown"
    return Checkpoint(first.spec.named(name, license_), arrays)


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(path, framework="numpy") as file:
            metadata: dict[str, str] = file.metadata() or {}
            arrays = {key: np.asarray(file.get_tensor(key)) for key in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, TypeError, struct.error) as error:
        raise ModelError(f"{path}: not a readable safetensors file ({error})") from error
    spec, found = canonical({key: _float32(value) for key, value in arrays.items()}, path.stem)
    if SPEC_KEY in metadata:
        spec = _agreed(ModelSpec.from_json(metadata[SPEC_KEY]), spec, path)
    notes = {key: value for key, value in metadata.items() if key not in (SPEC_KEY, "format")}
    return _finite(Checkpoint(spec, found, notes), path)


def _agreed(written: ModelSpec, seen: ModelSpec, path: Path) -> ModelSpec:
    """The written spec, whose name, license and activation the shapes do not show; all the rest must agree with them."""
    if replace(seen, name=written.name, license=written.license, activation=written.activation) != written:
        raise ModelError(f"{path}: its spec says {written.to_json()}, its tensors {seen.to_json()}")
    return written


def _read_pickle(path: Path) -> dict[str, Floats]:
    import torch

    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{path}: refused, not a plain set of tensors or damaged ({reason[:120]})") from error
    for key in _NESTED:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):  # pyright: ignore[reportUnknownMemberType]
            loaded = loaded[key]  # pyright: ignore[reportUnknownVariableType]
            break
    if not isinstance(loaded, Mapping):
        raise ModelError(f"{path}: holds no set of named tensors")
    state: Any = loaded
    return {str(key): value.float().numpy() for key, value in state.items() if isinstance(value, torch.Tensor)}


def _float32(values: np.ndarray[Any, Any]) -> Floats:
    return values.astype(np.float32, copy=False)


def _finite(checkpoint: Checkpoint, path: Path) -> Checkpoint:
    for key, value in checkpoint.arrays.items():
        if not np.isfinite(value).all():
            raise ModelError(f"{path}: {key} holds NaN or infinity; the file is damaged or its training diverged")
    return checkpoint
