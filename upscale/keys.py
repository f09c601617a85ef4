"""From anybody's parameter names and shapes to ours: BasicSR's names, and a ModelSpec read off the shapes alone.

Known forms: RRDBNet of the old ESRGAN repository (`model.1.sub.0.RDB1.conv1.0.weight`), of the newer one
(`RRDB_trunk.0.RDB1.conv1.weight`) and of BasicSR (`body.0.rdb1.conv1.weight`), and SRVGGNetCompact (`body.0.weight`).
File names are never looked at.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import replace

from upscale.errors import ModelError
from upscale.image import Floats
from upscale.ncnn_file import Layer
from upscale.spec import Activation, ModelSpec
from upscale.stages import DENSE_RADIUS, UNITS_PER_BLOCK, hidden_convolutions

Weights = dict[str, Floats]

_NEWER = {"RRDB_trunk.": "body.", "trunk_conv.": "conv_body.", "HRconv.": "conv_hr."}
_DENSE = re.compile(r"\.(?:RDB|rdb)([123])\.conv([1-5])\.(?:0\.)?(weight|bias)$")
_DENSE_KEY = re.compile(r"body\.\d+\.rdb[123]\.conv[1-5]\.weight")
_OUR_DENSE = "body.{}.rdb{}.conv{}.{}"


class UnknownArchitectureError(ModelError):
    """The parameters belong to none of this repository's networks."""


def unit_layers(spec: ModelSpec, unit: int) -> list[str]:
    """Names of a unit's convolutions in order; of a dense block each but the last adds channels."""
    if spec.arch == "compact":
        return [f"body.{2 * k + 2}" for k in hidden_convolutions(spec, unit)]
    return [
        f"body.{unit // UNITS_PER_BLOCK}.rdb{unit % UNITS_PER_BLOCK + 1}.conv{k}" for k in range(1, DENSE_RADIUS + 1)
    ]


def canonical(arrays: Mapping[str, Floats], name: str) -> tuple[ModelSpec, Weights]:
    """The spec and the parameters under our names. Raises UnknownArchitectureError, or ModelError for damaged sets."""
    stripped = {key.removeprefix("module."): value for key, value in arrays.items()}
    if "conv_first.weight" not in stripped and "model.0.weight" in stripped:
        stripped = _from_old_esrgan(stripped, name)
    renamed = {_rename(key): value for key, value in stripped.items()}
    if _is_kernel(renamed, "conv_first.weight") and any(_DENSE_KEY.fullmatch(key) for key in renamed):
        spec = _rrdb_spec(renamed, name)
    elif _is_kernel(renamed, "body.0.weight"):
        spec = _compact_spec(renamed, name)
    else:
        raise UnknownArchitectureError(f"{name}: neither an RRDBNet nor an SRVGGNetCompact")
    return spec, _checked(spec, renamed, name)


def from_layers(layers: list[Layer], name: str) -> tuple[ModelSpec, Weights]:
    """The same for ncnn's layers, which have no names of their own but an order."""
    convolutions = [layer for layer in layers if layer.kind == "Convolution"]
    if any(layer.kind == "PixelShuffle" for layer in layers):
        spec, arrays = canonical(_compact_layers(layers), name)
        return replace(spec, activation=_compact_activation(layers, spec)), arrays
    blocks, rest = divmod(len(convolutions) - 4, 15)
    doublings = sum(1 for layer in layers if layer.kind == "Interp")
    if blocks < 1 or rest != doublings:
        raise UnknownArchitectureError(f"{name}: {len(convolutions)} convolutions make no RRDBNet")
    dense = [(b, r, c) for b in range(blocks) for r in (1, 2, 3) for c in range(1, 6)]
    names = ["conv_first", *(f"body.{b}.rdb{r}.conv{c}" for b, r, c in dense), "conv_body"]
    names += [*(f"conv_up{k}" for k in range(1, doublings + 1)), "conv_hr", "conv_last"]
    arrays: Weights = {}
    for layer, key in zip(convolutions, names, strict=True):
        arrays[f"{key}.weight"], arrays[f"{key}.bias"] = layer.arrays
    return canonical(arrays, name)


def _compact_activation(layers: list[Layer], spec: ModelSpec) -> Activation:
    """Slopes that are no parameters stand in the ReLU layers. Those fused into a convolution are not read."""
    slopes = {round(layer.parameters.get(0, 0.0), 6) for layer in layers if layer.kind == "ReLU"}
    fused = any(layer.parameters.get(9, 0) for layer in layers if layer.kind == "Convolution")
    known: dict[tuple[str, tuple[float, ...]], Activation] = {
        ("prelu", ()): "prelu",
        ("relu", (0.0,)): "relu",
        ("relu", (0.1,)): "leakyrelu",
    }
    activation = known.get((spec.activation, tuple(sorted(slopes))))
    if activation is None or fused:
        raise UnknownArchitectureError(f"{spec.name}: its activations are not an SRVGGNetCompact's")
    return activation


def _compact_layers(layers: list[Layer]) -> Weights:
    """Convolutions and activations alternate; an activation without arrays still takes a number."""
    arrays: Weights = {}
    index = -2
    for layer in layers:
        if layer.kind == "Convolution":
            index += 2
            arrays[f"body.{index}.weight"], arrays[f"body.{index}.bias"] = layer.arrays
        elif layer.kind == "PReLU":
            arrays[f"body.{index + 1}.weight"] = layer.arrays[0]
    return arrays


def _rename(key: str) -> str:
    for theirs, ours in _NEWER.items():
        if key.startswith(theirs):
            key = ours + key.removeprefix(theirs)
    key = re.sub(r"^upconv(\d)\.", r"conv_up\1.", key)
    return _DENSE.sub(r".rdb\1.conv\2.\3", key)


def _from_old_esrgan(arrays: Mapping[str, Floats], name: str) -> Weights:
    """`model` is one flat Sequential there: numbers follow from how many doublings lie before."""
    tops = sorted({int(match[1]) for key in arrays if (match := re.match(r"model\.(\d{1,6})\.(?:weight|bias)$", key))})
    subs = {int(match[1]) for key in arrays if (match := re.match(r"model\.1\.sub\.(\d{1,6})\.", key))}
    if len(tops) < 3 or not subs:
        raise UnknownArchitectureError(f"{name}: an old ESRGAN file without its trunk")
    names = {"model.0": "conv_first", f"model.1.sub.{max(subs)}": "conv_body"}
    names |= {f"model.{tops[-2]}": "conv_hr", f"model.{tops[-1]}": "conv_last"}
    names |= {f"model.{number}": f"conv_up{k}" for k, number in enumerate(tops[1:-2], 1)}
    result: Weights = {}
    for key, value in arrays.items():
        if dense := re.match(r"model\.1\.sub\.(\d+)\.RDB([123])\.conv([1-5])\.0\.(weight|bias)$", key):
            result[_OUR_DENSE.format(*dense.groups())] = value
        elif (stem := key.rpartition(".")[0]) in names:
            result[f"{names[stem]}.{key.rpartition('.')[2]}"] = value
        else:
            raise UnknownArchitectureError(f"{name}: an ESRGAN variant with {key}, which RRDBNet has not")
    return result


def _is_kernel(arrays: Mapping[str, Floats], key: str) -> bool:
    return key in arrays and arrays[key].ndim == 4 and arrays[key].size > 0


def _count(arrays: Mapping[str, Floats], pattern: str) -> int:
    """How many different first groups; where they have gaps, `_checked` finds what is missing."""
    return len({match[1] for key in arrays if (match := re.match(pattern, key))})


def _rrdb_spec(arrays: Mapping[str, Floats], name: str) -> ModelSpec:
    features, channels = arrays["conv_first.weight"].shape[:2]
    growth_key = "body.0.rdb1.conv1.weight"
    if not _is_kernel(arrays, growth_key) or channels % 3:
        raise ModelError(f"{name}: an RRDBNet for {channels} input channels, or one without its first block")
    unshuffle = math.isqrt(channels // 3)
    scale = 2 ** _count(arrays, r"conv_up(\d+)\.weight") // unshuffle
    growth = arrays[growth_key].shape[0]
    blocks = _count(arrays, r"body\.(\d+)\.rdb")
    return ModelSpec(name, "rrdb", scale, features, growth, blocks, unshuffle)


def _compact_spec(arrays: Mapping[str, Floats], name: str) -> ModelSpec:
    convolutions = sum(1 for key in arrays if re.match(r"body\.\d+\.weight$", key) and arrays[key].ndim == 4)
    last = f"body.{2 * convolutions - 2}.weight"
    features, channels = arrays["body.0.weight"].shape[:2]
    if channels != 3 or convolutions < 3 or not _is_kernel(arrays, last):
        raise UnknownArchitectureError(f"{name}: its layers are not an SRVGGNetCompact's")
    scale = math.isqrt(arrays[last].shape[0] // 3)
    activation: Activation = "prelu" if "body.1.weight" in arrays else "relu"
    return ModelSpec(name, "compact", scale, features, blocks=convolutions - 2, activation=activation)


def parameter_shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Every parameter of a network of this spec, with its shape."""
    shapes: dict[str, tuple[int, ...]] = {}

    def convolution(name: str, inputs: int, outputs: int) -> None:
        shapes[f"{name}.weight"] = (outputs, inputs, 3, 3)
        shapes[f"{name}.bias"] = (outputs,)

    nf, gc = spec.features, spec.growth
    if spec.arch == "compact":
        for k in range(spec.blocks + 1):
            convolution(f"body.{2 * k}", 3 if k == 0 else nf, nf)
            if spec.activation == "prelu":
                shapes[f"body.{2 * k + 1}.weight"] = (nf,)
        convolution(f"body.{2 * spec.blocks + 2}", nf, 3 * spec.scale**2)
        return shapes
    convolution("conv_first", 3 * spec.unshuffle**2, nf)
    for block in range(spec.blocks):
        for dense in (1, 2, 3):
            for k in range(1, 6):
                convolution(f"body.{block}.rdb{dense}.conv{k}", nf + (k - 1) * gc, nf if k == 5 else gc)
    for name in ("conv_body", *(f"conv_up{k}" for k in range(1, spec.doublings + 1)), "conv_hr"):
        convolution(name, nf, nf)
    convolution("conv_last", nf, 3)
    return shapes


def _checked(spec: ModelSpec, arrays: Weights, name: str) -> Weights:
    wanted = parameter_shapes(spec)
    missing, extra = wanted.keys() - arrays.keys(), arrays.keys() - wanted.keys()
    if missing or extra:
        kind = "lacks" if missing else "has an unexpected"
        raise UnknownArchitectureError(f"{name}: {kind} {min(missing or extra)}")
    for key, shape in wanted.items():
        if arrays[key].shape != shape:
            raise ModelError(f"{name}: {key} has shape {arrays[key].shape}, expected {shape}")
    return {key: arrays[key] for key in wanted}
