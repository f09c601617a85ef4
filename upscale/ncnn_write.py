"""A network in ncnn's form: the text of its `.param` and the bytes of its `.bin`; see ncnn_file.py for the format.

Layers, their order and the blobs `data` and `output` are those of Real-ESRGAN's released files, so that programs made for
those (realesrgan-ncnn-vulkan, Upscayl) open ours. Kernels given as float16 are stored so; biases and slopes always as fp32.
The form holds neither name nor license.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from upscale.errors import ModelError
from upscale.image import Array
from upscale.ncnn_file import FP16, MAGIC
from upscale.spec import ModelSpec

INPUT, OUTPUT = "data", "output"

_LEAKY = "9=2 -23310=1,2.000000e-01"
"""A leaky ReLU of slope 0.2 inside the convolution."""

_RESIDUAL = "0=1 -23301=2,2.000000e-01,1.000000e+00"
"""A sum of 0.2 times the first and 1 times the second."""


def ncnn_files(spec: ModelSpec, arrays: Mapping[str, Array]) -> tuple[str, bytes]:
    """The `.param`'s text and the `.bin`'s bytes.

    Raises ValueError for foreign networks, whose inside is not known, ModelError for alias-free ones: programs for
    Real-ESRGAN's files and `upscale` itself would take them for others.
    """
    if spec.arch == "foreign":
        raise ValueError("a foreign network has no known inside")
    if spec.upsampling != "nearest":
        raise ModelError(
            f"{spec.name}: ncnn's form is not written for alias-free upsampling; use .onnx or .safetensors"
        )
    net = _Net(arrays)
    net.layer("Input", [], INPUT)
    if spec.arch == "rrdb":
        _rrdb(net, spec)
    else:
        _compact(net, spec)
    return net.text(), b"".join(net.data)


class _Net:
    """Layers so far: (kind, inputs, output, parameters). A blob that several layers read gets its copies in `text`."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = arrays
        self._layers: list[tuple[str, list[str], str, str]] = []
        self.data: list[bytes] = []

    def layer(self, kind: str, inputs: Sequence[str], output: str = "", parameters: str = "") -> str:
        output = output or str(len(self._layers))
        self._layers.append((kind, list(inputs), output, parameters))
        return output

    def convolve(self, name: str, x: str, activation: str = "", output: str = "") -> str:
        kernel, bias = self._arrays[f"{name}.weight"], self._arrays[f"{name}.bias"]
        self.data += [_stored(kernel), _fp32(bias)]
        parameters = f"0={bias.size} 1=3 4=1 5=1 6={kernel.size} {activation}".rstrip()
        return self.layer("Convolution", [x], output, parameters)

    def slopes(self, name: str, x: str) -> str:
        slopes = self._arrays[name]
        self.data.append(_fp32(slopes))
        return self.layer("PReLU", [x], parameters=f"0={slopes.size}")

    def nearest(self, x: str, scale: int) -> str:
        return self.layer("Interp", [x], parameters=f"0=1 1={scale:e} 2={scale:e}")

    def text(self) -> str:
        """In ncnn each blob has one reader; a Split makes copies for several."""
        readers = [name for _, inputs, _, _ in self._layers for name in inputs]
        uses = {name: readers.count(name) for name in dict.fromkeys(readers)}
        copies = {name: [f"{name}_{k}" for k in range(uses[name])] for name in uses if uses[name] > 1}
        left = {name: iter(names) for name, names in copies.items()}
        lines: list[str] = []
        for number, (kind, inputs, output, parameters) in enumerate(self._layers):
            read = [next(left[name]) if name in left else name for name in inputs]
            lines.append(_line(kind, f"{kind}_{number}", read, [output], parameters))
            if output in copies:
                lines.append(_line("Split", f"split_{output}", [output], copies[output], ""))
        blobs = len(self._layers) + sum(map(len, copies.values()))
        return "\n".join([MAGIC, f"{len(lines)} {blobs}", *lines, ""])


def _rrdb(net: _Net, spec: ModelSpec) -> None:
    # Reorg is PyTorch's pixel-unshuffle.
    x = INPUT if spec.unshuffle == 1 else net.layer("Reorg", [INPUT], parameters=f"0={spec.unshuffle}")
    first = x = net.convolve("conv_first", x)
    for block in range(spec.blocks):
        y = x
        for dense in (1, 2, 3):
            y = _dense(net, f"body.{block}.rdb{dense}", y)
        x = net.layer("Eltwise", [y, x], parameters=_RESIDUAL)
    x = net.layer("BinaryOp", [first, net.convolve("conv_body", x)], parameters="0=0")
    for k in range(1, spec.doublings + 1):
        x = net.convolve(f"conv_up{k}", net.nearest(x, 2), _LEAKY)
    net.convolve("conv_last", net.convolve("conv_hr", x, _LEAKY), output=OUTPUT)


def _dense(net: _Net, name: str, x: str) -> str:
    features = [x]
    for k in range(1, 5):
        seen = net.layer("Concat", features) if k > 1 else x
        features.append(net.convolve(f"{name}.conv{k}", seen, _LEAKY))
    return net.layer("Eltwise", [net.convolve(f"{name}.conv5", net.layer("Concat", features)), x], parameters=_RESIDUAL)


def _compact(net: _Net, spec: ModelSpec) -> None:
    y = INPUT
    for k in range(spec.blocks + 1):
        y = net.convolve(f"body.{2 * k}", y)
        match spec.activation:
            case "prelu":
                y = net.slopes(f"body.{2 * k + 1}.weight", y)
            case "leakyrelu":
                y = net.layer("ReLU", [y], parameters="0=1.000000e-01")
            case "relu":
                y = net.layer("ReLU", [y])
    y = net.convolve(f"body.{2 * spec.blocks + 2}", y)
    shuffled = net.layer("PixelShuffle", [y], parameters=f"0={spec.scale}")
    base = net.nearest(INPUT, spec.scale) if spec.scale > 1 else INPUT
    net.layer("BinaryOp", [shuffled, base], OUTPUT, "0=0")


def _line(kind: str, name: str, inputs: Sequence[str], outputs: Sequence[str], parameters: str) -> str:
    blobs = " ".join([*inputs, *outputs])
    return f"{kind:<24} {name:<24} {len(inputs)} {len(outputs)} {blobs} {parameters}".rstrip()


def _stored(kernel: Array) -> bytes:
    """Flag, then the values in their own precision, padded to four bytes."""
    if kernel.dtype != np.float16:
        return bytes(4) + _fp32(kernel)
    values = np.ascontiguousarray(kernel, "<f2").tobytes()
    return FP16.to_bytes(4, "little") + values + bytes(-len(values) % 4)


def _fp32(values: Array) -> bytes:
    return np.ascontiguousarray(values, "<f4").tobytes()
