"""Runs a written network in the program that it was written for, on a small picture. Each runtime is optional."""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from upscale import ncnn_write, onnx_file
from upscale.image import Floats

Run = Callable[[Floats], Floats]
"""(H, W, 3) float32 → (scale·H, scale·W, 3) float32."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """A program that opens a network's file: its name with its version, and what it makes of a picture."""

    name: str
    run: Run


def open_onnx(path: Path) -> Runtime | None:
    """The file in onnxruntime, else in openvino, both on the CPU in fp32; None where neither is installed."""
    if (ort := _module("onnxruntime")) is not None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1  # the pictures are tiny
        options.log_severity_level = 3  # errors alone; it warns of missing devices
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        call: Run = lambda planes: session.run([onnx_file.OUTPUT], {onnx_file.INPUT: planes})[0]  # noqa: E731
        return Runtime(f"onnxruntime {ort.__version__}", lambda picture: _batched(call, picture))
    try:
        from upscale.engines import silent

        ov, _ = silent.openvino()
    except ImportError:
        return None
    compiled: Any = silent.core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return Runtime(
        f"openvino {ov.__version__.split('-')[0]}", lambda picture: _batched(lambda x: compiled([x])[0], picture)
    )


def open_ncnn(param: Path, weights: Path) -> Runtime | None:
    """The pair in ncnn on the CPU, in fp32 throughout; None where it is not installed. Raises ValueError if ncnn refuses it."""
    ncnn = _module("ncnn")
    if ncnn is None:
        return None
    net = ncnn.Net()
    net.opt.num_threads = 1  # on a busy machine its threads would wait for each other far longer
    for shortcut in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage", "winograd_convolution"):
        setattr(net.opt, f"use_{shortcut}", False)
    if net.load_param(str(param)) or net.load_model(str(weights)):
        raise ValueError("it cannot be loaded")

    def run(picture: Floats) -> Floats:
        extractor = net.create_extractor()
        planes = np.ascontiguousarray(picture.transpose(2, 0, 1))
        extractor.input(ncnn_write.INPUT, ncnn.Mat(planes).clone())  # the Mat alone would borrow the array's memory
        failed, output = extractor.extract(ncnn_write.OUTPUT)
        if failed:
            raise ValueError("it cannot be run")
        return np.array(output, np.float32).transpose(1, 2, 0)

    return Runtime(f"ncnn {ncnn.__version__}", run)


def decibels(found: Floats, expected: Floats) -> float:
    """How close `found` is: 20·log10(largest expected value / root mean square of the differences).

    Infinite where they are equal; minus infinity where the shapes differ or a value is not finite.
    """
    if found.shape != expected.shape or not np.isfinite(found).all():
        return -math.inf
    error = float(np.sqrt(np.mean(np.square(found.astype(np.float64) - expected))))
    peak = float(np.abs(expected).max())
    return math.inf if error == 0 else 20 * math.log10(max(peak, 1e-30) / error)


def _batched(call: Run, picture: Floats) -> Floats:
    """`call` on (1, 3, H, W)."""
    planes = np.ascontiguousarray(picture.transpose(2, 0, 1))[np.newaxis]
    return np.asarray(call(planes), np.float32)[0].transpose(1, 2, 0)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
