"""How OpenVINO's plugin is brought to compute a trunk in blocked memory (aBcd16b: 16 channels of a pixel side by side).

There the features of a dense block are joined for nothing, since channels lie one block after the other: each convolution
writes where the next one reads. In channels-last memory, which the plugin prefers, every joining is a copy:

    channels last   | x x x x y y | x x x x y y | …      one pixel after the other: y must be woven in
    blocked         | x x x x … | x x x x … | y y y y …   y stands behind x

A priority of one's own (any) makes the plugin drop its preference; then a convolution takes blocked memory where what
comes before it is in blocked memory, and otherwise a slow product of matrices. What comes first is blocked after a
convolution of one channel, which is allowed to choose. All this is the plugin's own behaviour, promised by nobody: so what
it made is looked at (`holds`), and what is not as hoped is not used.
"""

import functools
import platform
from typing import Any

import numpy as np

from upscale.engines import silent
from upscale.engines.machine import has_amx
from upscale.spec import ModelSpec

_KEY = "primitives_priority_0"
_CARRIER = b"""<net name="carrier" version="11"><layers>
<layer id="0" name="x" type="Parameter" version="opset1"><data shape="1" element_type="f32"/>
<output><port id="0" precision="FP32"><dim>1</dim></port></output></layer>
<layer id="1" name="y" type="Result" version="opset1">
<rt_info><attribute name="primitives_priority" version="0" value="cpu:jit"/></rt_info>
<input><port id="0" precision="FP32"><dim>1</dim></port></input></layer>
</layers><edges><edge from-layer="0" from-port="0" to-layer="1" to-port="0"/></edges></net>"""
"""The only way from Python to an attribute of this type: out of a model that was read."""

_BLOCK = 16


def hoped_for(spec: ModelSpec, precision: str) -> bool:
    """Whether blocked memory promises more: AMX has its bf16 convolutions in channels-last memory alone."""
    if spec.arch != "rrdb" or spec.features % _BLOCK or spec.growth % _BLOCK:
        return False
    if platform.machine().lower() not in ("x86_64", "amd64") or (precision == "bf16" and has_amx()):
        return False
    return _known_here()


def prefer(convolution: Any) -> None:
    """Lets a convolution take the memory that its input lies in."""
    convolution.set_rt_info(_priority(), _KEY)


def entered(x: Any) -> Any:
    """x, (1, channels, rows, width) fp32 in any memory, in blocked memory: times a convolution that gives ones."""
    _, op = silent.openvino()
    channels = int(x.get_output_partial_shape(0)[1].get_length())
    first, next_, step, axis = (np.array([value]) for value in (0, 1, 1, 1))
    zeros = op.constant(np.zeros((channels, 1, 1, 1), np.float32))
    ones = op.convolution(op.slice(x, first, next_, step, axis), zeros, [1, 1], [0, 0], [0, 0], [1, 1])
    prefer(ones)
    return op.multiply(op.add(ones, op.constant(np.ones((1, channels, 1, 1), np.float32))), x)


def holds(compiled: Any) -> bool:
    """Whether all convolutions of a compiled model are in blocked memory."""
    told = [operation.get_rt_info() for operation in compiled.get_runtime_model().get_ordered_ops()]
    layouts = [one["outputLayouts"].astype(str) for one in told if one["layerType"].astype(str) == "Convolution"]
    return bool(layouts) and all(layout.startswith("aBcd") for layout in layouts)


@functools.cache
def _known_here() -> bool:
    """Whether this version of openvino takes the attribute."""
    _, op = silent.openvino()
    try:
        prefer(op.parameter([1], np.float32))
    except (AttributeError, TypeError, RuntimeError, StopIteration):
        return False
    return True


@functools.cache
def _priority() -> Any:
    carrier = silent.core().read_model(_CARRIER, b"")
    return next(op.get_rt_info()[_KEY] for op in carrier.get_ops() if op.get_type_name() == "Result")
