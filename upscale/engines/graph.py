"""OpenVINO graphs of the stages, built with openvino.opset in milliseconds (tracing a torch module takes a minute).

Inputs and outputs are (1, rows, width, channels) float32. The units' graphs take their weights as inputs, so that one
compiled graph serves all units of a trunk: it compiles once instead of 69 times, and its working memory exists once.

The plugin computes convolutions in channels-last memory, as which inputs and outputs already lie, though its operations name
the channels first. Turning the names costs nothing only where the plugin sees that no byte moves: right before the first
convolution (after a conversion at most) and right after the last one, before its bias. Elsewhere it copies the
features up to twice; a unit took 12 % longer for it. So a unit's sums are made with the channels named last, unless it is
computed in blocked memory (see blocked.py), where the features are copied once at either end of a residual block.

Precision is in the graphs' own types: with `low`, convolutions read and give bf16, while bias, activation and every sum
are fp32.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from upscale.bands import Step
from upscale.doubling import REACH, kernel
from upscale.engines import blocked, silent
from upscale.engines.bf16 import bf16
from upscale.image import Floats
from upscale.keys import unit_layers
from upscale.spec import COMPACT_SLOPE, RESIDUAL, SLOPE, ModelSpec
from upscale.stages import DENSE_RADIUS, UNITS_PER_BLOCK, Stage, tail_surplus

ov, op = silent.openvino()

Node = Any
Tensor = Any
Weights = Mapping[str, Floats]
Layers = Sequence[Sequence[Node]]
"""Kernel, bias and, where the activation has them, slopes of each of a unit's convolutions."""

LEAKY = np.array([SLOPE], np.float32)
COMPACT_LEAKY = np.array([COMPACT_SLOPE], np.float32)
_TO_END = 2**31 - 1


def unit_inputs(spec: ModelSpec, weights: Weights, unit: int, low: bool) -> list[Tensor]:
    """A unit's weights as its graph takes them: kernel, bias and, where the activation has them, slopes of each layer."""
    tensors: list[Tensor] = []
    for name in unit_layers(spec, unit):
        kernel, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        tensors += [bf16_tensor(kernel) if low else _fp32_tensor(kernel), _fp32_tensor(bias.reshape(1, -1, 1, 1))]
        if spec.arch == "compact" and spec.activation == "prelu":
            tensors.append(_fp32_tensor(weights[_slopes(name)]))
    return tensors


def build_unit(
    spec: ModelSpec,
    stage: Stage,
    step: Step,
    shapes: Sequence[Sequence[int]],
    tensors: Sequence[Tensor],
    in_blocks: bool,
) -> Any:
    """The model of a unit, or of several, for inputs of the given (rows, width, channels), then tensors like the given ones.

    `in_blocks`: computed in blocked memory, see blocked.py.
    """
    features = [op.parameter([1, *shape], np.float32) for shape in shapes]
    taken = [op.parameter(list(tensor.shape), tensor.element_type) for tensor in tensors]
    rows = Rows(step.top, step.bottom, in_blocks)
    each = len(taken) // (stage.units * len(unit_layers(spec, stage.unit)))
    layers = [taken[first : first + each] for first in range(0, len(taken), each)]
    result = _hidden(rows, spec, layers, features[0]) if spec.arch == "compact" else _trunk(rows, layers, features)
    return ov.Model([result], [*features, *taken])


def build_end(
    spec: ModelSpec, weights: Weights, stage: Stage, step: Step, shapes: Sequence[Sequence[int]], low: bool
) -> Any:
    """The model of a head or tail, its weights inside. `low`: a tail's inner convolutions in bf16."""
    parameters = [op.parameter([1, *shape], np.float32) for shape in shapes]
    inputs = [channels_first(parameter) for parameter in parameters]
    rows = Rows(step.top, step.bottom)
    if stage.role == "head":
        result = head(rows, spec, weights, inputs[0])
    elif spec.arch == "rrdb":
        result = rrdb_tail(rows, spec, weights, inputs, low)
    else:
        result = _compact_tail(rows, spec, weights, inputs)
    return ov.Model([channels_last(result)], parameters)


def bf16_tensor(values: Floats) -> Tensor:
    """Values rounded to the nearest bf16, ties to even."""
    tensor = ov.Tensor(ov.Type.bf16, ov.Shape(values.shape))
    tensor.data.view(np.uint16)[...] = bf16(values)
    return tensor


def _fp32_tensor(values: Floats) -> Tensor:
    tensor = ov.Tensor(ov.Type.f32, ov.Shape(values.shape))
    tensor.data[...] = values
    return tensor


class Rows:
    """Operations on a band: zeros beside it, and above and below only where the band touches the picture's rim."""

    def __init__(self, top: bool, bottom: bool, in_blocks: bool = False) -> None:
        self.top, self.bottom, self.in_blocks = int(top), int(bottom), in_blocks

    def convolve(self, x: Node, kernel: Node, bias: Node) -> Node:
        """3×3 convolution in the kernel's precision, of an input brought to it; plus the bias, in fp32."""
        return op.add(_as(self._plain(x, kernel), ov.Type.f32), bias)

    def last(self, x: Node, kernel: Node, bias: Node) -> Node:
        """The same for a unit's last convolution: (1, rows, width, channels)."""
        features = int(kernel.get_output_partial_shape(0)[0].get_length())
        turned = op.reshape(bias, op.constant(np.array([1, 1, 1, features])), False)
        return op.add(_as(channels_last(self._plain(x, kernel)), ov.Type.f32), turned)

    def _plain(self, x: Node, kernel: Node) -> Node:
        x = _as(x, kernel.get_element_type())
        y = op.convolution(x, kernel, [1, 1], [self.top, 1], [self.bottom, 1], [1, 1])
        if self.in_blocks:
            blocked.prefer(y)
        return y

    def constant(self, x: Node, weights: Weights, name: str, low: bool = False) -> Node:
        kernel, bias = weights[f"{name}.weight"], weights[f"{name}.bias"].reshape(1, -1, 1, 1)
        held = op.constant(bf16_tensor(kernel) if low else _fp32_tensor(kernel))
        return self.convolve(x, held, op.constant(_fp32_tensor(bias)))

    def doubled(self, x: Node, features: int) -> Node:
        """Alias-free doubling in fp32, see doubling.py; where the band does not touch the rim REACH rows are lost."""
        x = _as(x, ov.Type.f32)
        begin, end = np.array([0, 0, REACH * self.top, REACH]), np.array([0, 0, REACH * self.bottom, REACH])
        weights = op.constant(_fp32_tensor(kernel(features).reshape(features, 4, 1, 2 * REACH + 1, 2 * REACH + 1)))
        phases = op.group_convolution(op.pad(x, begin, end, "edge"), weights, [1, 1], [0, 0], [0, 0], [1, 1])
        return op.depth_to_space(phases, "depth_first", 2)

    def crop(self, x: Node, rows: int, axis: int = 2) -> Node:
        """Without `rows` rows on each side that is not the picture's rim; `axis`: where the rows are."""
        above, below = rows * (1 - self.top), rows * (1 - self.bottom)
        if above == below == 0:
            return x
        stop = np.array([-below if below else _TO_END])
        return op.slice(x, np.array([above]), stop, np.array([1]), np.array([axis]))


def head(rows: Rows, spec: ModelSpec, weights: Weights, x: Node) -> Node:
    if spec.arch == "rrdb":
        return rows.constant(x, weights, "conv_first")
    slopes = op.constant(weights[_slopes("body.0")]) if spec.activation == "prelu" else None
    return _activate(spec, rows.constant(x, weights, "body.0"), slopes)


def dense_block(rows: Rows, layers: Layers, inputs: Sequence[Node]) -> Node:
    """Inputs and result are (1, rows, width, channels), or in blocked memory (1, channels, rows, width)."""
    kind = layers[0][0].get_element_type()
    x = _as(inputs[0], kind)
    joined = x if rows.in_blocks else channels_first(x)
    for layer in layers[:-1]:
        y = _as(op.prelu(rows.convolve(joined, *layer), op.constant(LEAKY)), kind)
        joined = op.concat([rows.crop(joined, 1), y], 1)
    y = rows.convolve(joined, *layers[-1]) if rows.in_blocks else rows.last(joined, *layers[-1])
    x = scaled_sum(inputs[0], y, rows, DENSE_RADIUS)
    return scaled_sum(inputs[1], x, rows, 0) if len(inputs) > 1 else x


def residual_block(rows: Rows, layers: Layers, x: Node) -> Node:
    """Three dense blocks and the sum around them; x and result as in dense_block."""
    y = x
    for start in range(0, len(layers), DENSE_RADIUS):
        y = dense_block(rows, layers[start : start + DENSE_RADIUS], [y])
    return scaled_sum(x, y, rows, DENSE_RADIUS * UNITS_PER_BLOCK)


def _trunk(rows: Rows, layers: Layers, features: Sequence[Node]) -> Node:
    """A dense block or some residual blocks, of and to (1, rows, width, channels)."""
    if rows.in_blocks:
        main, *sides = (channels_first(part) for part in features)
        features = [blocked.entered(main), *sides]
    if len(layers) == DENSE_RADIUS:
        y = dense_block(rows, layers, features)
    else:
        y, each = features[0], DENSE_RADIUS * UNITS_PER_BLOCK
        for start in range(0, len(layers), each):
            y = residual_block(rows, layers[start : start + each], y)
    return channels_last(y) if rows.in_blocks else y


def scaled_sum(x: Node, y: Node, rows: Rows, lost: int) -> Node:
    """x, without the rows that y lost, plus 0.2 times y."""
    return op.add(
        op.multiply(y, op.constant(np.float32(RESIDUAL))), rows.crop(x, lost, axis=2 if rows.in_blocks else 1)
    )


def rrdb_tail(rows: Rows, spec: ModelSpec, weights: Weights, inputs: Sequence[Node], low: bool) -> Node:
    x = op.add(rows.constant(inputs[0], weights, "conv_body"), inputs[1])
    for k in range(1, spec.doublings + 1):
        x = _doubled(rows, spec, x, low)
        x = op.prelu(rows.constant(x, weights, f"conv_up{k}", low), op.constant(LEAKY))
        x = rows.crop(x, tail_surplus(spec, spec.doublings - k))
    x = op.prelu(rows.constant(x, weights, "conv_hr", low), op.constant(LEAKY))
    return rows.constant(x, weights, "conv_last")


def _hidden(rows: Rows, spec: ModelSpec, layers: Layers, x: Node) -> Node:
    """Of and to (1, rows, width, channels)."""
    x = channels_first(_as(x, layers[0][0].get_element_type()))
    for layer in layers[:-1]:
        x = _activate(spec, rows.convolve(x, *layer[:2]), *layer[2:])
    return _activated_last(spec, rows.last(x, *layers[-1][:2]), *layers[-1][2:])


def _compact_tail(rows: Rows, spec: ModelSpec, weights: Weights, inputs: Sequence[Node]) -> Node:
    y = rows.constant(inputs[0], weights, f"body.{2 * spec.blocks + 2}")
    if spec.scale == 1:
        return op.add(y, inputs[1])
    # PyTorch's pixel-shuffle takes the color as the outer channel: depth_first in OpenVINO's terms.
    return op.add(op.depth_to_space(y, "depth_first", spec.scale), _enlarged(inputs[1], spec.scale))


def _activate(spec: ModelSpec, x: Node, slopes: Node | None = None) -> Node:
    if spec.activation == "relu":
        return op.relu(x)
    return op.prelu(x, op.constant(COMPACT_LEAKY) if slopes is None else slopes)


def _activated_last(spec: ModelSpec, x: Node, slopes: Node | None = None) -> Node:
    """The same for (1, rows, width, channels), where PReLU would take the width for the channels."""
    if slopes is None:
        return _activate(spec, x)
    # not max(x, 0) + …: the plugin's max and min make a number of NaN, which must arrive as it is
    negative = op.minimum(x, op.constant(np.float32(0)))
    return op.add(x, op.multiply(negative, op.subtract(slopes, op.constant(np.float32(1)))))


def _slopes(convolution: str) -> str:
    """An activation stands right after its convolution in a compact network's list of layers."""
    return f"body.{int(convolution.removeprefix('body.')) + 1}.weight"


def _doubled(rows: Rows, spec: ModelSpec, x: Node, low: bool) -> Node:
    if spec.upsampling == "alias-free":
        return rows.doubled(x, spec.features)
    return _enlarged(op.convert(x, "bf16") if low else x, 2)


def _enlarged(x: Node, scale: int) -> Node:
    """Nearest neighbor: every pixel becomes scale × scale equal ones."""
    scales = op.constant(np.array([scale, scale], np.float32))
    axes = op.constant(np.array([2, 3]))
    return op.interpolate(x, scales, "nearest", "scales", [0, 0], [0, 0], "asymmetric", "floor", axes=axes)


def _as(x: Node, kind: Any) -> Node:
    return x if x.get_element_type() == kind else op.convert(x, kind)


def channels_first(x: Node) -> Node:
    return op.transpose(x, np.array([0, 3, 1, 2]))


def channels_last(x: Node) -> Node:
    return op.transpose(x, np.array([0, 2, 3, 1]))
