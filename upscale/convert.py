"""Writes a network as another program's file, and leaves none that computes something else.

ONNX and ncnn files are run, where their runtime is installed, on two small pictures of different sizes, and compared with
the network in plain numpy; an ncnn file is also read back. All files take their final names only after that.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from upscale import trial
from upscale.checkpoint import SPEC_KEY, Checkpoint, write_pth, write_safetensors
from upscale.engines.reference import forward
from upscale.errors import ModelError, OutputError
from upscale.files import replacing
from upscale.image import Floats
from upscale.keys import from_layers
from upscale.ncnn_file import read_ncnn
from upscale.ncnn_write import ncnn_files
from upscale.onnx_file import onnx_bytes
from upscale.rows import unshuffled
from upscale.trial import Runtime, decibels

SUFFIXES = (".safetensors", ".pth", ".onnx", ".param", ".bin")

ENOUGH_DB = 100.0
"""What a runtime must reach in fp32 on the same weights. Other orders of summation cost 20 to 40 dB of fp32's 150; a
wrong layer, slope or order of channels leaves less than 60."""

_PROBES = ((12, 16), (9, 7))
"""Sides of the pictures that are run, in feature pixels: odd ones too, and two sizes, since all must be free."""


def files_of(out: Path) -> tuple[Path, ...]:
    """The files that a conversion to `out` writes: ncnn's are two."""
    pair = out.suffix.lower() in (".param", ".bin")
    return (out.with_suffix(".param"), out.with_suffix(".bin")) if pair else (out,)


def write(checkpoint: Checkpoint, out: Path, half: bool = False) -> list[str]:
    """Writes `out`, whose suffix is one of SUFFIXES, and tells what its reader should know, a line each.

    `half`: kernels (in .safetensors and .pth all parameters) are stored as float16. Raises OutputError, and ModelError for
    values too large for float16. Nothing is left half written, nor where it computes something else.
    """
    try:
        match out.suffix.lower():
            case ".safetensors":
                write_safetensors(halved(checkpoint) if half else checkpoint, out)
                return []
            case ".pth":
                return _write_pth(halved(checkpoint) if half else checkpoint, out)
            case ".onnx":
                said = _write_onnx(halved(checkpoint, kernels=True) if half else checkpoint, out)
            case _:
                said = _write_ncnn(halved(checkpoint, kernels=True) if half else checkpoint, *files_of(out))
    except OSError as error:
        raise OutputError(f"{error.filename or out}: cannot be written ({error.strerror or error})") from error
    return [*said, *_costs(checkpoint, half), *_limits(checkpoint)]


def halved(checkpoint: Checkpoint, kernels: bool = False) -> Checkpoint:
    """Parameters as float16; with `kernels` no biases and slopes, which are few. Raises ModelError for too large ones."""
    with np.errstate(over="ignore"):
        arrays: dict[str, Any] = {
            key: value if kernels and value.ndim != 4 else value.astype(np.float16)
            for key, value in checkpoint.arrays.items()
        }
    for key, value in arrays.items():
        if not np.isfinite(value).all():
            raise ModelError(f"{checkpoint.spec.name}: {key} is too large for half precision")
    return replace(checkpoint, arrays=arrays)


def _write_pth(checkpoint: Checkpoint, out: Path) -> list[str]:
    try:
        write_pth(checkpoint, out)
    except RuntimeError as error:  # torch.save has its own idea of a full disk
        raise OutputError(f"{out}: cannot be written ({error})") from error
    if checkpoint.spec.arch == "compact" and checkpoint.spec.activation == "leakyrelu":
        return ["note: a .pth does not say that its activation is leakyrelu; readers take it for relu"]
    return []


def _write_onnx(checkpoint: Checkpoint, out: Path) -> list[str]:
    facts = {**checkpoint.notes, SPEC_KEY: checkpoint.spec.to_json()}
    with replacing(out) as temporary:
        temporary.write_bytes(onnx_bytes(checkpoint.spec, checkpoint.arrays, facts))
        try:
            runtime = trial.open_onnx(temporary)
            return _proved(checkpoint, runtime, out, "onnxruntime")
        except (OSError, OutputError):
            raise
        except Exception as error:  # each runtime has its own types
            raise OutputError(f"{out}: not written: its runtime refuses it ({_first_line(error)})") from error


def _write_ncnn(checkpoint: Checkpoint, param: Path, weights: Path) -> list[str]:
    text, data = ncnn_files(checkpoint.spec, checkpoint.arrays)
    with replacing(param) as lines, replacing(weights) as values:
        lines.write_bytes(text.encode())
        values.write_bytes(data)
        _check_reading(checkpoint, lines, values, param)
        try:
            return _proved(checkpoint, trial.open_ncnn(lines, values), param, "ncnn")
        except ValueError as error:
            raise OutputError(f"{param}: not written: ncnn refuses it ({error})") from error


def _check_reading(checkpoint: Checkpoint, lines: Path, values: Path, param: Path) -> None:
    """The pair as our own reader sees it must be the network, bit by bit. Its growth is none, nor its name and license."""
    wanted = checkpoint.spec
    spec, arrays = from_layers(read_ncnn(lines, values), wanted.name)
    spec = replace(spec, license=wanted.license, growth=wanted.growth if wanted.arch == "compact" else spec.growth)
    same = all(np.array_equal(arrays[key], value) for key, value in checkpoint.arrays.items())
    if spec != wanted or not same:
        raise OutputError(f"{param}: not written: read back it is another network ({spec.to_json()})")


def _proved(checkpoint: Checkpoint, runtime: Runtime | None, out: Path, wanted: str) -> list[str]:
    """Raises OutputError where the runtime computes something else than numpy."""
    if runtime is None:
        return [f"note: {wanted} is not installed, so the file was not run; `pip install {wanted}` and convert again"]
    arrays = _full(checkpoint)
    worst = min(decibels(runtime.run(picture), _expected(arrays, picture)) for picture in _pictures(checkpoint))
    if worst < ENOUGH_DB:
        raise OutputError(f"{out}: not written: {runtime.name} computes something else from it ({worst:.1f} dB)")
    return [f"checked: {runtime.name} computes the same from it ({worst:.0f} dB)"]


def _costs(checkpoint: Checkpoint, half: bool) -> list[str]:
    if not half:
        return []
    picture = next(_pictures(checkpoint))
    rounded = _full(halved(checkpoint, kernels=True))
    cost = decibels(_expected(rounded, picture), _expected(checkpoint, picture))
    if math.isinf(cost):
        return ["note: half precision loses nothing of these weights"]
    return [f"note: in half precision the result is {cost:.0f} dB from the full one's"]


def _limits(checkpoint: Checkpoint) -> list[str]:
    factor = checkpoint.spec.unshuffle
    return [] if factor == 1 else [f"note: it takes pictures whose sides are multiples of {factor} only"]


def _full(checkpoint: Checkpoint) -> Checkpoint:
    arrays = {key: value.astype(np.float32, copy=False) for key, value in checkpoint.arrays.items()}
    return replace(checkpoint, arrays=arrays)


def _expected(checkpoint: Checkpoint, picture: Floats) -> Floats:
    features = np.concatenate(list(unshuffled(iter([picture]), checkpoint.spec.unshuffle)))
    return forward(checkpoint.spec, checkpoint.arrays, features)


def _pictures(checkpoint: Checkpoint) -> Iterator[Floats]:
    for rows, columns in _PROBES:
        sides = (rows * checkpoint.spec.unshuffle, columns * checkpoint.spec.unshuffle, 3)
        yield np.random.default_rng(rows).random(sides, np.float32)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
