"""ONNX's file format, as far as a network of convolutions needs it: protobuf messages written byte for byte.

Field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto), which never change; the
encoding is protobuf's (https://protobuf.dev/programming-guides/encoding). So a file is written without the `onnx` package.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from upscale.image import Array

IR_VERSION = 8
OPSET = 17

Attribute = int | float | str | Sequence[int]
"""What a node's attribute may hold here."""

_ELEMENT = {np.dtype(np.float32): 1, np.dtype(np.int64): 7, np.dtype(np.float16): 10}
FLOAT = _ELEMENT[np.dtype(np.float32)]

_VARINT, _BYTES, _FIXED32 = 0, 2, 5
_FLOAT_KIND, _INT_KIND, _STRING_KIND, _INTS_KIND = 1, 2, 3, 7


def node(kind: str, inputs: Sequence[str], output: str, **attributes: Attribute) -> bytes:
    """A NodeProto, named after its one output."""
    parts = [*(_text(1, name) for name in inputs), _text(2, output), _text(3, output), _text(4, kind)]
    return b"".join([*parts, *(_field(5, _attribute(name, value)) for name, value in attributes.items())])


def tensor(name: str, values: Array) -> bytes:
    """A TensorProto of float32, float16 or int64 values, in their own precision."""
    dims = b"".join(_number(1, side) for side in values.shape)
    kind = values.dtype.newbyteorder("<")
    raw = np.ascontiguousarray(values, kind).tobytes()
    return dims + _number(2, _ELEMENT[values.dtype]) + _text(8, name) + _field(9, raw)


def picture(name: str, sides: Sequence[int | str]) -> bytes:
    """A ValueInfoProto of float32; a side that is a word is free."""
    shape = b"".join(_field(1, _number(1, side) if isinstance(side, int) else _text(2, side)) for side in sides)
    kind = _field(1, _number(1, FLOAT) + _field(2, shape))
    return _text(1, name) + _field(2, kind)


def model(
    name: str, nodes: Iterable[bytes], tensors: Iterable[bytes], inputs: bytes, outputs: bytes, facts: Mapping[str, str]
) -> bytes:
    """A ModelProto with one graph, one input and one output; `facts` are its metadata_props."""
    graph = [*(_field(1, part) for part in nodes), _text(2, name), *(_field(5, part) for part in tensors)]
    whole = b"".join([*graph, _field(11, inputs), _field(12, outputs)])
    head = _number(1, IR_VERSION) + _text(2, "upscale") + _field(8, _number(2, OPSET))
    properties = [_field(14, _text(1, key) + _text(2, value)) for key, value in facts.items()]
    return b"".join([head, _field(7, whole), *properties])


def _attribute(name: str, value: Attribute) -> bytes:
    match value:
        case str():
            held, kind = _text(4, value), _STRING_KIND
        case int():
            held, kind = _number(3, value), _INT_KIND
        case float():
            held, kind = _varint(2 << 3 | _FIXED32) + np.array(value, "<f4").tobytes(), _FLOAT_KIND
        case _:
            held, kind = b"".join(_number(8, item) for item in value), _INTS_KIND
    return _text(1, name) + held + _number(20, kind)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3 | _VARINT) + _varint(value)


def _varint(value: int) -> bytes:
    """Seven bits a byte, lowest first. Nothing written here is negative."""
    if value < 0:
        raise ValueError(f"{value} is negative")
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
