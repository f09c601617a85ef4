"""OpenVINO graphs of the stages, built from numpy weights with openvino.opset (0.1 s; tracing a torch module takes a minute).

Inputs and outputs are (1, rows, width, channels) float32. OpenVINO computes a graph in bf16 where its precision hint says
so, except for what lies between the last convolutions and the outputs; it also folds a sum into the convolution before it,
and then rounds that sum to bf16 as well. A dense block's sum must stay fp32 (it costs 4 dB otherwise), hence the one-value
outputs ("taps") on its last convolutions: a convolution with two readers is not folded.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import openvino as ov
import openvino.opset13 as op

from upscale.bands import Step
from upscale.image import Floats
from upscale.spec import ModelSpec
from upscale.stages import TAIL_MARGIN, UNITS_PER_BLOCK, Stage, hidden_convolutions

Node = Any
Weights = Mapping[str, Floats]

RESIDUAL = np.float32(0.2)
"""Residual scaling of ESRGAN's dense blocks (Wang et al. 2018, section 3.1)."""

LEAKY = np.array([0.2], np.float32)
COMPACT_LEAKY = np.array([0.1], np.float32)


def build_stage(
    spec: ModelSpec,
    weights: Weights,
    stage: Stage,
    step: Step,
    main: Sequence[int],
    sides: Sequence[Sequence[int]],
    low: bool,
) -> Any:
    """The model of one stage for inputs of the given (rows, width, channels). `low`: inner convolutions of a tail in bf16."""
    parameters = [op.parameter([1, *shape], np.float32) for shape in (main, *sides)]
    inputs = [op.transpose(parameter, np.array([0, 3, 1, 2])) for parameter in parameters]
    rows = _Rows(weights, step.top, step.bottom)
    taps: list[Node] = []
    match spec.arch, stage.role:
        case _, "head":
            result = _head(rows, spec, inputs[0])
        case "rrdb", "units":
            result = _dense_blocks(rows, stage, inputs, taps)
        case "rrdb", _:
            result = _rrdb_tail(rows, spec, inputs[0], inputs[1], low)
        case _, "units":
            result = _hidden(rows, spec, stage, inputs[0])
        case _:
            result = _compact_tail(rows, spec, inputs[0], inputs[1])
    outputs = [op.transpose(result, np.array([0, 2, 3, 1]))]
    if taps:
        outputs.append(op.concat(taps, 0))
    return ov.Model(outputs, parameters)


class _Rows:
    """Convolutions on a band: zeros beside it, and above and below only where the band touches the picture's rim."""

    def __init__(self, weights: Weights, top: bool, bottom: bool) -> None:
        self.weights, self.top, self.bottom = weights, int(top), int(bottom)

    def convolve(self, x: Node, name: str, low: bool = False) -> Node:
        """3×3 convolution and bias in fp32 types; with `low` on bf16 values, the result fp32 all the same."""
        kernel, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        weight = op.constant(np.ascontiguousarray(kernel, np.float32))
        if low:
            x, weight = op.convert(x, "bf16"), _bf16_constant(kernel)
        y = op.convolution(x, weight, [1, 1], [self.top, 1], [self.bottom, 1], [1, 1])
        if low:
            y = op.convert(y, "f32")
        return op.add(y, op.constant(np.ascontiguousarray(bias, np.float32).reshape(1, -1, 1, 1)))

    def crop(self, x: Node, rows: int) -> Node:
        """Without `rows` rows on each side that is not the picture's rim."""
        above, below = rows * (1 - self.top), rows * (1 - self.bottom)
        if above == below == 0:
            return x
        stop = x.get_output_shape(0)[2] - below
        return op.slice(x, np.array([above]), np.array([stop]), np.array([1]), np.array([2]))


def _head(rows: _Rows, spec: ModelSpec, x: Node) -> Node:
    if spec.arch == "rrdb":
        return rows.convolve(x, "conv_first")
    return _activate(rows, spec, rows.convolve(x, "body.0"), 0)


def _dense_blocks(rows: _Rows, stage: Stage, inputs: Sequence[Node], taps: list[Node]) -> Node:
    x = inputs[0]
    residual = inputs[1] if len(inputs) > 1 else x
    for unit in range(stage.first, stage.last):
        if unit % UNITS_PER_BLOCK == 0:
            residual = x
        x = _dense_block(rows, f"body.{unit // UNITS_PER_BLOCK}.rdb{unit % UNITS_PER_BLOCK + 1}", x, taps)
        if (unit + 1) % UNITS_PER_BLOCK == 0:
            x = op.add(op.multiply(x, op.constant(RESIDUAL)), residual)
    return x


def _dense_block(rows: _Rows, name: str, x: Node, taps: list[Node]) -> Node:
    features = [x]
    for k in range(1, 5):
        y = op.prelu(rows.convolve(_joined(features), f"{name}.conv{k}"), op.constant(LEAKY))
        features = [*(rows.crop(feature, 1) for feature in features), y]
    y = rows.convolve(_joined(features), f"{name}.conv5")
    corner = np.zeros(4, np.int64), np.ones(4, np.int64)
    taps.append(op.slice(y, *corner, np.ones(4, np.int64)))
    return op.add(op.multiply(y, op.constant(RESIDUAL)), rows.crop(x, 5))


def _rrdb_tail(rows: _Rows, spec: ModelSpec, trunk: Node, first: Node, low: bool) -> Node:
    x = op.add(rows.convolve(trunk, "conv_body"), first)
    for k in range(1, spec.doublings + 1):
        x = op.prelu(rows.convolve(_doubled(x), f"conv_up{k}", low), op.constant(LEAKY))
        x = rows.crop(x, TAIL_MARGIN - 1)
    x = op.prelu(rows.convolve(x, "conv_hr", low), op.constant(LEAKY))
    return rows.convolve(x, "conv_last")


def _hidden(rows: _Rows, spec: ModelSpec, stage: Stage, x: Node) -> Node:
    for k in hidden_convolutions(spec, stage.first, stage.last):
        x = _activate(rows, spec, rows.convolve(x, f"body.{2 * k + 2}"), 2 * k + 2)
    return x


def _compact_tail(rows: _Rows, spec: ModelSpec, x: Node, picture: Node) -> Node:
    y = rows.convolve(x, f"body.{2 * spec.blocks + 2}")
    if spec.scale == 1:
        return op.add(y, picture)
    # PyTorch's pixel-shuffle takes the color as the outer channel: depth_first in OpenVINO's terms.
    return op.add(op.depth_to_space(y, "depth_first", spec.scale), _enlarged(picture, spec.scale))


def _activate(rows: _Rows, spec: ModelSpec, x: Node, layer: int) -> Node:
    match spec.activation:
        case "prelu":
            slopes = np.ascontiguousarray(rows.weights[f"body.{layer + 1}.weight"], np.float32)
            return op.prelu(x, op.constant(slopes))
        case "leakyrelu":
            return op.prelu(x, op.constant(COMPACT_LEAKY))
        case "relu":
            return op.relu(x)


def _joined(features: Sequence[Node]) -> Node:
    return features[0] if len(features) == 1 else op.concat(list(features), 1)


def _doubled(x: Node) -> Node:
    return _enlarged(x, 2)


def _enlarged(x: Node, scale: int) -> Node:
    """Nearest neighbor: every pixel becomes scale × scale equal ones."""
    scales = op.constant(np.array([scale, scale], np.float32))
    axes = op.constant(np.array([2, 3]))
    return op.interpolate(x, scales, "nearest", "scales", [0, 0], [0, 0], "asymmetric", "floor", axes=axes)


def _bf16_constant(values: Floats) -> Node:
    """Values rounded to the nearest bf16, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    tensor = ov.Tensor(rounded, ov.Shape(values.shape), ov.Type.bf16)
    return op.constant(tensor)
