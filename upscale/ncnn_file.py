"""Reads ncnn's model files: a text `.param` with the layers and a `.bin` with their weights, one after another.

Format (https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure): a Convolution stores a u32 flag, its weights
(out, in, kh, kw) in fp16 (flag 0x01306B47) or fp32 (flag 0 or 0x0002C056), padded to 4 bytes, then its bias in fp32; a
PReLU its slopes in fp32.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from upscale.errors import ModelError
from upscale.image import Floats

MAGIC = "7767517"
FP16 = 0x01306B47
_FP32 = (0, 0x0002C056)


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: its type, its integer parameters, and its arrays (a convolution: weight, bias; a PReLU: slopes)."""

    kind: str
    parameters: dict[int, float]
    arrays: tuple[Floats, ...]


def read_ncnn(param: Path, weights: Path) -> list[Layer]:
    """All layers in file order. Raises ModelError where either file is not what it should be."""
    lines = param.read_text(encoding="utf-8", errors="replace").split("\n")
    if lines[0].strip() != MAGIC:
        raise ModelError(f"{param}: not an ncnn parameter file")
    stream = _Bytes(weights)
    layers = [_layer(line.split(), param, stream) for line in lines[2:] if line.strip()]
    if lines[1:2] == [] or lines[1].split()[:1] != [str(len(layers))]:
        raise ModelError(f"{param}: not as many layers as it says; is the file complete?")
    stream.finish()
    return layers


def _layer(words: list[str], param: Path, stream: "_Bytes") -> Layer:
    try:
        inputs, outputs = int(words[2]), int(words[3])
        pairs = [word.split("=", 1) for word in words[4 + inputs + outputs :]]
        parameters = {int(key): float(value) for key, value in pairs if int(key) > -23300}
        if not all(math.isfinite(value) for value in parameters.values()):
            raise ValueError("not a finite number")
    except (ValueError, IndexError) as error:
        raise ModelError(f"{param}: cannot read the line {' '.join(words)!r}") from error
    kind = words[0]
    if kind == "Convolution":
        return Layer(kind, parameters, stream.convolution(parameters))
    if kind == "PReLU":
        return Layer(kind, parameters, (stream.floats(int(parameters.get(0, 0))),))
    return Layer(kind, parameters, ())


class _Bytes:
    def __init__(self, path: Path) -> None:
        self._path, self._data, self._at = path, path.read_bytes(), 0

    def convolution(self, parameters: dict[int, float]) -> tuple[Floats, Floats]:
        out, count = int(parameters.get(0, 0)), int(parameters.get(6, 0))
        width = int(parameters.get(1, 0))
        height = int(parameters.get(11, width))
        if min(out, width, height, count) < 1 or count % (out * width * height) != 0:
            raise ModelError(f"{self._path}: a convolution of impossible shape")
        flag = int.from_bytes(self._take(4), "little")
        if flag == FP16:
            values = np.frombuffer(self._take((2 * count + 3) // 4 * 4), np.float16, count).astype(np.float32)
        elif flag in _FP32:
            values = self.floats(count)
        else:
            raise ModelError(f"{self._path}: weights stored in an unknown way (flag {flag:#x})")
        bias = self.floats(out) if parameters.get(5, 0) else np.zeros(out, np.float32)
        return values.reshape(out, -1, height, width), bias

    def floats(self, count: int) -> Floats:
        return np.frombuffer(self._take(4 * count), np.float32)

    def finish(self) -> None:
        if self._at != len(self._data):
            raise ModelError(f"{self._path}: {len(self._data) - self._at} bytes too many; is it of another .param?")

    def _take(self, count: int) -> bytes:
        if not 0 <= count <= len(self._data) - self._at:
            raise ModelError(f"{self._path}: ends early; is the file complete, and of this .param?")
        self._at += count
        return self._data[self._at - count : self._at]
