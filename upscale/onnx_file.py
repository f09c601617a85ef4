"""A network as an ONNX file: input `input` (N, 3, H, W) in [0, 1], output `output` (N, 3, scale·H, scale·W), both float32.

Batch, height and width are free; H and W must be multiples of the spec's `unshuffle`. The output is not clipped. Parameters
keep our names; those given as float16 are stored so, and cast to float32 in the graph: half the file, the same arithmetic.
"""

from collections.abc import Mapping

import numpy as np

from upscale import onnx_wire
from upscale.doubling import REACH, kernel
from upscale.image import Array
from upscale.onnx_wire import Attribute
from upscale.spec import COMPACT_SLOPE, RESIDUAL, SLOPE, ModelSpec

INPUT, OUTPUT = "input", "output"

_NEAREST: dict[str, str] = {
    "mode": "nearest",
    "coordinate_transformation_mode": "asymmetric",
    "nearest_mode": "floor",
}


def onnx_bytes(spec: ModelSpec, arrays: Mapping[str, Array], facts: Mapping[str, str]) -> bytes:
    """The whole file. `arrays`: parameters under our names; `facts`: texts for its metadata_props.

    Raises ValueError for foreign networks, whose inside is not known.
    """
    if spec.arch == "foreign":
        raise ValueError("a foreign network has no known inside")
    graph = _Graph(arrays)
    result = _rrdb(graph, spec) if spec.arch == "rrdb" else _compact(graph, spec)
    graph.add("Identity", [result], OUTPUT)
    taken = onnx_wire.picture(INPUT, ["batch", 3, "height", "width"])
    given = onnx_wire.picture(OUTPUT, ["batch", 3, "enlarged_height", "enlarged_width"])
    return onnx_wire.model(spec.name, graph.nodes, graph.tensors, taken, given, facts)


class _Graph:
    """Nodes and tensors so far. Each method adds a node and gives the name of its output."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = arrays
        self.nodes: list[bytes] = []
        self.tensors: list[bytes] = []

    def add(self, kind: str, inputs: list[str], name: str = "", **attributes: Attribute) -> str:
        name = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(onnx_wire.node(kind, inputs, name, **attributes))
        return name

    def constant(self, name: str, values: Array) -> str:
        if values.dtype == np.float16:
            self.tensors.append(onnx_wire.tensor(f"{name}.fp16", values))
            return self.add("Cast", [f"{name}.fp16"], name, to=onnx_wire.FLOAT)
        self.tensors.append(onnx_wire.tensor(name, values))
        return name

    def parameter(self, name: str, shape: tuple[int, ...] | None = None) -> str:
        values = self._arrays[name]
        return self.constant(name, values if shape is None else values.reshape(shape))

    def convolve(self, name: str, x: str) -> str:
        inputs = [x, self.parameter(f"{name}.weight"), self.parameter(f"{name}.bias")]
        return self.add("Conv", inputs, name, kernel_shape=[3, 3], pads=[1, 1, 1, 1])

    def leaky(self, x: str, slope: float) -> str:
        return self.add("LeakyRelu", [x], alpha=slope)

    def nearest(self, x: str, scale: int) -> str:
        scales = self.constant(f"scales_{len(self.nodes)}", np.array([1, 1, scale, scale], np.float32))
        return self.add("Resize", [x, "", scales], **_NEAREST)

    def doubled(self, x: str, filter_: str, features: int) -> str:
        """Alias-free doubling, see doubling.py."""
        margins = self.constant(f"margins_{len(self.nodes)}", np.array([0, 0, REACH, REACH] * 2, np.int64))
        around = self.add("Pad", [x, margins], mode="edge")
        sides = [2 * REACH + 1, 2 * REACH + 1]
        phases = self.add("Conv", [around, filter_], kernel_shape=sides, group=features)
        return self.add("DepthToSpace", [phases], blocksize=2, mode="CRD")

    def residual(self, x: str, y: str) -> str:
        return self.add("Add", [x, self.add("Mul", [y, "residual_scale"])])


def _rrdb(graph: _Graph, spec: ModelSpec) -> str:
    graph.constant("residual_scale", np.array(RESIDUAL, np.float32))
    first = x = graph.convolve("conv_first", _unshuffled(graph, spec.unshuffle))
    for block in range(spec.blocks):
        y = x
        for dense in (1, 2, 3):
            y = _dense(graph, f"body.{block}.rdb{dense}", y)
        x = graph.residual(x, y)
    x = graph.add("Add", [first, graph.convolve("conv_body", x)])
    free = spec.upsampling == "alias-free" and spec.doublings > 0
    filter_ = graph.constant("doubling_filter", kernel(spec.features)) if free else ""
    for k in range(1, spec.doublings + 1):
        enlarged = graph.doubled(x, filter_, spec.features) if free else graph.nearest(x, 2)
        x = graph.leaky(graph.convolve(f"conv_up{k}", enlarged), SLOPE)
    return graph.convolve("conv_last", graph.leaky(graph.convolve("conv_hr", x), SLOPE))


def _dense(graph: _Graph, name: str, x: str) -> str:
    features = [x]
    for k in range(1, 5):
        seen = graph.add("Concat", features, axis=1) if k > 1 else x
        features.append(graph.leaky(graph.convolve(f"{name}.conv{k}", seen), SLOPE))
    return graph.residual(x, graph.convolve(f"{name}.conv5", graph.add("Concat", features, axis=1)))


def _compact(graph: _Graph, spec: ModelSpec) -> str:
    y = INPUT
    for k in range(spec.blocks + 1):
        y = graph.convolve(f"body.{2 * k}", y)
        match spec.activation:
            case "prelu":
                y = graph.add("PRelu", [y, graph.parameter(f"body.{2 * k + 1}.weight", (spec.features, 1, 1))])
            case "leakyrelu":
                y = graph.leaky(y, COMPACT_SLOPE)
            case "relu":
                y = graph.add("Relu", [y])
    y = graph.convolve(f"body.{2 * spec.blocks + 2}", y)
    if spec.scale == 1:
        return graph.add("Add", [y, INPUT])
    shuffled = graph.add("DepthToSpace", [y], blocksize=spec.scale, mode="CRD")  # PyTorch's order: color outermost
    return graph.add("Add", [shuffled, graph.nearest(INPUT, spec.scale)])


def _unshuffled(graph: _Graph, factor: int) -> str:
    """Pixel-unshuffle as a convolution that moves by `factor` and picks one value each.

    SpaceToDepth has the colors innermost, PyTorch outermost; this keeps conv_first's weights as everybody knows them.
    """
    if factor == 1:
        return INPUT
    picks = np.zeros((3 * factor**2, 3, factor, factor), np.float32)
    for channel in range(3 * factor**2):
        color, place = divmod(channel, factor**2)
        picks[channel, color, place // factor, place % factor] = 1
    kernel = graph.constant("pixel_unshuffle.weight", picks)
    sides = [factor, factor]
    return graph.add("Conv", [INPUT, kernel], "pixel_unshuffle", kernel_shape=sides, strides=sides)
